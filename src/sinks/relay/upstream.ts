import type { Spool } from '../../spool/spool.js';

/**
 * Brings what is in one spool to where a relay sends. The relay's sink owns the spool, and opens and
 * closes it; an upstream reads it and releases what is done with.
 */
export interface Upstream {
  readonly status: UpstreamStatus;
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

/** How it gets on with what is in its spool. */
export interface UpstreamStatus {
  /** The first record that is not sent: of a link, not acknowledged. Undefined where there is none. */
  waitingSeq: number | undefined;
  /** It can't be reached: since when (ms since the epoch), and why. */
  away: { since: number; reason: string } | undefined;
  /** Connections that it has. */
  connections: number;
  /** Streams whose connections the other end keeps ending. */
  refusedStreams: number;
}

export interface UpstreamOptions {
  spool: Spool;
  /** Directory of the spool, for what an upstream keeps beside it. */
  dir: string;
}

/** One for each spool: a worker's own, and those of workers that are no more. */
export type MakeUpstream = (options: UpstreamOptions) => Upstream;
