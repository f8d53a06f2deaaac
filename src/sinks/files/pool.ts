import { BuddyAllocator } from '../../ring/buddy.js';
import type { SinkBlocks } from '../sink.js';

/** A new stream's block; ten thousand that trickle must fit the pool. */
export const BLOCK_BYTES_MIN = 4096;
/** A busy stream's block: one write, whose thread's wake-up and promises cost as much as 1 MiB of it. */
export const BLOCK_BYTES_MAX = 2 * 1024 * 1024;
/** The same where blocks are compressed, each to a frame of its own. */
export const ENCODED_BLOCK_BYTES_MAX = 256 * 1024;
/** A block that the heap had to give: it is not aligned, so its size gains nothing. */
const HEAP_BLOCK_BYTES_MAX = 256 * 1024;
/** How much larger the next block is after one that filled. */
export const BLOCK_GROWTH = 16;

/** No block is larger than this share of the pool. */
const BLOCK_SHARE_MAX = 1 / 16;
/**
 * Blocks that are being filled have LOW_WATER of the pool: what is above it is being written. Busy
 * streams have half of that in equal shares, for some have not come down to their share yet; and
 * none gets more than this part of what is left.
 */
const LEFT_SHARE_MAX = 1 / 4;
/** Share of the pool in use at which a sink asks for no more, and at which it takes again. */
const HIGH_WATER = 3 / 4;
const LOW_WATER = 1 / 2;

/** Memory that a stream fills and its writer writes. */
export interface Block {
  readonly bytes: Buffer;
  /** Address in the worker's memory; 0: a Buffer of its own, for the pool was exhausted. */
  readonly address: number;
  /** It waits for more data; otherwise it is being written. */
  isFilling: boolean;
  /** Its stream asked for more than the smallest. */
  readonly isBusy: boolean;
}

/**
 * The memory that all sinks of a worker take their blocks from.
 * @param base its address, a multiple of 4096
 */
export function blocksOf(base: number, bytes: number): SinkBlocks {
  if (bytes < BLOCK_BYTES_MIN) return { allocate: () => 0, free: () => {} };
  return new BuddyAllocator(
    base,
    bytes,
    BLOCK_BYTES_MIN,
    Math.min(BLOCK_BYTES_MAX, powerOfTwoBelow(bytes)),
  );
}

/**
 * The sink's blocks: out of its share of the worker's memory, or, when that is exhausted, out of
 * the heap. The latter is bounded by the sink contract: between a `write` that returned false and
 * the pause that follows, what is in the ring still comes.
 */
export class BlockPool {
  readonly #memory: Uint8Array;
  readonly #blocks: SinkBlocks;
  #shareBytes = 0;
  #blockBytesMax = 0;
  #highBytes = 0;
  #lowBytes = 0;
  #pooledBytes = 0;
  #overflowBytes = 0;
  #fillingBytes = 0;
  /** Busy streams' blocks that are being filled. */
  #busyBlocks = 0;

  /**
   * @param blocks what all sinks of the worker share
   * @param bytes how much of it is this sink's
   */
  constructor(
    memory: Uint8Array,
    blocks: SinkBlocks,
    bytes: number,
    blockBytesMax = ENCODED_BLOCK_BYTES_MAX,
  ) {
    this.#memory = memory;
    this.#blocks = blocks;
    this.resize(bytes, blockBytesMax);
  }

  /** Its share is another. What is in use beyond it is given back as it is written. */
  resize(bytes: number, blockBytesMax: number): void {
    this.#shareBytes = bytes;
    this.#blockBytesMax = Math.min(blockBytesMax, powerOfTwoBelow(bytes * BLOCK_SHARE_MAX));
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

  /** The largest block that it gives. */
  get blockBytesMax(): number {
    return this.#blockBytesMax;
  }

  get isHigh(): boolean {
    return this.usedBytes > this.#highBytes;
  }

  /** Whether writing what is being written would not make the pool low again. */
  get isStarved(): boolean {
    return this.#fillingBytes > this.#lowBytes;
  }

  get isLow(): boolean {
    return this.usedBytes <= this.#lowBytes;
  }

  /**
   * A block of `size` bytes (a power of two), or smaller where none is free; out of the heap as
   * large as `needed` bytes ask for.
   */
  allocate(size: number, needed: number): Block {
    const isBusy = size > BLOCK_BYTES_MIN;
    if (isBusy) this.#busyBlocks += 1;
    let bytes = Math.min(size, this.#blockBytesMax, this.#streamBytes());
    for (;;) {
      const address = this.#pooled(bytes);
      if (address !== 0) {
        this.#pooledBytes += bytes;
        const { buffer, byteOffset } = this.#memory;
        this.#fillingBytes += bytes;
        return {
          bytes: Buffer.from(buffer, byteOffset + address, bytes),
          address,
          isFilling: true,
          isBusy,
        };
      }
      if (bytes === BLOCK_BYTES_MIN) break;
      bytes = Math.max(BLOCK_BYTES_MIN, bytes / BLOCK_GROWTH);
    }
    bytes = Math.min(HEAP_BLOCK_BYTES_MAX, Math.ceil(needed / BLOCK_BYTES_MIN) * BLOCK_BYTES_MIN);
    this.#overflowBytes += bytes;
    this.#fillingBytes += bytes;
    return { bytes: Buffer.allocUnsafeSlow(bytes), address: 0, isFilling: true, isBusy };
  }

  #pooled(bytes: number): number {
    return this.#pooledBytes + bytes > this.#shareBytes ? 0 : this.#blocks.allocate(bytes);
  }

  /** The block is full, or due: from now on it is being written. */
  seal(block: Block): void {
    if (!block.isFilling) return;
    block.isFilling = false;
    this.#fillingBytes -= block.bytes.length;
    if (block.isBusy) this.#busyBlocks -= 1;
  }

  /** What the next block may have. */
  #streamBytes(): number {
    const leftBytes = Math.max(0, this.#lowBytes - this.#fillingBytes);
    const equalBytes = this.#lowBytes / 2 / Math.max(1, this.#busyBlocks);
    return powerOfTwoBelow(Math.min(equalBytes, leftBytes * LEFT_SHARE_MAX));
  }

  free(block: Block): void {
    this.seal(block);
    if (block.address === 0) {
      this.#overflowBytes -= block.bytes.length;
      return;
    }
    this.#pooledBytes -= block.bytes.length;
    this.#blocks.free(block.address);
  }
}

function powerOfTwoBelow(bytes: number): number {
  return bytes < BLOCK_BYTES_MIN ? BLOCK_BYTES_MIN : 2 ** Math.floor(Math.log2(bytes));
}
