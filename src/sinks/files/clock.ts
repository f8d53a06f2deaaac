/** Time as the sink sees it; tests bring their own. */
export interface Clock {
  /** Milliseconds since the epoch, for names. */
  now(): number;
  /** Milliseconds that never go back, for ages and deadlines. */
  monotonic(): number;
  /** Calls back once after `delayMs`; returns what cancels it. */
  after(delayMs: number, callback: () => void): () => void;
}

export const SYSTEM_CLOCK: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after: (delayMs, callback) => {
    const timer = setTimeout(callback, delayMs);
    return () => clearTimeout(timer);
  },
};
