import type { Spool } from '../../spool/spool.js';

/**
 * Brings what is in one spool to where a relay sends. The relay's sink owns the spool, and opens and
 * closes it; an upstream reads it and releases what is done with.
 */
export interface Upstream {
  /** Begins to send. */
  start(): void;
  /** The spool asks for no more, and its oldest is to be given up: `onFull: drop-oldest`. */
  dropOldest(): void;
  /**
   * Ends every connection in order and resolves when nothing is sent any more: once all that is in
   * the spool is through, or at the deadline.
   */
  close(deadlineMs: number): Promise<void>;
}

export interface UpstreamOptions {
  spool: Spool;
  /** Directory of the spool, for what an upstream keeps beside it. */
  dir: string;
}

/** One for each spool: a worker's own, and those of workers that are no more. */
export type MakeUpstream = (options: UpstreamOptions) => Upstream;
