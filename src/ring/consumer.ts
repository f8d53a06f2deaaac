import { assert } from './assert.js';
import {
  assertRingShape,
  controlWords,
  distance,
  type SharedMemory,
  WORD_BYTE_TAIL,
  WORD_HEAD,
  WORD_TAIL,
} from './control.js';
import { DescriptorTable } from './descriptors.js';
import { GUARD_BYTES, type MemoryMap } from './layout.js';
import type { Wake } from './wait.js';

/**
 * The reading end of the ring: one thread alone. The fields of a descriptor are read by its
 * sequence (u32, mod 2^32), from `tail` to `tail + available()`; what they say holds until
 * `release` passes it.
 *
 *   descriptors     tail                      head            tail + descriptors
 *   ────────────────┼─────────────────────────┼───────────────┼──▶ sequence
 *     released      │ available(): to be read │ the producer's
 *
 *   byte ring       byteTail         RELEASE of head - 1      limit   byteTail + ringBytes
 *   ────────────────┼────────────────┼────────────────────────┼───────┼──▶ position
 *     released      │ published      │ the producer's         │ guard │
 *
 *   tail ≤ head ≤ tail + descriptors
 *   byteTail ≤ RELEASE of tail ≤ … ≤ RELEASE of head - 1 ≤ limit = byteTail + ringBytes - GUARD_BYTES
 */
export class RingConsumer extends DescriptorTable {
  readonly #control: Uint32Array;
  readonly #ringBytes: number;
  readonly #descriptors: number;
  readonly #wake: Wake;
  readonly #ready = () => this.available() > 0;
  #tail: number;
  #byteTail: number;

  /**
   * Goes on from what the control words say.
   * @param wake the consumer's end, from `wait.ts`; closed by its owner
   */
  constructor(memory: SharedMemory, map: MemoryMap, wake: Wake) {
    super(memory, map);
    assertRingShape(map);
    this.#control = controlWords(memory);
    this.#ringBytes = map.ringBytes;
    this.#descriptors = map.descriptors;
    this.#wake = wake;
    this.#tail = Atomics.load(this.#control, WORD_TAIL);
    this.#byteTail = Atomics.load(this.#control, WORD_BYTE_TAIL);
  }

  /** Sequence (u32) of the oldest descriptor that is not released. */
  get tail(): number {
    return this.#tail;
  }

  /** Published descriptors from `tail` on. */
  available(): number {
    return distance(this.#tail, Atomics.load(this.#control, WORD_HEAD));
  }

  /**
   * Gives the `count` oldest descriptors back, and the bytes that they stood for; wakes a producer
   * that waits for space.
   */
  release(count: number): void {
    const available = this.available();
    assert(count >= 0 && count <= available, 'release: at most what is published');
    if (count === 0) return;
    const tail = (this.#tail + count) >>> 0;
    // A frame in the arena carries the position of the ring frame before it: nothing moves.
    const byteTail = this.releasePosition((tail - 1) >>> 0);
    const freed = distance(this.#byteTail, byteTail);
    assert(freed <= this.#ringBytes, 'release: positions rise, within the ring');
    this.#tail = tail;
    this.#byteTail = byteTail;
    // In this order: a producer that sees the tail sees the byte tail that belongs to it.
    Atomics.store(this.#control, WORD_BYTE_TAIL, byteTail);
    Atomics.store(this.#control, WORD_TAIL, tail);
    this.invariants();
    this.#wake.wake();
  }

  /**
   * Calls `onWake` once, as soon as a descriptor is available (never before this returns). A
   * second call while waiting replaces the callback.
   */
  sleep(onWake: () => void): void {
    this.#wake.sleep(this.#ready, onWake);
  }

  /** Asserts the laws in the figure above. */
  invariants(): void {
    const available = this.available();
    assert(available <= this.#descriptors, 'tail <= head <= tail + descriptors');
    if (available === 0) return;
    const first = distance(this.#byteTail, this.releasePosition(this.#tail));
    const last = distance(this.#byteTail, this.releasePosition((this.#tail + available - 1) >>> 0));
    assert(first <= last, 'the release positions of published descriptors rise');
    assert(last <= this.#ringBytes - GUARD_BYTES, 'published bytes <= ringBytes - GUARD_BYTES');
  }
}
