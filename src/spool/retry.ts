import type { Logger } from 'pino';
import { messageOf } from '../errors.js';
import type { Clock } from '../sinks/files/clock.js';

const DELAY_MS_MIN = 250;
const DELAY_MS_MAX = 10_000;
/** What fails again so soon goes on with the delay that it had reached. */
const RELAPSE_MS = 10_000;

/** What the disk refuses is tried again, ever less often, for as long as it takes; said once. */
export class Retry {
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #what: string;
  #delayMs = DELAY_MS_MIN;
  #since: number | undefined;
  #endedAt = Number.NEGATIVE_INFINITY;
  #wake: (() => void) | undefined;
  #isStopped = false;
  /** What was refused last, and when (ms since the epoch). */
  lastError: { text: string; at: number } | undefined;

  /** @param what is tried, for the log: "the spool in DIR can't be written" follows from it */
  constructor(log: Logger, clock: Clock, what: string) {
    this.#log = log;
    this.#clock = clock;
    this.#what = what;
  }

  /** The last attempt failed. */
  get isFailing(): boolean {
    return this.#since !== undefined;
  }

  /** An attempt was refused: waits until the next one is due. */
  async refused(error: unknown, fields: object): Promise<void> {
    this.lastError = { text: messageOf(error), at: this.#clock.now() };
    if (this.#since === undefined) {
      this.#since = this.#clock.monotonic();
      if (this.#since - this.#endedAt > RELAPSE_MS) this.#delayMs = DELAY_MS_MIN;
      const text = `${this.#what} can't be written: it is tried again`;
      this.#log.error({ ...fields, error: messageOf(error) }, text);
    }
    const delayMs = this.#delayMs;
    this.#delayMs = Math.min(DELAY_MS_MAX, 2 * delayMs);
    if (this.#isStopped) return;
    await new Promise<void>((resolve) => {
      const cancel = this.#clock.after(delayMs, resolve);
      this.#wake = () => {
        cancel();
        resolve();
      };
    });
    this.#wake = undefined;
  }

  succeeded(): void {
    if (this.#since === undefined) return;
    this.#endedAt = this.#clock.monotonic();
    const seconds = Math.round((this.#endedAt - this.#since) / 1000);
    this.#log.info({ seconds }, `${this.#what} is written again`);
    this.#since = undefined;
  }

  /** Waits no longer, now or later. */
  stop(): void {
    this.#isStopped = true;
    this.#wake?.();
  }
}
