import { closeSync, existsSync, fstatSync, openSync, readdirSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { LINE_BYTES_MAX } from './entry.js';

const NAME = /^audit-(\d{6})\.ndjson$/;

export function trailDirectory(dataDir: string): string {
  return join(dataDir, 'audit');
}

export function fileName(number: number): string {
  return `audit-${String(number).padStart(6, '0')}.ndjson`;
}

/** The numbers of the trail's files, oldest first. */
export function fileNumbers(directory: string): number[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory)
    .flatMap((name) => NAME.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => a - b);
}

export interface Tail {
  bytes: number;
  /** The newest whole line; undefined in an empty file. */
  line: string | undefined;
  /** Bytes behind it: a line that was being written when its process died. */
  tornBytes: number;
}

/** The end of a file of lines. */
export function readTail(path: string): Tail {
  const fd = openSync(path, 'r');
  try {
    const bytes = fstatSync(fd).size;
    const wanted = Math.min(bytes, 2 * LINE_BYTES_MAX);
    const buffer = Buffer.alloc(wanted);
    const read = readSync(fd, buffer, 0, wanted, bytes - wanted);
    const text = buffer.subarray(0, read);
    const end = text.lastIndexOf(0x0a);
    if (end < 0) return { bytes, line: undefined, tornBytes: read };
    const begin = text.lastIndexOf(0x0a, end - 1) + 1;
    return { bytes, line: text.toString('utf8', begin, end), tornBytes: read - end - 1 };
  } finally {
    closeSync(fd);
  }
}
