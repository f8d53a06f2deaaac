import type { Closed, Connection, ConnectionEvents } from '../../net/connection.js';
import type { SpoolSession } from '../../spool/session-record.js';
import { Continuation, type ResumePoint } from './continuation.js';
import type { Identity } from './identity.js';
import type { LogRecord } from './log.js';
import { Outgoing } from './outgoing.js';

export interface LaneOptions {
  session: SpoolSession;
  identity: Identity;
  point: ResumePoint;
  resendWindowBytes: number;
  /** The last of the session's frames that were copied aside from the log; -1: none. */
  asideSeq: number;
  /** Those frames, from a number on. */
  aside(fromSeq: number): Iterable<{ seq: number; frame: Buffer }>;
  now(): number;
  /** Counts. */
  tick(): number;
}

export interface LaneEvents {
  /** Something changed that others may wait for. */
  changed(): void;
  /** It has left its pass. */
  parked(lane: Lane): void;
  /** It can't go on without a connection. */
  wants(lane: Lane): void;
  opened(lane: Lane): void;
  /** Its connection is gone. */
  closed(lane: Lane, how: Closed): void;
  /** All of the session has been sent, and is with the receiver. */
  finished(lane: Lane, endSeq: number): void;
}

/** What reads the log for a lane. */
export type LanePass = object;

/**
 * One session's stream on its way to the server: takes records in the order of the log while it
 * has a connection with room, and none otherwise, so that what it can't send stays in the spool.
 *
 *     served by a pass ─ full or without a connection ─▶ parked at `at` ─ ready ─▶ served …
 *            │ all taken, connection ended                 ▲
 *            ▼                                             │ connection lost: at the last point
 *         dormant ── a new record ─────────────────────────┘ that is confirmed
 */
export class Lane {
  readonly session: SpoolSession;
  /** Who reads the log for it; undefined while it is parked. */
  pass: LanePass | undefined;
  /** The first record that it has not taken. */
  at: number;
  /** `at` is a record of this session; else it goes on with the first from there on. */
  isExact = false;
  /** When it was parked last, by a clock that counts parkings and passes. */
  parkedAt = 0;
  readonly #options: LaneOptions;
  readonly #events: LaneEvents;
  readonly #continuation: Continuation;
  #outgoing: Outgoing | undefined;
  #lastTaken: number;
  /** Frames up to this one are kept aside from the log. */
  asideSeq: number;
  /** The last connection ended in order behind `#lastTaken`. */
  #isClean = false;
  #endSeq: number | undefined;
  #isFinished = false;
  #isYielding = false;
  #isSkipping = false;
  /** Connections that it had. */
  openedCount = 0;
  /** When it got its connection, and when it last took something. */
  openedAt = 0;
  takenAt = 0;

  constructor(options: LaneOptions, events: LaneEvents) {
    this.session = options.session;
    this.#options = options;
    this.#events = events;
    this.at = options.point.fromSeq;
    this.asideSeq = options.asideSeq;
    this.#lastTaken = options.asideSeq;
    const { type, meta } = options.session;
    const { identity, resendWindowBytes } = options;
    this.#continuation = new Continuation(
      { type, identity, resendWindowBytes, ...(meta ? { meta } : {}) },
      options.point,
    );
  }

  get point(): ResumePoint {
    return this.#continuation.point;
  }

  get resent(): { readonly frames: number; readonly bytes: number } {
    return this.#continuation.resent;
  }

  get recut(): { readonly frames: number; readonly bytes: number } {
    return this.#continuation.recut;
  }

  get skipped(): { frames: number; bytes: number } {
    return this.#continuation.skipped;
  }

  get isFinished(): boolean {
    return this.#isFinished;
  }

  get isConnected(): boolean {
    return this.#outgoing !== undefined;
  }

  /** It has a connection, which can take something. */
  get hasRoom(): boolean {
    return this.#outgoing?.hasRoom === true && !this.#isYielding;
  }

  get isReady(): boolean {
    return this.#outgoing?.isLow === true && !this.#isYielding;
  }

  get isHungry(): boolean {
    return this.#outgoing?.isHungry === true && !this.#isYielding;
  }

  /** It has a connection, which takes nothing now. */
  get isStuck(): boolean {
    return this.#outgoing?.isOpen === true && !this.#outgoing.hasRoom;
  }

  /** Has a connection for nothing: all that it took is with the kernel. */
  get isIdle(): boolean {
    return this.#outgoing?.isOpen === true && this.#outgoing.isFlushed;
  }

  /** The first record of the log that may be needed again; undefined where none is. */
  get neededSeq(): number | undefined {
    if (this.#isFinished) return undefined;
    const { fromSeq } = this.#continuation.point;
    const inLog = Math.max(fromSeq, this.asideSeq + 1);
    const outstanding = inLog <= this.#lastTaken ? inLog : undefined;
    if (this.pass !== undefined) return outstanding;
    return Math.min(outstanding ?? Number.POSITIVE_INFINITY, Math.max(this.at, this.asideSeq + 1));
  }

  /** The last record that it took: those up to it can be copied aside. */
  get takenSeq(): number {
    return this.#lastTaken;
  }

  /**
   * Whether it can take this record now. Where it can't, it has said that it wants a connection,
   * and may have gone back to an earlier record: then it is parked.
   */
  accepts(record: LogRecord): boolean {
    if (this.hasRoom || record.kind === 'open') return true;
    if (this.#outgoing || this.#isYielding) return false;
    if (record.kind === 'end' && this.#needsNothing) return true;
    if (this.#continuation.point.fromSeq <= this.#lastTaken) this.park(this.point.fromSeq, false);
    this.#events.wants(this);
    return false;
  }

  take(record: LogRecord): void {
    this.at = record.seq + 1;
    this.isExact = false;
    if (record.kind === 'open') return;
    if (record.kind === 'frame') this.#frame(record.seq, record.data);
    else this.#end(record.seq);
  }

  /** Leaves its pass: what follows stays in the spool until it is ready again. */
  park(at: number, isExact: boolean): void {
    this.pass = undefined;
    this.at = at;
    this.isExact = isExact;
    this.parkedAt = this.#options.tick();
    this.#events.parked(this);
  }

  /** Gives up its next record, for want of room in the spool. Only without a connection. */
  skip(record: LogRecord): void {
    const { seq, kind, data, session } = record;
    this.at = seq + 1;
    this.isExact = false;
    if (kind === 'open') return;
    if (kind === 'frame') {
      if (!this.#isSkipping) this.#beginSkipping();
      this.#continuation.skip(seq, data);
      this.#lastTaken = Math.max(this.#lastTaken, seq);
      return;
    }
    const isMetaUnsent = session.meta !== undefined && this.openedCount === 0;
    if (isMetaUnsent) {
      this.skipped.frames += session.meta!.frames;
      this.skipped.bytes += session.meta!.bytes.length;
    }
    this.#finish(seq);
  }

  #beginSkipping(): void {
    this.#isSkipping = true;
    this.#continuation.begin();
    // They left the log as sent, and are not counted again.
    const { frames, bytes } = this.skipped;
    for (const { seq, frame } of this.#options.aside(this.point.fromSeq)) {
      this.#continuation.skip(seq, frame);
    }
    Object.assign(this.skipped, { frames, bytes });
  }

  /** What it sent up to a record can't be had again from the log. */
  forget(seq: number): void {
    this.#continuation.forget(seq);
  }

  /** Writes what was taken; nothing of the records' memory is needed after it. */
  settle(): void {
    this.#outgoing?.settle();
  }

  connect(connect: (events: ConnectionEvents) => Connection): void {
    this.#isYielding = false;
    this.#isSkipping = false;
    this.#continuation.begin();
    this.#outgoing = new Outgoing(connect, this.#options.now, {
      open: () => this.#opened(),
      room: () => this.#events.changed(),
      flushed: (bytes) => this.#continuation.flushed(bytes),
      closed: (how) => this.#closed(how),
    });
  }

  /** Ends the connection in order behind what it took, as for others that wait for theirs. */
  yield(): void {
    if (!this.#outgoing?.isOpen) return;
    this.#isYielding = true;
    this.#outgoing.end();
  }

  destroy(error?: Error): void {
    this.#outgoing?.destroy(error);
  }

  checkDeadline(): void {
    this.#outgoing?.checkDeadline();
  }

  /** An end needs no connection where the receiver has all already. */
  get #needsNothing(): boolean {
    const { fromSeq, frames } = this.#continuation.point;
    const isAllDone = this.#isClean || fromSeq > this.#lastTaken;
    return isAllDone && (this.session.meta === undefined || frames > 0 || this.#isClean);
  }

  #opened(): void {
    this.openedCount += 1;
    this.openedAt = this.#options.now();
    this.takenAt = this.openedAt;
    // What the log may have let go of comes first; what it still has follows on it.
    for (const { seq, frame } of this.#options.aside(this.#continuation.point.fromSeq)) {
      this.#frame(seq, frame);
      this.at = Math.max(this.at, seq + 1);
      this.settle();
    }
    this.#events.opened(this);
    this.#events.changed();
  }

  #frame(seq: number, frame: Buffer): void {
    this.#outgoing!.add(this.#continuation.take(seq, frame));
    this.#lastTaken = Math.max(this.#lastTaken, seq);
    this.#isClean = false;
    this.takenAt = this.#options.now();
  }

  #end(seq: number): void {
    this.#endSeq = seq;
    if (!this.#outgoing) {
      this.#finish(seq);
      return;
    }
    if (this.point.frames === 0) this.#outgoing.add(this.#continuation.metaAlone());
    this.#outgoing.end();
  }

  #closed(how: Closed): void {
    this.#outgoing = undefined;
    this.#isYielding = false;
    const isClean = how.finished && how.answered === true && !how.error;
    if (isClean) {
      this.#continuation.ended();
      this.#isClean = true;
    }
    this.#goOn(isClean);
    this.#events.closed(this, how);
    if (this.pass === undefined && !this.#isFinished) this.#events.wants(this);
    this.#events.changed();
  }

  /** What becomes of it without a connection: finished, parked where it goes on, or dormant. */
  #goOn(isClean: boolean): void {
    const { fromSeq } = this.#continuation.point;
    const end = this.#endSeq;
    this.#endSeq = undefined;
    if (end !== undefined && isClean) this.#finish(end);
    else if (fromSeq <= this.#lastTaken && (!isClean || this.pass === undefined)) {
      // Behind the point it has to come again; after a clean end, only where more follows.
      this.park(fromSeq, false);
    } else if (end !== undefined && this.#needsNothing) this.#finish(end);
    else if (end !== undefined) this.park(end, true);
  }

  #finish(endSeq: number): void {
    this.#isFinished = true;
    this.#events.finished(this, endSeq);
  }
}
