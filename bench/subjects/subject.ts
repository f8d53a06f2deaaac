import type { SentStream } from '../load/messages.js';
import type { Payload } from '../load/payload.js';
import type { ServerAccount, ServerPorts } from './messages.js';

/**
 * `relay` and `link` send on to another gateway, started for it: as plain D4 over TLS, or by a link.
 */
export type SinkKind = 'blackhole' | 'files' | 'lz4' | 'relay' | 'link';

/** A server under load, whatever it is: the gateway, or a yardstick beside it. */
export interface Subject {
  /** Root of the processes whose CPU and memory are measured. */
  readonly pid: number;
  readonly host: string;
  readonly ports: Partial<ServerPorts>;
  /** A worker's ring and budgets as configured, to tell what it needs beside them. */
  readonly budgetBytes?: number;
  account(): Promise<ServerAccount>;
  /** What goes on beside each sample, from before its first byte to its proof. */
  begin?(): Promise<void>;
  /** Ends that; returns what was wrong with it. */
  rest?(): Promise<string[]>;
  /**
   * Whether what is stored is what was sent, byte for byte where the server keeps streams apart;
   * removes it. Returns what is wrong.
   */
  checkStored?(sent: readonly SentStream[], payload: Payload): Promise<string[]>;
  /** 99th percentile of the event loop's delay since the last call, where it can be told. */
  loopDelayP99Ms?(): Promise<number | null>;
  /** Ends it; returns what it still found wrong. */
  stop(): Promise<string[]>;
}

/** What all subjects of a run share. */
export interface Surroundings {
  /** For data of subjects, each in a directory of its own below. */
  dir: string;
  cert: string;
  key: string;
  /** The HMAC key of every sensor. */
  secret: Buffer;
}
