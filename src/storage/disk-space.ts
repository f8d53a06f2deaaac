import { statfsSync } from 'node:fs';

const RESERVE_SHARE = 0.01;
const RESERVE_BYTES_MIN = 256 * 1024;
const RESERVE_BYTES_MAX = 64 * 1024 * 1024;

/**
 * Throws when a file system is so full that an LMDB transaction might not fit. It must not be let
 * run into that: where a write fails for want of space, lmdb-js 3.5.6 formats its message into a
 * buffer that is too short, and the process may die of it (`last_error` in its mdb.c); an
 * asynchronous transaction also rejects a promise that nobody can catch. The reserve leaves room
 * for others who write to the same file system meanwhile.
 * @param share of the reserve that is enough
 */
export function checkSpace(directory: string, share = 1): void {
  const { free, reserve } = spaceOf(directory);
  const kept = Math.ceil(reserve * share);
  if (free < kept) {
    throw new Error(
      `only ${free} bytes are left on the disk, and ${kept} are kept free: make room`,
    );
  }
}

/**
 * Throws where so many bytes more would leave a file system too full for LMDB's transactions: without
 * those nothing is let go of, and no room would ever come back.
 */
export function checkRoomFor(directory: string, bytes: number): void {
  const { free, reserve } = spaceOf(directory);
  if (free - bytes >= 2 * reserve) return;
  const text = `no space for ${bytes} bytes more: ${free} are left on the disk: make room`;
  throw Object.assign(new Error(text), { code: 'ENOSPC' });
}

/** As `checkSpace`, where it is no error. A disk that does not tell is not known to be full. */
export function hasSpace(directory: string, share = 1): boolean {
  try {
    const { free, reserve } = spaceOf(directory);
    return free >= reserve * share;
  } catch {
    return true;
  }
}

/** Whether so little is left that a writer of much should stop, lest transactions no longer fit. */
export function isSpaceLow(directory: string): boolean {
  const { free, reserve } = spaceOf(directory);
  return free < 2 * reserve;
}

function spaceOf(directory: string): { free: number; reserve: number } {
  const { bavail, blocks, bsize } = statfsSync(directory);
  const share = blocks * bsize * RESERVE_SHARE;
  const reserve = Math.min(Math.max(share, RESERVE_BYTES_MIN), RESERVE_BYTES_MAX);
  return { free: bavail * bsize, reserve };
}
