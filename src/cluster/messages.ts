import type { Config } from '../config/schema.js';
import type { SessionTotals } from '../ledger/totals.js';
import type { LinkOpen } from '../link/keeper.js';
import type { SinkSideStats, WorkerStats } from '../stats/messages.js';

/**
 * What the parts of the gateway tell each other, by IPC (primary and workers) and by MessagePort
 * (the two threads of a worker). Rare facts only: frames travel through the ring.
 *
 *     primary ⇄ worker I/O thread ⇄ sink thread
 */

/** One use of a session slot: a late message about an earlier use is recognised and ignored. */
export interface SlotRef {
  slot: number;
  generation: number;
}

/** All that a worker needs to begin. It holds private keys: it is sent by IPC and never logged. */
export interface WorkerStart {
  config: Config;
  /** 0 to workers - 1: names the worker's journal. */
  index: number;
  workers: number;
  threads: 'pipelined' | 'inline';
  sharedSecret?: string;
  /** The gateway's own id. */
  gateway: string;
  sources: SourceStart[];
  /** Names of the sinks by slot; '' where there is none. */
  slots: readonly string[];
}

/** What a worker needs of one listener: how its connections speak. */
export interface SourceStart {
  kind: 'tls' | 'tcp' | 'unix' | 'wss';
  /** As `listen` names it in logs, such as `tls [::]:4443`. */
  name: string;
  tls?: {
    cert: string;
    key: string;
    ca?: string;
    requestCert: boolean;
    rejectUnauthorized: boolean;
  };
  /** Of a WebSocket listener: where sensors find it. */
  path?: string;
}

/** An accepted connection; its native handle comes along. Answered with `taken`. */
export interface SocketMessage {
  t: 'socket';
  connection: number;
  source: number;
  address: string;
}

/** The sinks of a reload: what is new is made ready by `sinks`, and taken by `reload`. */
export interface SinkChange {
  config: Config;
  slots: readonly string[];
  revision: number;
}

/** What a reload changes of a worker. */
export interface WorkerReload extends SinkChange {
  sharedSecret?: string;
}

/** Primary → worker. `sync` is answered with `synced`, after all that was answered before it. */
export type ToWorker =
  | { t: 'start'; start: WorkerStart }
  | SocketMessage
  | { t: 'sync'; connection: number }
  | ({ t: 'end'; code: number; detail: string } & SlotRef)
  | { t: 'folded'; ids: string[] }
  | { t: 'hold'; sink: string; held: boolean }
  | { t: 'sources'; sources: SourceStart[] }
  | ({ t: 'sinks' } & SinkChange)
  | { t: 'sinks-undo'; revision: number }
  | ({ t: 'reload' } & WorkerReload)
  | { t: 'link-granted'; link: string; claim: number }
  | { t: 'link-release'; link: string; claim: number }
  | { t: 'drain'; deadlineMs: number; alone?: boolean };

/** Worker → primary. */
export type ToPrimary =
  | { t: 'hello' }
  | { t: 'ready' }
  | { t: 'mentions'; messages: ToPrimary[] }
  | { t: 'taken'; connection: number }
  | { t: 'synced'; connection: number }
  | { t: 'closed'; connection: number }
  | { t: 'refused'; reason: string; address: string; detail: string; sensor?: string }
  | { t: 'rejected'; sensor: string; reason: string; detail: string; address: string }
  | ({ t: 'verified'; linked: boolean } & VerifiedSession)
  | { t: 'link-claim'; link: string; claim: number }
  | { t: 'link-free'; link: string; claim: number }
  | { t: 'over'; id: string }
  | { t: 'ended'; totals: SessionTotals }
  | { t: 'activity'; seen: Activity[] }
  | { t: 'note'; sensor: string; text: string }
  | { t: 'stats'; stats: WorkerStats }
  | { t: 'sinks-ready'; revision: number; problem?: string }
  | { t: 'sink-gone'; slot: number; revision: number }
  | { t: 'drained' };

/** A session of which a frame held, and where it is. */
export interface VerifiedSession extends SlotRef {
  id: string;
  sensor: string;
  type: number;
  address: string;
  source: string;
  /** Ms since the epoch. */
  openedAt: number;
}

/** A sensor was heard: its newest verified frame, and where it came from. */
export interface Activity {
  sensor: string;
  at: number;
  address: string;
}

/** Whose session it is, for those that the I/O thread has forgotten by now. */
export interface SessionOrigin {
  sensor: string;
  address: string;
  source: string;
}

/** Sink thread → I/O thread. */
export type ToIntake =
  | { t: 'started' }
  | { t: 'drained' }
  | ({ t: 'reject'; code: number; detail: string } & SessionOrigin & SlotRef)
  | ({ t: 'routed'; sinks: number } & SlotRef)
  | ({ t: 'free' } & SlotRef)
  | { t: 'pressure'; sink: number; full: boolean }
  | { t: 'stats'; stats: SinkSideStats }
  | { t: 'link-committed'; link: string; position: number }
  | { t: 'link-released'; link: string; claim: number }
  | { t: 'up'; message: ToPrimary };

/** I/O thread → sink thread. `alone`: there is no primary any more that would take totals. */
export type ToPipeline =
  | { t: 'folded'; ids: string[] }
  | { t: 'hold'; sink: string; held: boolean }
  | ({ t: 'sinks' } & SinkChange)
  | { t: 'sinks-undo'; revision: number }
  | ({ t: 'reload' } & WorkerReload)
  | { t: 'drain'; deadlineMs: number; alone?: boolean };

/** The text of an OPEN event in the ring, as JSON. */
export interface OpenEvent {
  id: string;
  sensor: string;
  type: number;
  address: string;
  source: string;
  openedAt: number;
  /** Of a session that a gateway link brings. */
  link?: LinkOpen;
}

/** The text of an END event in the ring, as JSON; its code is in the descriptor. */
export interface EndEvent {
  detail: string;
  /** Bytes of a frame that was cut, header included; 0 when the end was at a frame boundary. */
  truncatedBytes: number;
  /** The end is a reject found in a header: that frame counts as received and rejected. */
  atHeader: boolean;
}
