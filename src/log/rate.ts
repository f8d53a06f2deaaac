import type { Logger } from 'pino';

export const LINES_PER_WINDOW_MAX = 5;
export const WINDOW_MS = 10_000;
/** Reasons told apart at one time; what comes beyond shares one. */
export const REASONS_MAX = 64;
const OTHER_REASON = 'other';

/** Calls `run` once after `ms`, without keeping the process alive; returns what cancels it. */
export type Schedule = (run: () => void, ms: number) => () => void;

const schedule: Schedule = (run, ms) => {
  const timer = setTimeout(run, ms);
  timer.unref();
  return () => clearTimeout(timer);
};

type Level = 'info' | 'warn' | 'error';

interface Window {
  lines: number;
  /** Lines left out, and the level of the last of them. */
  more: number;
  level: Level;
  cancel: () => void;
}

/**
 * Logs facts that a hostile or broken peer may cause at any rate: the first few of each reason in a
 * window as they are, the rest as one line with their number when the window ends.
 */
export class RateLimitedLog {
  readonly #windows = new Map<string, Window>();
  readonly #log: Logger;
  readonly #schedule: Schedule;

  constructor(log: Logger, options: { schedule?: Schedule } = {}) {
    this.#log = log;
    this.#schedule = options.schedule ?? schedule;
  }

  info(reason: string, fields: object, message: string): void {
    this.#take('info', reason, fields, message);
  }

  warn(reason: string, fields: object, message: string): void {
    this.#take('warn', reason, fields, message);
  }

  error(reason: string, fields: object, message: string): void {
    this.#take('error', reason, fields, message);
  }

  /** Writes the numbers still owed and stops the timers. The log may be used again. */
  close(): void {
    for (const reason of [...this.#windows.keys()]) this.#end(reason);
  }

  #take(level: Level, reason: string, fields: object, message: string): void {
    const known = this.#windows.has(reason) || this.#windows.size < REASONS_MAX;
    const window = this.#window(known ? reason : OTHER_REASON);
    if (window.lines < LINES_PER_WINDOW_MAX) {
      window.lines++;
      this.#log[level]({ ...fields, reason }, message);
    } else {
      window.more++;
      window.level = level;
    }
  }

  #window(reason: string): Window {
    const open = this.#windows.get(reason);
    if (open) return open;
    const cancel = this.#schedule(() => this.#end(reason), WINDOW_MS);
    const window: Window = { lines: 0, more: 0, level: 'info', cancel };
    this.#windows.set(reason, window);
    return window;
  }

  #end(reason: string): void {
    const window = this.#windows.get(reason);
    if (!window) return;
    window.cancel();
    this.#windows.delete(reason);
    if (window.more > 0) {
      const text = `${window.more} more in the last ${WINDOW_MS / 1000} s`;
      this.#log[window.level]({ reason, more: window.more }, text);
    }
  }
}
