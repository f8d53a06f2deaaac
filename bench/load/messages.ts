import type { Amount } from '../../src/ledger/totals.js';
import type { Format } from './payload.js';

/** Where the load goes. */
export interface Destination {
  kind: 'tls' | 'tcp';
  host: string;
  port: number;
}

/** What one load process is asked to have ready. */
export interface StreamsSpec {
  format: Format;
  payloadBytes: number;
  /** Streams of all processes together: the length of the cycles depends on it. */
  streams: number;
  /** The streams of this process: numbers of their sensors, from `first` on. */
  first: number;
  count: number;
  /** In place of the sensors' own UUIDs, for a server that knows one sensor alone. */
  uuid?: string;
  /** Base64: messages are JSON. */
  key: string;
}

export interface ConnectParams {
  to: Destination;
}

export interface RunParams {
  /** After this long no further frame is begun. */
  milliseconds: number;
  /** Frames of each stream at most, its prologue not counted. */
  framesMax: number;
  /** For everything to be taken and the connections to be closed, after the time is up. */
  closeDeadlineMs: number;
}

/** What one stream sent: frames and payload bytes that were handed to its socket whole. */
export interface SentStream extends Amount {
  uuid: string;
  streamBytes: number;
  /** Why the connection did not end as it should. */
  error?: string;
}

export interface RunResult {
  streams: SentStream[];
  /** CLOCK_MONOTONIC, which all processes share, in milliseconds. */
  firstByteAt: number;
  lastByteAt: number;
  /** CPU of this process, user and system, between the two. */
  cpuSeconds: number;
}

export interface IdleParams {
  to: Destination;
  first: number;
  count: number;
  concurrency: number;
  /** Signs the one frame of each connection. */
  key: string;
  /** False: only handshake, send nothing. */
  frame: boolean;
  deadlineMs: number;
}

export interface IdleResult {
  opened: number;
  errors: string[];
  sent: SentStream[];
}

export interface HandshakesParams {
  to: Destination;
  count: number;
  concurrency: number;
  deadlineMs: number;
}

export interface HandshakesResult {
  done: number;
  failed: number;
  seconds: number;
  /** Protocol of the last handshake, such as TLSv1.3. */
  protocol: string;
}

/** CLOCK_MONOTONIC in milliseconds. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** Pages that look at a gateway, and a scrape of its metrics each second. */
export interface ViewersSpec {
  /** Of its control plane. */
  url: string;
  token: string;
  count: number;
}

export interface ViewersResult {
  seconds: number;
  /** Messages that the page got which got the fewest. */
  fewest: number;
  /** Pages that the gateway had closed. */
  closed: number;
  scrapes: number;
  failed: number;
  scrapeError: string;
}
