import { join } from 'node:path';
import { pino } from 'pino';
import type { SpoolSession } from '../../src/spool/session-record.js';
import { Spool } from '../../src/spool/spool.js';
import { encodeFrame } from '../../src/wire/header.js';

export const KEY = 'private key to change';
const MIB = 1024 * 1024;

export function sensor(number: number): string {
  return `5e2f8b7d-0a13-4b7a-9c41-${String(number).padStart(12, '0')}`;
}

export function frame(uuid: string, type: number, text: string, timestamp = 1_700_000_000): Buffer {
  return encodeFrame({ type, uuid, timestamp, key: Buffer.from(KEY), payload: Buffer.from(text) });
}

export function metaSession(id: string, uuid: string): SpoolSession {
  const text = '{"type":"ja3-jl"}';
  const wire = Buffer.concat([
    frame(uuid, 2, text.slice(0, 5)),
    frame(uuid, 2, text.slice(5)),
    frame(uuid, 2, ''),
  ]);
  const meta = { type: 'ja3-jl', bytes: Buffer.from(text), frames: 3, wire };
  return { id, sensor: uuid, type: 254, openedAt: new Date(1e12), meta };
}

/** A part of an archive that a test fills. */
export async function archivePart(
  dir: string,
  fill: (spool: Spool) => Promise<void> | void,
  segmentBytes = 2_000,
): Promise<void> {
  const spool = await Spool.open({
    dir: join(dir, '0'),
    maxBytes: 64 * MIB,
    segmentBytes,
    persist: 'always',
    memoryBytes: MIB,
    compress: 'lz4',
    log: pino({ level: 'silent' }),
  });
  try {
    await fill(spool);
  } finally {
    await spool.close();
  }
}

export function append(spool: Spool, ref: number, ...frames: Buffer[]): void {
  for (const bytes of frames) spool.append(ref, bytes, 0, bytes.length);
}
