import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import type { Logger } from 'pino';
import { messageOf } from '../../errors.js';
import { hasCode } from './directories.js';

/** A direct write begins and ends at multiples of this, in the file and in memory. */
export const DIRECT_ALIGNMENT_BYTES = 4096;
/**
 * A shorter write is buffered. A direct one costs about 50 µs before its first byte and waits for
 * the disk. In blocks of 128 KiB and more all goes direct but the file's first and last page.
 */
export const DIRECT_BYTES_MIN = 128 * 1024 - 2 * DIRECT_ALIGNMENT_BYTES;

/** What file systems answer that take no direct writes, at the opening or at the first one. */
const REFUSALS = ['EINVAL', 'EOPNOTSUPP', 'ENOTSUP'];

/** Opens for direct writing the file that `handle` has open, whatever its name is now. */
export function openDirect(handle: FileHandle): Promise<FileHandle> {
  return open(`/proc/self/fd/${handle.fd}`, constants.O_WRONLY | constants.O_DIRECT);
}

/** Which file systems take direct writes: those that refused one once are not asked again. */
export class DirectAccess {
  readonly #log: Logger;
  readonly #open: typeof openDirect | undefined;
  /** Device numbers. */
  readonly #refused = new Set<number>();

  /** @param open undefined: nothing is written directly */
  constructor(log: Logger, open: typeof openDirect | undefined) {
    this.#log = log;
    this.#open = constants.O_DIRECT === undefined ? undefined : open;
  }

  /** A second handle on an open file; undefined where it is to be written buffered. */
  async open(handle: FileHandle): Promise<FileHandle | undefined> {
    if (this.#open === undefined) return undefined;
    if (this.#refused.size > 0 && this.#refused.has((await handle.stat()).dev)) return undefined;
    try {
      return await this.#open(handle);
    } catch (error) {
      await this.noteRefusal(handle, error);
      return undefined; // for want of descriptors, say: the next write asks again
    }
  }

  /** Whether the file system refused to write directly at all; it is then remembered. */
  async noteRefusal(handle: FileHandle, error: unknown): Promise<boolean> {
    if (!REFUSALS.some((code) => hasCode(error, code))) return false;
    const { dev } = await handle.stat();
    if (this.#refused.has(dev)) return true;
    this.#refused.add(dev);
    const text = 'the file system takes no direct writes: files are written through its cache';
    this.#log.info({ error: messageOf(error) }, text);
    return true;
  }
}

/**
 * How the next bytes of a file are written:
 *
 *   file    ┊   page    ┊   page    ┊   page    ┊
 *             ├ buffered ┼ direct ── … ─┼ buffered ┤
 *         position                                end
 *
 * Nothing is padded: the file ends where its content ends, after each step, also for whoever finds
 * it after the process was killed. After a power failure, though, what was buffered and not forced
 * to the disk may be missing in front of what was written directly: it then reads as zeros.
 *
 * @param position where in the file
 * @param length bytes to be written from there, which lie in memory as they are to lie in pages
 */
export function nextStep(position: number, length: number): { length: number; isDirect: boolean } {
  const page = position % DIRECT_ALIGNMENT_BYTES;
  const head = page === 0 ? 0 : DIRECT_ALIGNMENT_BYTES - page;
  const middle = length - head - ((length - head) % DIRECT_ALIGNMENT_BYTES);
  if (middle < DIRECT_BYTES_MIN) return { length, isDirect: false };
  if (head > 0) return { length: head, isDirect: false };
  return { length: middle, isDirect: true };
}
