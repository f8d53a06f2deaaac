import type { Readable } from 'node:stream';
import type { Clock } from '../net/clock.js';

/** A partial payload waits this long for more, so that a live capture does not lag. */
export const FLUSH_MS = 200;
/**
 * After a signal the input may still end by itself for this long: in `tcpdump | d4gw client`, one
 * Ctrl-C reaches both, and tcpdump writes out what it holds.
 */
export const STOP_GRACE_MS = 500;

/**
 * Cuts an input into payloads: reads are joined up to `bytesMax`, and given early when no more
 * comes. At most one payload is held beside the input's own buffer; nothing is read while it waits
 * to be taken.
 */
export class InputPayloads {
  readonly #input: Readable;
  readonly #bytesMax: number;
  readonly #clock: Clock;
  readonly #onReady: () => void;
  #parts: Buffer[] = [];
  #held = 0;
  #isDue = false;
  #inputEnded = false;
  #error: Error | undefined;
  #cancelFlush: (() => void) | undefined;
  #cancelStop: (() => void) | undefined;
  readonly #readable = () => {
    this.#fill();
    if (this.#held >= this.#bytesMax) this.#onReady();
  };

  /** @param options.onReady called when `take` or `ended` has something new to say */
  constructor(input: Readable, options: { bytesMax: number; clock: Clock; onReady: () => void }) {
    this.#input = input;
    this.#bytesMax = options.bytesMax;
    this.#clock = options.clock;
    this.#onReady = options.onReady;
    input.on('readable', this.#readable);
    input.once('end', () => this.#finish());
    input.on('error', (error) => this.#finish(error));
    // Destroyed without an error, as by a peer of its own: no end will come.
    input.once('close', () => this.#finish());
  }

  /** All was taken, and no more comes. */
  get ended(): boolean {
    return this.#inputEnded && this.#held === 0;
  }

  /** Why the input ended, where it failed: what came before is still given. */
  get error(): Error | undefined {
    return this.#error;
  }

  /** Bytes read and not taken. */
  get heldBytes(): number {
    return this.#held;
  }

  /** The next payload that is due: full, or old enough, or the last; undefined while none is. */
  take(): Buffer | undefined {
    const isPartialDue = this.#held > 0 && (this.#isDue || this.#inputEnded);
    if (this.#held < this.#bytesMax && !isPartialDue) return undefined;
    const all = this.#parts.length === 1 ? (this.#parts[0] as Buffer) : Buffer.concat(this.#parts);
    // A copy, so that a small payload does not keep a large read in memory.
    const payload = Buffer.from(all.subarray(0, this.#bytesMax));
    const rest = all.subarray(payload.length);
    this.#parts = rest.length > 0 ? [rest] : [];
    this.#held = rest.length;
    this.#isDue = false;
    this.#cancelFlush?.();
    this.#cancelFlush = undefined;
    if (rest.length > 0) this.#awaitMore();
    this.#fill();
    return payload;
  }

  /** Reads no more, after the grace; what was read is still to be taken. */
  stop(graceMs = STOP_GRACE_MS): void {
    if (this.#inputEnded) return;
    this.#cancelStop ??= this.#clock.after(graceMs, () => {
      this.#add(this.#input.read(this.#input.readableLength));
      this.#finish();
    });
  }

  /** Ends all reading at once. */
  destroy(): void {
    this.#finish();
    this.#input.destroy();
  }

  /** Says nothing: within `take`, the caller asks again by itself. */
  #fill(): void {
    if (this.#inputEnded) return;
    while (this.#held < this.#bytesMax) {
      // A read of nothing asks the source for more, and brings the end when there is none.
      if (this.#input.readableLength === 0) this.#input.read(0);
      const size = Math.min(this.#input.readableLength, this.#bytesMax - this.#held);
      const part: Buffer | null = size > 0 ? this.#input.read(size) : null;
      if (part === null) break;
      this.#add(part);
    }
  }

  #add(part: Buffer | null): void {
    if (!part?.length) return;
    this.#parts.push(part);
    this.#held += part.length;
    this.#awaitMore();
  }

  #awaitMore(): void {
    this.#cancelFlush ??= this.#clock.after(FLUSH_MS, () => {
      this.#isDue = true;
      this.#onReady();
    });
  }

  #finish(error?: Error): void {
    this.#error ??= error;
    if (this.#inputEnded) return;
    this.#inputEnded = true;
    this.#input.off('readable', this.#readable);
    this.#cancelFlush?.();
    this.#cancelStop?.();
    this.#onReady();
  }
}
