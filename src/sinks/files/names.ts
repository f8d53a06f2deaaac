import { join } from 'node:path';
import { TYPE_EXTENDED } from '../../wire/types.js';
import type { SinkSession } from '../sink.js';

export type Compression = 'none' | 'gzip' | 'lz4';

export const PART_SUFFIX = '.part';

const COMPRESSION_SUFFIX: Readonly<Record<Compression, string>> = {
  none: '',
  gzip: '.gz',
  lz4: '.lz4',
};

/** The form that admission holds meta types to; anything else never becomes a directory's name. */
const META_TYPE = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** `raw`, `cap` … with what compression adds. */
export function fullExtension(ext: string, compress: Compression): string {
  return ext + COMPRESSION_SUFFIX[compress];
}

/**
 * Where a session's file that begins at `at` lies (ms since the epoch; all in UTC):
 * `<dir>/<uuid>/<type>/YYYY/MM/DD[/<meta type>]/<uuid>-YYYY-MM-DD-HHMMSS`.
 * `base` lacks `-N` and the extension.
 */
export function placeOf(
  dir: string,
  session: SinkSession,
  at: number,
): { directory: string; base: string } {
  const uuid = session.sensor.replaceAll('-', '');
  const [date, time] = new Date(at).toISOString().split('T') as [string, string];
  const [year, month, day] = date.split('-') as [string, string, string];
  let directory = join(dir, uuid, String(session.type), year, month, day);
  if (session.type === TYPE_EXTENDED) {
    const metaType = session.meta?.type ?? '';
    directory = join(directory, META_TYPE.test(metaType) ? metaType : 'unknown');
  }
  return { directory, base: `${uuid}-${date}-${time.slice(0, 8).replaceAll(':', '')}` };
}

/** `base`, `base-1`, `base-2` … */
export function numbered(base: string, number: number): string {
  return number === 0 ? base : `${base}-${number}`;
}

/** What the name of a `.part` file says; undefined where it is not one that a sink writes. */
export function parsePartName(
  name: string,
): { base: string; ext: string; compress: Compression; suffix: string } | undefined {
  const match = /^([0-9a-f]{32}-\d{4}-\d\d-\d\d-\d{6})(?:-\d+)?\.(.+)\.part$/.exec(name);
  if (match === null) return undefined;
  const suffix = match[2]!;
  const compress = suffix.endsWith('.gz') ? 'gzip' : suffix.endsWith('.lz4') ? 'lz4' : 'none';
  const ext = suffix.slice(0, suffix.length - COMPRESSION_SUFFIX[compress].length);
  return { base: match[1]!, ext, compress, suffix };
}
