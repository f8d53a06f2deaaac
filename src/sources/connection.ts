import type { Duplex } from 'node:stream';
import type { SlotRef } from '../cluster/messages.js';
import type { LinkOpen } from '../link/keeper.js';
import type { Assembly } from './assembly-budget.js';

/** Where a connection came from. */
export interface Origin {
  /** The primary's number of the connection. */
  connection: number;
  /** Which listener took it, such as `tls`. */
  source: string;
  /** The peer's address without port; `unix` for a unix socket. */
  address: string;
  /** What a gateway link tells of the session. */
  link?: LinkOpen;
}

/** Why a connection does not read: a bit mask. */
export const Pause = { NONE: 0, RING: 1, ASSEMBLY: 2, SINK: 4 } as const;

/** How a connection ended: an `End` or a `Reject` code. */
export interface Ending {
  code: number;
  detail: string;
  /** The reject was found in a frame's header, which counts as a frame received and rejected. */
  atHeader: boolean;
}

/** One sensor's connection as the I/O thread sees it. State only: `Intake` moves it. */
export class Connection {
  readonly socket: Duplex;
  readonly origin: Origin;
  readonly slot: number;
  readonly generation: number;
  /** Fixed by the first header that was admitted. */
  identity: { sensor: string; type: number; id: string } | undefined;

  /** What was read and not yet consumed: at most one chunk, from `offset` on. */
  chunk: Buffer | undefined;
  offset = 0;
  /** Where in the worker's memory a header lies that reads have cut, and how much of it is there. */
  readonly headAt: number;
  headFill = 0;
  /** A frame that reads have cut behind its header. */
  assembly: Assembly<Connection> | undefined;

  /** Bytes of a cut frame that was not assembled, since the connection had ended. */
  cutBytes = 0;

  paused: number = Pause.NONE;
  /** The sinks, by index, that this session's frames go to, once that is known. */
  sinks: number | undefined;
  /** A frame of it was verified. */
  trusted = false;
  ending: Ending | undefined;
  /** Its last word is in the ring, or it never had a session. */
  done = false;

  readonly openedAt: number;
  /** Whole frames were seen. */
  hasFrame = false;
  /** Since when no whole frame came, though we were reading (ms). */
  quietSince: number;

  constructor(socket: Duplex, origin: Origin, ref: SlotRef, headAt: number, now: number) {
    this.socket = socket;
    this.origin = origin;
    this.slot = ref.slot;
    this.generation = ref.generation;
    this.headAt = headAt;
    this.openedAt = now;
    this.quietSince = now;
  }

  /** Bytes of a frame that began and did not end, header included. */
  get partialBytes(): number {
    return this.headFill + this.cutBytes + (this.assembly?.fill ?? 0);
  }
}
