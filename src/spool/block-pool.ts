import { BLOCK_BYTES } from './layout.js';

/**
 * Bytes in front of a block in the same memory, so that what goes before it on a socket lies in one
 * piece with it.
 */
export const HEADROOM_BYTES = 16;

/**
 * TLS takes one write in a turn of the event loop, in which much may come in: a large block goes out
 * as fast. It is no more than this share of what a spool may keep in memory.
 */
const BLOCK_BYTES_MAX = 1024 * 1024;
const BLOCK_SHARE = 1 / 16;

/**
 * Memory of blocks, used again for those to come once nobody needs what is in it. Fresh memory costs
 * page faults, and the runtime collects its heap for it: that was a quarter of what a relay cost.
 */
export class BlockPool {
  readonly #free: Buffer[] = [];
  readonly #blockBytes: number;
  #blocksMax = 0;

  /** @param bytesMax what it keeps at most */
  constructor(bytesMax: number) {
    const share = bytesMax * BLOCK_SHARE;
    this.#blockBytes = Math.floor(Math.max(BLOCK_BYTES, Math.min(share, BLOCK_BYTES_MAX)));
    this.limit(bytesMax);
  }

  /** It keeps so much from now on. */
  limit(bytesMax: number): void {
    this.#blocksMax = Math.floor(bytesMax / this.#blockBytes);
    this.#free.length = Math.min(this.#free.length, this.#blocksMax);
  }

  /** Memory for at least so many bytes, in which anything may stand, behind `HEADROOM_BYTES`. */
  take(bytes: number): Buffer {
    if (bytes > this.#blockBytes) return withHeadroom(bytes);
    return this.#free.pop() ?? withHeadroom(this.#blockBytes);
  }

  /** Takes back what nobody refers to any more. */
  give(memory: Buffer): void {
    if (memory.length === this.#blockBytes && this.#free.length < this.#blocksMax) {
      this.#free.push(memory);
    }
  }
}

function withHeadroom(bytes: number): Buffer {
  return Buffer.allocUnsafeSlow(HEADROOM_BYTES + bytes).subarray(HEADROOM_BYTES);
}
