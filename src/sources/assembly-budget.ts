import {
  ASSEMBLY_GRACE_MS,
  ASSEMBLY_RATE_MIN_BYTES_PER_SECOND,
  EARLY_BLOCKS_DIVISOR,
  EARLY_GRACE_MS,
  EARLY_SEGMENT_BYTES,
  EARLY_SEGMENT_FIRST_BYTES,
  EARLY_SEGMENTS_DIVISOR,
} from '../constants.js';
import { GUARD_BYTES } from '../ring/layout.js';
import type { MemoryWriter } from '../wasm/copy.js';

/** Where blocks for frames under assembly come from: `ring/buddy.ts`. */
export interface BlockSource {
  allocate(size: number): number;
  free(address: number): void;
}

/** A frame that reads have cut. */
export interface Assembly<Owner> {
  readonly owner: Owner;
  /** Header and payload, bytes. */
  readonly size: number;
  /** Bytes that have come. */
  fill: number;
  /** Address of the frame's header, GUARD_BYTES inside its block; 0 while it has none. */
  address: number;
  /** Nothing of its session was verified when it began. */
  readonly early: boolean;
  /** Its bytes while it has no block: at most two. */
  segments: Buffer[];
  readonly begunAt: number;
}

/**
 * All frames of a worker that are not whole yet.
 *
 * A frame of a session that was verified before has one block of the arena, allocated once when its
 * header is known and described in place. A frame of a session of which nothing was verified yet
 * (`early`) is kept in segments at first, which cost little more than the bytes that came, and gets
 * its block when it has filled them or is whole. Both are bounded for all early frames together:
 * who has no key can't take the memory of those who have, and a header alone takes next to none.
 *
 * When a budget is used up, those who need memory wait (their sockets are paused), while frames that
 * fell behind the slowest rate served are given up.
 */
export class AssemblyBudget<Owner> {
  readonly #blocks: BlockSource;
  readonly #memory: Pick<MemoryWriter, 'write'>;
  readonly #segmentBytesMax: number;
  readonly #earlyBlockBytesMax: number;
  readonly #live = new Set<Assembly<Owner>>();
  #segmentBytes = 0;
  #earlyBlockBytes = 0;
  /** Something was given back since whoever waits for memory was last served: they clear it. */
  freed = false;

  /**
   * @param memory writes to the worker's, in which the blocks lie
   * @param bytes the whole budget
   */
  constructor(blocks: BlockSource, memory: Pick<MemoryWriter, 'write'>, bytes: number) {
    this.#blocks = blocks;
    this.#memory = memory;
    this.#segmentBytesMax = Math.floor(bytes / EARLY_SEGMENTS_DIVISOR);
    this.#earlyBlockBytesMax = Math.floor(bytes / EARLY_BLOCKS_DIVISOR);
  }

  /** Frames under assembly. */
  get count(): number {
    return this.#live.size;
  }

  /** Bytes of segments, of frames that have no block. */
  get segmentBytes(): number {
    return this.#segmentBytes;
  }

  /** Undefined when the budget is used up. `early`: nothing of the session was verified yet. */
  begin(owner: Owner, size: number, now: number, early: boolean): Assembly<Owner> | undefined {
    const begun = { owner, size, fill: 0, address: 0, early, segments: [], begunAt: now };
    const assembly: Assembly<Owner> = begun;
    if (!(early ? this.#addSegment(assembly) : this.place(assembly))) return undefined;
    this.#live.add(assembly);
    return assembly;
  }

  /**
   * Takes bytes of the frame, from `offset` of `bytes` on.
   * @returns how many: fewer than are there where the frame is whole or the budget used up
   */
  take(assembly: Assembly<Owner>, bytes: Buffer, offset: number): number {
    const count = Math.min(assembly.size - assembly.fill, bytes.length - offset);
    let taken = 0;
    while (taken < count) {
      const from = offset + taken;
      const part =
        assembly.address === 0
          ? this.#takeToSegment(assembly, bytes, from, count - taken)
          : this.#takeToBlock(assembly, bytes, from, count - taken);
      if (part === 0 && assembly.address === 0) break;
      assembly.fill += part;
      taken += part;
    }
    return taken;
  }

  /** Gives a frame its block, if it has none; false when there is none at the moment. */
  place(assembly: Assembly<Owner>): boolean {
    if (assembly.address !== 0) return true;
    const { early, size, segments } = assembly;
    // The largest frame has its turn too, where the limit is small.
    const share = this.#earlyBlockBytes + size;
    if (early && this.#earlyBlockBytes > 0 && share > this.#earlyBlockBytesMax) return false;
    const block = this.#blocks.allocate(GUARD_BYTES + size);
    if (block === 0) return false;
    if (early) this.#earlyBlockBytes = share;
    assembly.address = block + GUARD_BYTES;
    if (segments.length > 0) {
      this.#memory.write(
        assembly.address,
        Buffer.concat(segments, assembly.fill),
        0,
        assembly.fill,
      );
      this.#dropSegments(assembly);
    }
    return true;
  }

  /** The frame is described: its block now belongs to its descriptor; `free` it after that. */
  finish(assembly: Assembly<Owner>): void {
    if (this.#live.delete(assembly)) this.#uncount(assembly);
  }

  /** Frees the block of a frame that was finished, by the frame's address. */
  free(address: number): void {
    this.freed = true;
    this.#blocks.free(address - GUARD_BYTES);
  }

  /** Gives an incomplete frame up and frees its memory. */
  abandon(assembly: Assembly<Owner>): void {
    if (!this.#live.delete(assembly)) return;
    this.#uncount(assembly);
    if (assembly.address !== 0) this.free(assembly.address);
    this.#dropSegments(assembly);
  }

  /** The owners whose frames may be given up now; asked only while others wait for memory. */
  stalled(now: number): Owner[] {
    const owners: Owner[] = [];
    for (const { owner, fill, size, early, begunAt } of this.#live) {
      if (fill === size) continue;
      const grace = early ? EARLY_GRACE_MS : ASSEMBLY_GRACE_MS;
      const due = begunAt + grace + (fill / ASSEMBLY_RATE_MIN_BYTES_PER_SECOND) * 1000;
      if (due <= now) owners.push(owner);
    }
    return owners;
  }

  /** Whether the owner of a frame that is not whole fits. */
  some(fits: (owner: Owner) => boolean): boolean {
    for (const { owner } of this.#live) if (fits(owner)) return true;
    return false;
  }

  #takeToBlock(assembly: Assembly<Owner>, bytes: Buffer, from: number, count: number): number {
    this.#memory.write(assembly.address + assembly.fill, bytes, from, from + count);
    return count;
  }

  /** 0 where the segments are full: then the frame has got its block, or memory is short. */
  #takeToSegment(assembly: Assembly<Owner>, bytes: Buffer, from: number, count: number): number {
    const { segments, fill } = assembly;
    const first = segments[0]!;
    if (fill === first.length && segments.length === 1) this.#addSegment(assembly);
    const segment = segments[fill < first.length ? 0 : 1];
    const at = fill < first.length ? fill : fill - first.length;
    if (segment === undefined || at === segment.length) {
      this.place(assembly);
      return 0;
    }
    return bytes.copy(segment, at, from, from + Math.min(count, segment.length - at));
  }

  #addSegment({ segments, size, fill }: Assembly<Owner>): boolean {
    const most = segments.length === 0 ? EARLY_SEGMENT_FIRST_BYTES : EARLY_SEGMENT_BYTES;
    const bytes = Math.min(most, size - fill);
    if (this.#segmentBytes + bytes > this.#segmentBytesMax) return false;
    this.#segmentBytes += bytes;
    segments.push(Buffer.allocUnsafeSlow(bytes));
    return true;
  }

  #dropSegments(assembly: Assembly<Owner>): void {
    if (assembly.segments.length === 0) return;
    for (const { length } of assembly.segments) this.#segmentBytes -= length;
    assembly.segments = [];
    this.freed = true;
  }

  #uncount({ early, address, size }: Assembly<Owner>): void {
    if (!early || address === 0) return;
    this.#earlyBlockBytes -= size;
    this.freed = true;
  }
}
