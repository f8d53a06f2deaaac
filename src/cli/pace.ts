import { setTimeout as sleep } from 'node:timers/promises';

/** What may go at once; more is spread over time. */
const BURST_SECONDS = 0.05;

/** Holds back to so many bytes or frames a second. */
export class Pace {
  readonly #perSecond: number;
  readonly unit: 'bytes' | 'frames';
  readonly #now: () => number;
  /** When, in seconds, all that was let through would have taken its time. */
  #due: number | undefined;

  /** @param now milliseconds that never go back */
  constructor(perSecond: number, unit: 'bytes' | 'frames', now = () => performance.now()) {
    this.#perSecond = perSecond;
    this.unit = unit;
    this.#now = now;
  }

  /** Milliseconds that a frame of `bytes` bytes is early; it counts as sent then. */
  delay(bytes: number): number {
    const now = this.#now() / 1_000;
    const due = Math.max(this.#due ?? now, now - BURST_SECONDS);
    this.#due = due + (this.unit === 'bytes' ? bytes : 1) / this.#perSecond;
    return Math.max(0, (due - now) * 1_000);
  }

  /** Waits until a frame of `bytes` bytes may go. */
  async wait(bytes: number): Promise<void> {
    const ms = this.delay(bytes);
    // A timer is no finer than a millisecond: what is earlier by less waits with the next.
    if (ms >= 1) await sleep(ms);
  }
}
