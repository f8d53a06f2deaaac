import { assert, isPowerOfTwo } from './assert.js';

/** Smallest block by default: metadata is nine bytes a block of this size. */
export const BUDDY_BLOCK_BYTES_MIN = 256;

const FREE = 0x40;
const USED = 0x80;
const ORDER = 0x3f;

/**
 * A buddy allocator over a region of the shared memory: blocks of `minBlockBytes` times a power of
 * two (the order), each at a multiple of its size from the base. A block is split into two halves,
 * its buddies, and a freed block joins its buddy when that is free too.
 *
 *   order 2  │               A               │        A split: B used, D and C free
 *   order 1  │       .       │       C       │
 *   order 0  │   B   │   D   │               │
 *
 *   leaf       0       1       2       3              a block is named by its first leaf
 *
 * The metadata is kept in arrays of its own, out of reach of what is written into the blocks.
 * Each call is O(log(max / min)) and depends on the calls before it alone. One thread a region.
 */
export class BuddyAllocator {
  readonly #base: number;
  readonly #leafBytes: number;
  readonly #orderMax: number;
  readonly #leaves: number;
  /** Of a block's first leaf: FREE or USED with its order; 0 elsewhere. */
  readonly #state: Uint8Array;
  /** Free blocks by order: doubly linked lists of leaf + 1; 0 ends one. */
  readonly #lists: Uint32Array;
  readonly #next: Uint32Array;
  readonly #previous: Uint32Array;
  /** Bit k set: the list of order k is not empty. */
  #nonEmpty = 0;
  #usedBytes = 0;

  /**
   * @param base address of the region, above 0: 4096-aligned, so that blocks are, up to 4096
   * @param bytes of the region; what remains after whole blocks of `minBlockBytes` is left unused
   * @param minBlockBytes a power of two
   * @param maxBlockBytes a power of two; default: the largest that fits
   */
  constructor(
    base: number,
    bytes: number,
    minBlockBytes = BUDDY_BLOCK_BYTES_MIN,
    maxBlockBytes = 2 ** Math.min(31, Math.floor(Math.log2(bytes))),
  ) {
    assert(Number.isInteger(base) && base > 0 && base % 4096 === 0, 'buddy: base 4096-aligned');
    assert(isPowerOfTwo(minBlockBytes), 'buddy: minBlockBytes is a power of two');
    assert(isPowerOfTwo(maxBlockBytes), 'buddy: maxBlockBytes is a power of two');
    assert(minBlockBytes <= maxBlockBytes, 'buddy: minBlockBytes <= maxBlockBytes');
    assert(bytes >= minBlockBytes && base + bytes <= 2 ** 32, 'buddy: one block to 4 GiB');
    this.#base = base;
    this.#leafBytes = minBlockBytes;
    this.#orderMax = Math.log2(maxBlockBytes / minBlockBytes);
    this.#leaves = Math.floor(bytes / minBlockBytes);
    assert(this.#leaves <= 2 ** 30, 'buddy: at most 2^30 blocks of minBlockBytes');
    this.#state = new Uint8Array(this.#leaves);
    this.#next = new Uint32Array(this.#leaves);
    this.#previous = new Uint32Array(this.#leaves);
    this.#lists = new Uint32Array(this.#orderMax + 1);
    this.#addRegion();
  }

  /** Bytes of the blocks handed out. */
  get used(): number {
    return this.#usedBytes;
  }

  /** Bytes of the largest block that `allocate` could give now; 0 when there is none. */
  get largestFree(): number {
    return this.#nonEmpty === 0 ? 0 : this.#blockBytes(31 - Math.clz32(this.#nonEmpty));
  }

  /** Address of a block of at least `size` bytes (1 and up), or 0 when there is none. */
  allocate(size: number): number {
    assert(size >= 1, 'buddy: a block has at least one byte');
    const order = this.#orderOf(size);
    if (order > this.#orderMax) return 0;
    const fitting = this.#nonEmpty & (-1 << order);
    if (fitting === 0) return 0;
    let from = 31 - Math.clz32(fitting & -fitting);
    const leaf = this.#lists[from]! - 1;
    this.#unlink(leaf, from);
    while (from > order) {
      from -= 1;
      this.#link(leaf + (1 << from), from);
    }
    this.#state[leaf] = USED | order;
    this.#usedBytes += this.#blockBytes(order);
    return this.#base + leaf * this.#leafBytes;
  }

  /** Gives a block back; asserts that `address` is one that `allocate` returned, and not free. */
  free(address: number): void {
    let leaf = this.#leafOf(address);
    let order = this.#state[leaf]! & ORDER;
    this.#usedBytes -= this.#blockBytes(order);
    this.#state[leaf] = 0;
    while (order < this.#orderMax) {
      const buddy = leaf ^ (1 << order);
      // At the region's end a buddy may be missing, or cut into smaller blocks.
      if (this.#state[buddy] !== (FREE | order)) break;
      this.#unlink(buddy, order);
      leaf &= ~(1 << order);
      order += 1;
    }
    this.#link(leaf, order);
  }

  /** Bytes of the block at `address`: at least what was asked for. */
  sizeOf(address: number): number {
    return this.#blockBytes(this.#state[this.#leafOf(address)]! & ORDER);
  }

  /** Free blocks, the largest first; linked from the end, so that low ones go out first. */
  #addRegion(): void {
    const blocks: [leaf: number, order: number][] = [];
    let order = this.#orderMax;
    for (let leaf = 0; leaf < this.#leaves; leaf += 2 ** order) {
      while (leaf + 2 ** order > this.#leaves) order -= 1;
      blocks.push([leaf, order]);
    }
    for (const [leaf, order] of blocks.reverse()) this.#link(leaf, order);
  }

  #blockBytes(order: number): number {
    return (1 << order) * this.#leafBytes;
  }

  /** Smallest order whose blocks hold `size` bytes. */
  #orderOf(size: number): number {
    const leaves = Math.ceil(size / this.#leafBytes);
    return leaves <= 1 ? 0 : 32 - Math.clz32(leaves - 1);
  }

  #leafOf(address: number): number {
    const leaf = (address - this.#base) / this.#leafBytes;
    const state = this.#state[leaf]; // undefined out of range, or between two leaves
    assert(state !== undefined && (state & USED) !== 0, 'buddy: the address of a block in use');
    return leaf;
  }

  #link(leaf: number, order: number): void {
    const first = this.#lists[order]!;
    this.#state[leaf] = FREE | order;
    this.#next[leaf] = first;
    this.#previous[leaf] = 0;
    if (first !== 0) this.#previous[first - 1] = leaf + 1;
    this.#lists[order] = leaf + 1;
    this.#nonEmpty |= 1 << order;
  }

  #unlink(leaf: number, order: number): void {
    const next = this.#next[leaf]!;
    const previous = this.#previous[leaf]!;
    if (previous === 0) this.#lists[order] = next;
    else this.#next[previous - 1] = next;
    if (next !== 0) this.#previous[next - 1] = previous;
    if (this.#lists[order] === 0) this.#nonEmpty &= ~(1 << order);
    this.#state[leaf] = 0;
  }
}
