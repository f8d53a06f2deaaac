import type { Logger } from 'pino';
import { GatewayError, messageOf } from '../../errors.js';
import type { Clock } from './clock.js';
import { Limiter } from './limiter.js';

export const RETRY_MS_MIN = 250;
export const RETRY_MS_MAX = 10_000;
/** An outage that comes back sooner goes on with the delay that it had reached. */
const RELAPSE_MS = 10_000;
/** File operations under way at once, over all streams of a sink. */
const OPERATIONS_MAX = 64;

/** What an operation rejects with once the sink has been told to give up. */
export class GivenUp extends Error {}

/**
 * Runs the sink's file operations, and repeats those that the file system refuses until it takes
 * them. One refusal stops all: the first operation to be refused tries again on its own, ever less
 * often, while the others wait; when it succeeds, all go on.
 */
export class Outage {
  readonly #log: Logger;
  /** The sink's directory, for the log. */
  dir: string;
  readonly #clock: Clock;
  readonly #changed: () => void;
  readonly #operations = new Limiter(OPERATIONS_MAX);
  /** While an outage lasts: resolves when it is over. */
  #over: Promise<void> | undefined;
  #delayMs = RETRY_MS_MIN;
  #endedAt = Number.NEGATIVE_INFINITY;
  #givenUp = false;
  #lastError: { text: string; at: number } | undefined;
  #wake = new Set<() => void>();

  /**
   * @param changed called when an outage begins or ends
   */
  constructor(log: Logger, dir: string, clock: Clock, changed: () => void) {
    this.#log = log;
    this.dir = dir;
    this.#clock = clock;
    this.#changed = changed;
  }

  get active(): boolean {
    return this.#over !== undefined;
  }

  /** The newest refusal; `at` in ms since the epoch. */
  get lastError(): { text: string; at: number } | undefined {
    return this.#lastError;
  }

  /** Ends all waiting: operations that are refused now reject with `GivenUp`. */
  giveUp(): void {
    this.#givenUp = true;
    for (const wake of this.#wake) wake();
  }

  /**
   * Resolves with what `operation` resolves with, however often it takes. An operation must be
   * able to go on after an error where it was. Errors without an `errno` are a programmer's, and
   * pass through.
   */
  async run<T>(operation: () => Promise<T>): Promise<T> {
    for (;;) {
      if (this.#givenUp) throw new GivenUp();
      if (this.#over !== undefined) {
        await this.#over;
        continue;
      }
      try {
        return await this.#operations.run(operation);
      } catch (error) {
        // What is still under way when the sink is given up may find its files closed.
        if (this.#givenUp) throw new GivenUp();
        if (!isRefusal(error)) throw error;
        if (this.#over === undefined) return await this.#retry(operation, error);
      }
    }
  }

  async #retry<T>(operation: () => Promise<T>, refusal: Error): Promise<T> {
    const began = this.#clock.monotonic();
    if (began - this.#endedAt > RELAPSE_MS) this.#delayMs = RETRY_MS_MIN;
    let end: () => void = () => {};
    this.#over = new Promise((resolve) => {
      end = resolve;
    });
    const { dir } = this;
    const error = messageOf(refusal);
    this.#lastError = { text: error, at: this.#clock.now() };
    this.#log.error({ dir, error }, 'the files sink takes no more: writing failed');
    this.#changed();
    try {
      for (;;) {
        await this.#sleep();
        if (this.#givenUp) throw new GivenUp();
        try {
          const result = await operation();
          const seconds = Math.round((this.#clock.monotonic() - began) / 1000);
          this.#log.info({ dir, seconds }, 'the files sink goes on');
          return result;
        } catch (error) {
          if (!isRefusal(error)) throw error;
        }
      }
    } finally {
      this.#endedAt = this.#clock.monotonic();
      this.#over = undefined;
      end();
      this.#changed();
    }
  }

  #sleep(): Promise<void> {
    const delayMs = this.#delayMs;
    this.#delayMs = Math.min(RETRY_MS_MAX, 2 * delayMs);
    return new Promise((resolve) => {
      const wake = () => {
        this.#wake.delete(wake);
        cancel();
        resolve();
      };
      const cancel = this.#clock.after(delayMs, wake);
      this.#wake.add(wake);
    });
  }
}

/** Whether the system refused, and may take it later. */
function isRefusal(error: unknown): error is Error {
  // Of these the disk refused too.
  if (error instanceof GatewayError) return ['D4GW_E_LEDGER', 'D4GW_E_LINK'].includes(error.code);
  return error instanceof Error && typeof (error as NodeJS.ErrnoException).errno === 'number';
}
