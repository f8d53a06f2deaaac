import { EMPTY } from './cutter.js';

const CAPACITY_BYTES_MIN = 256;

/** Bytes that grow at their end, up to a limit. */
export class GrowingBytes {
  length = 0;
  #bytes: Uint8Array = EMPTY;
  readonly #limit: number;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Appends `bytes[from, to)`; false, and nothing appended, over the limit. */
  append(bytes: Uint8Array, from: number, to: number): boolean {
    const length = this.length + to - from;
    if (length > this.#limit) return false;
    if (length > this.#bytes.length) {
      const capacity = Math.max(CAPACITY_BYTES_MIN, length, 2 * this.#bytes.length);
      const grown = new Uint8Array(Math.min(capacity, this.#limit));
      grown.set(this.view());
      this.#bytes = grown;
    }
    this.#bytes.set(bytes.subarray(from, to), this.length);
    this.length = length;
    return true;
  }

  /** Shortens to `length` bytes, and lets go of the memory with the last. */
  truncate(length: number): void {
    this.length = length;
    if (length === 0) this.#bytes = EMPTY;
  }

  view(): Uint8Array {
    return this.#bytes.subarray(0, this.length);
  }
}
