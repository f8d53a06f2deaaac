import { ASSEMBLY_GRACE_MS, ASSEMBLY_RATE_MIN_BYTES_PER_SECOND } from '../constants.js';
import { GUARD_BYTES } from '../ring/layout.js';

/** Where blocks for frames under assembly come from: `ring/buddy.ts`. */
export interface BlockSource {
  allocate(size: number): number;
  free(address: number): void;
}

/** A frame that reads have cut, on its way into one block of its own. */
export interface Assembly<Owner> {
  readonly owner: Owner;
  /** Address of the frame's header, GUARD_BYTES inside its block. */
  readonly address: number;
  /** Header and payload, bytes. */
  readonly size: number;
  /** Bytes that have come. */
  fill: number;
  /** From this moment on (ms) it may be given up, if others need its memory. */
  readonly deadline: number;
}

/**
 * All frames of a worker that are not whole yet. Each has one block, allocated once when its header
 * is known. When the budget is used up, those who need a block wait (their sockets are paused)
 * while frames that fell behind the slowest rate served are given up: a sensor that stalls in
 * mid-frame can't hold memory that others need, and costs nothing while nobody needs it.
 */
export class AssemblyBudget<Owner> {
  readonly #blocks: BlockSource;
  readonly #live = new Set<Assembly<Owner>>();

  constructor(blocks: BlockSource) {
    this.#blocks = blocks;
  }

  /** Frames under assembly. */
  get count(): number {
    return this.#live.size;
  }

  /** Undefined when the budget is used up. */
  begin(owner: Owner, size: number, now: number): Assembly<Owner> | undefined {
    const block = this.#blocks.allocate(GUARD_BYTES + size);
    if (block === 0) return undefined;
    const address = block + GUARD_BYTES;
    const patience = ASSEMBLY_GRACE_MS + (size / ASSEMBLY_RATE_MIN_BYTES_PER_SECOND) * 1000;
    const assembly = { owner, address, size, fill: 0, deadline: now + patience };
    this.#live.add(assembly);
    return assembly;
  }

  /** The frame is whole: its block now belongs to its descriptor; `free` it after that. */
  finish(assembly: Assembly<Owner>): void {
    this.#live.delete(assembly);
  }

  /** Frees the block of a frame that was finished, by the frame's address. */
  free(address: number): void {
    this.#blocks.free(address - GUARD_BYTES);
  }

  /** Gives an incomplete frame up and frees its block. */
  abandon(assembly: Assembly<Owner>): void {
    if (this.#live.delete(assembly)) this.free(assembly.address);
  }

  /** The owners whose frames may be given up now; asked only while others wait for memory. */
  stalled(now: number): Owner[] {
    const owners: Owner[] = [];
    for (const assembly of this.#live) {
      if (assembly.deadline <= now) owners.push(assembly.owner);
    }
    return owners;
  }
}
