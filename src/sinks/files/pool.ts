import { BuddyAllocator } from '../../ring/buddy.js';

/** A new stream's block; ten thousand that trickle must fit the pool. */
export const BLOCK_BYTES_MIN = 4096;
/** A busy stream's block: one write. */
export const BLOCK_BYTES_MAX = 256 * 1024;
/** How much larger the next block is after one that filled. */
export const BLOCK_GROWTH = 4;

/** No block is larger than this share of the pool. */
const BLOCK_SHARE_MAX = 1 / 16;
/** Share of the pool in use at which a sink asks for no more, and at which it takes again. */
const HIGH_WATER = 3 / 4;
const LOW_WATER = 1 / 2;

/** Memory that a stream fills and its writer writes. */
export interface Block {
  readonly bytes: Buffer;
  /** Address in the worker's memory; 0: a Buffer of its own, for the pool was exhausted. */
  readonly address: number;
}

/**
 * The sink's blocks: out of its share of the worker's memory, or, when that is exhausted, out of
 * the heap. The latter is bounded by the sink contract: between a `write` that returned false and
 * the pause that follows, what is in the ring still comes.
 */
export class BlockPool {
  readonly #memory: Uint8Array;
  readonly #buddy: BuddyAllocator | undefined;
  readonly #blockBytesMax: number;
  readonly #highBytes: number;
  readonly #lowBytes: number;
  #pooledBytes = 0;
  #overflowBytes = 0;

  /** @param base address of the pool, a multiple of 4096 */
  constructor(memory: Uint8Array, base: number, bytes: number) {
    this.#memory = memory;
    this.#blockBytesMax = Math.min(BLOCK_BYTES_MAX, powerOfTwoBelow(bytes * BLOCK_SHARE_MAX));
    if (bytes >= BLOCK_BYTES_MIN) {
      this.#buddy = new BuddyAllocator(base, bytes, BLOCK_BYTES_MIN, this.#blockBytesMax);
    }
    this.#highBytes = bytes * HIGH_WATER;
    this.#lowBytes = bytes * LOW_WATER;
  }

  /** Bytes in use: of the pool, and of the heap beyond it. */
  get usedBytes(): number {
    return this.#pooledBytes + this.#overflowBytes;
  }

  get overflowBytes(): number {
    return this.#overflowBytes;
  }

  get isHigh(): boolean {
    return this.usedBytes > this.#highBytes;
  }

  get isLow(): boolean {
    return this.usedBytes <= this.#lowBytes;
  }

  /**
   * A block of `size` bytes (a power of two), or smaller where none is free; out of the heap as
   * large as `needed` bytes ask for.
   */
  allocate(size: number, needed: number): Block {
    let bytes = Math.min(size, this.#blockBytesMax);
    for (;;) {
      const address = this.#buddy?.allocate(bytes) ?? 0;
      if (address !== 0) {
        this.#pooledBytes += bytes;
        const { buffer, byteOffset } = this.#memory;
        return { bytes: Buffer.from(buffer, byteOffset + address, bytes), address };
      }
      if (bytes === BLOCK_BYTES_MIN) break;
      bytes = Math.max(BLOCK_BYTES_MIN, bytes / BLOCK_GROWTH);
    }
    bytes = Math.min(BLOCK_BYTES_MAX, Math.ceil(needed / BLOCK_BYTES_MIN) * BLOCK_BYTES_MIN);
    this.#overflowBytes += bytes;
    return { bytes: Buffer.allocUnsafeSlow(bytes), address: 0 };
  }

  free(block: Block): void {
    if (block.address === 0) {
      this.#overflowBytes -= block.bytes.length;
      return;
    }
    this.#pooledBytes -= block.bytes.length;
    this.#buddy!.free(block.address);
  }
}

function powerOfTwoBelow(bytes: number): number {
  return bytes < BLOCK_BYTES_MIN ? BLOCK_BYTES_MIN : 2 ** Math.floor(Math.log2(bytes));
}
