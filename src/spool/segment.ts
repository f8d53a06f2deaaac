import { rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { StreamTotals } from './stream-totals.js';
import type { SegmentSummary, StreamSummary } from './types.js';

export const SEGMENT_EXT = '.d4s';
export const INDEX_EXT = '.json';
const NAME = /^(\d{16})\.d4s$/;
const INDEX_FORMAT = 1;
const INDEX_MODE = 0o640;

/** One segment file as its spool knows it. */
export class Segment {
  readonly path: string;
  readonly firstSeq: number;
  lastSeq: number;
  /** Whole blocks of it. */
  bytes: number;
  /** Records up to it are in no total: they were done with before this run. */
  readonly countedFrom: number;
  readonly totals: StreamTotals;
  /** What of the totals was released in this run. */
  released = new StreamTotals();
  isSealed: boolean;
  /** Its files are removed, or about to be. */
  isGone = false;
  /** A reader found it damaged, and it was said. */
  isDamageTold = false;

  constructor(
    path: string,
    of: {
      firstSeq: number;
      lastSeq: number;
      bytes: number;
      isSealed: boolean;
      totals?: StreamTotals;
      countedFrom?: number;
    },
  ) {
    this.path = path;
    this.firstSeq = of.firstSeq;
    this.lastSeq = of.lastSeq;
    this.bytes = of.bytes;
    this.isSealed = of.isSealed;
    this.totals = of.totals ?? new StreamTotals();
    this.countedFrom = of.countedFrom ?? 0;
  }

  get summary(): SegmentSummary {
    const { path, firstSeq, lastSeq, bytes } = this;
    return { path, firstSeq, lastSeq, bytes, streams: this.totals.list() };
  }

  /** All that it has by now is released. */
  allReleased(): void {
    this.released = new StreamTotals();
    this.released.merge(this.totals);
  }

  /** Removes the file and its index; a file that is gone is no error. */
  async remove(): Promise<void> {
    this.isGone = true;
    await rm(this.path, { force: true });
    await rm(indexPath(this.path), { force: true });
  }
}

export function segmentPath(dir: string, firstSeq: number): string {
  return join(dir, `${String(firstSeq).padStart(16, '0')}${SEGMENT_EXT}`);
}

/** The first sequence number of a segment by its name; undefined where it is no segment's. */
export function seqOfName(name: string): number | undefined {
  const digits = NAME.exec(name)?.[1];
  const seq = Number(digits);
  return digits !== undefined && Number.isSafeInteger(seq) ? seq : undefined;
}

export function indexPath(segmentPath: string): string {
  return segmentPath.slice(0, -SEGMENT_EXT.length) + INDEX_EXT;
}

/** Writes the index of a finished segment; it appears at once, whole. */
export async function writeIndex(summary: SegmentSummary): Promise<void> {
  const { path, ...rest } = summary;
  const target = indexPath(path);
  const draft = `${target}.tmp`;
  await writeFile(draft, `${JSON.stringify({ format: INDEX_FORMAT, ...rest })}\n`, {
    mode: INDEX_MODE,
  });
  await rename(draft, target);
}

/** Reads the text of an index; undefined where it is none that this release knows. */
export function parseIndex(path: string, text: string): SegmentSummary | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { format, firstSeq, lastSeq, bytes, streams } = value as Record<string, unknown>;
  if (format !== INDEX_FORMAT || !Array.isArray(streams) || !streams.every(isStream)) {
    return undefined;
  }
  if (![firstSeq, lastSeq, bytes].every(Number.isSafeInteger)) return undefined;
  const numbers = { firstSeq, lastSeq, bytes } as Record<'firstSeq' | 'lastSeq' | 'bytes', number>;
  return { path, ...numbers, streams };
}

function isStream(value: unknown): value is StreamSummary {
  if (typeof value !== 'object' || value === null) return false;
  const { sensor, metaTypes = [], ...numbers } = value as Record<string, unknown>;
  const keys = ['type', 'frames', 'bytes', 'firstTime', 'lastTime'];
  return (
    typeof sensor === 'string' &&
    Array.isArray(metaTypes) &&
    metaTypes.every((type) => typeof type === 'string') &&
    keys.every((key) => Number.isSafeInteger(numbers[key]))
  );
}
