import type { Amount } from '../ledger/totals.js';
import type { SinkStatus } from '../sinks/sink.js';

/**
 * What a worker tells of itself once a second. Counts are cumulative since the worker began: the
 * primary keeps those of workers that ended.
 */

/** How often a worker tells. */
export const STATS_MS = 1_000;
/** How often it also tells what each session added. */
export const FLOW_MS = 5_000;

export interface Tallies {
  /** By D4 type. */
  received: Record<number, Amount>;
  /** By reason. */
  rejected: Record<string, Amount>;
  /** By sink. */
  delivered: Record<string, Amount>;
}

/**
 * What a session added since the last flow: its id, sensor, type, frames and payload bytes received,
 * frames rejected. Sessions of which nothing held are one, with an empty id.
 */
export type Flow = [
  id: string,
  sensor: string,
  type: number,
  frames: number,
  bytes: number,
  rejected: number,
];

/** How one thread fares. */
export interface ThreadStats {
  /** Delay of its event loop beyond what was asked for, over the last second, in ms. */
  loopDelayMs: { mean: number; p99: number; max: number };
  /** Share of the last second in which it was not idle, 0 to 1. */
  utilization: number;
  /** By kind, since it began. */
  gc: Record<string, { count: number; seconds: number }>;
}

export interface SinkStats extends SinkStatus {
  name: string;
  kind: string;
  /** It asked for no more, or an operator holds it. */
  full: boolean;
  held: boolean;
}

/** From the sink thread. */
export interface SinkSideStats {
  tallies: Tallies;
  sinks: SinkStats[];
  /** Open sessions of which a frame held. */
  sessions: number;
  thread: ThreadStats;
  flow?: Flow[];
}

/** All of a worker. */
export interface WorkerStats extends SinkSideStats {
  pid: number;
  connections: number;
  ring: { usedBytes: number; bytes: number; descriptors: number };
  /** Of the I/O thread; the same as `thread` where both are one. */
  io: ThreadStats;
  /** Since the process began, in seconds. */
  cpu: { user: number; system: number };
  rssBytes: number;
}
