import { assert } from './assert.js';
import { distance } from './control.js';

/** What `afterRelease` calls: with the value that was queued, such as an arena address. */
export type ReleaseCallback = (value: number) => void;

/**
 * What to do once descriptors have been released, in their order. At most one entry a descriptor,
 * so as many entries as there are descriptors suffice: were there one more, the oldest descriptor
 * would have been released already.
 */
export class ReleaseQueue {
  readonly #sequences: Uint32Array;
  readonly #values: Float64Array;
  readonly #callbacks: (ReleaseCallback | undefined)[];
  readonly #mask: number;
  #first = 0;
  #count = 0;

  constructor(descriptors: number) {
    this.#sequences = new Uint32Array(descriptors);
    this.#values = new Float64Array(descriptors);
    this.#callbacks = new Array(descriptors);
    this.#mask = descriptors - 1;
  }

  get count(): number {
    return this.#count;
  }

  get full(): boolean {
    return this.#count > this.#mask;
  }

  /** Sequences come in rising order, one entry each. */
  push(sequence: number, callback: ReleaseCallback, value: number): void {
    assert(!this.full, 'release queue: one entry a descriptor');
    if (this.#count > 0) {
      const last = this.#sequences[(this.#first + this.#count - 1) & this.#mask]!;
      const ahead = distance(last, sequence);
      assert(ahead > 0 && ahead < 2 ** 31, 'release queue: sequences rise');
    }
    const slot = (this.#first + this.#count) & this.#mask;
    this.#sequences[slot] = sequence;
    this.#values[slot] = value;
    this.#callbacks[slot] = callback;
    this.#count += 1;
  }

  /** Calls back for each entry before `tail`, oldest first; returns how many. */
  run(tail: number): number {
    let done = 0;
    while (this.#count > 0) {
      const slot = this.#first;
      // A released sequence lies behind the tail: as a u32 distance, just below 2^32.
      if (distance(tail, this.#sequences[slot]!) < 2 ** 31) break;
      const callback = this.#callbacks[slot]!;
      this.#callbacks[slot] = undefined;
      this.#first = (slot + 1) & this.#mask;
      this.#count -= 1;
      done += 1;
      callback(this.#values[slot]!);
    }
    return done;
  }
}
