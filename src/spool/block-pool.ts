import { BLOCK_BYTES, PADDING_BYTES, padded } from './layout.js';

/**
 * Bytes in front of a block in the same memory, so that what goes before it on a socket lies in one
 * piece with it; a page, as a block is written to the disk from a page's start.
 */
export const HEADROOM_BYTES = PADDING_BYTES;
/** Memory is taken for so many blocks at once; WebAssembly's, for it alone begins with a page. */
const CHUNK_BLOCKS = 4;
const WASM_PAGE_BYTES = 65_536;

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
    this.#blockBytes = padded(Math.max(BLOCK_BYTES, Math.min(share, BLOCK_BYTES_MAX)));
    this.limit(bytesMax);
  }

  /** It keeps so much from now on. */
  limit(bytesMax: number): void {
    this.#blocksMax = Math.floor(bytesMax / this.#blockBytes);
    this.#free.length = Math.min(this.#free.length, this.#blocksMax);
  }

  /** Memory for at least so many bytes, in which anything may stand, behind `HEADROOM_BYTES`. */
  take(bytes: number): Buffer {
    if (bytes > this.#blockBytes) {
      return Buffer.allocUnsafeSlow(HEADROOM_BYTES + bytes).subarray(HEADROOM_BYTES);
    }
    if (this.#free.length === 0) this.#grow();
    return this.#free.pop()!;
  }

  /** Whether it begins with a page, and is some pages long. */
  isPaged(memory: Buffer): boolean {
    return memory.length === this.#blockBytes;
  }

  /** Takes back what nobody refers to any more. */
  give(memory: Buffer): void {
    if (this.isPaged(memory) && this.#free.length < this.#blocksMax) {
      this.#free.push(memory);
    }
  }

  #grow(): void {
    const stride = HEADROOM_BYTES + this.#blockBytes;
    const initial = Math.ceil((CHUNK_BLOCKS * stride) / WASM_PAGE_BYTES);
    const { buffer } = new WebAssembly.Memory({ initial, maximum: initial });
    for (let index = CHUNK_BLOCKS; index > 0; index -= 1) {
      const start = index * stride - this.#blockBytes;
      this.#free.push(Buffer.from(buffer, start, this.#blockBytes));
    }
  }
}
