import { rejectName } from '../wire/reject.js';
import { crc32 } from './crc32.js';
import type { FileRow } from './file-row.js';
import {
  REJECT_OTHER,
  REJECT_SLOTS,
  ROW_CRC,
  ROW_KIND,
  ROW_SESSION,
  SESSION_ENDED,
  SESSION_ENDED_AT,
  SESSION_ID,
  SESSION_ID_LENGTH,
  SESSION_OPENED,
  SESSION_RECEIVED,
  SESSION_REJECT_CODES,
  SESSION_REJECTS,
  SESSION_ROUTED,
  SESSION_ROW_BYTES,
  SESSION_SINKS,
  SESSION_TRUNCATED,
  SESSION_TYPE,
  SESSION_USED,
  SESSION_UUID,
  SINKS_MAX,
  writeEnd,
  writeSensor,
} from './journal-layout.js';
import type { Amount, SessionTotals } from './totals.js';

/** A session as it is opened in the journal. */
export interface JournalSession {
  /** Unique over all sessions of this gateway; at most 48 bytes. */
  id: string;
  /** Session slot in the worker; its row is free again after `SessionRow.release`. */
  slot: number;
  sensor: string;
  /** D4 type. */
  type: number;
  /** Milliseconds since the epoch. */
  openedAt: number;
}

/** What a row needs of its journal. */
export interface RowOwner {
  readonly sinks: readonly string[];
  /** The row is to be written at the next sync. */
  changed(slot: number): void;
  /** Writes the row now; false where that failed (the next sync tries again). */
  write(slot: number): boolean;
  released(row: SessionRow): void;
}

/** Takes what was added to a session's figures. */
export interface Tally {
  received(frames: number, bytes: number): void;
  delivered(sink: number, frames: number, bytes: number): void;
  rejected(code: number, frames: number, bytes: number): void;
}

/** Figures that are told, two each: received, then each sink. Few sessions have rejects to tell. */
const TOLD_SINKS = 2;

/**
 * One session's figures, kept in the image of its journal row: counting allocates nothing. Bytes
 * are payload bytes.
 */
export class SessionRow {
  readonly id: string;
  readonly slot: number;
  readonly sensor: string;
  readonly type: number;
  readonly openedAt: number;
  /** By sink: the newest file that it opened for this session. */
  newestFile: (FileRow | undefined)[] | undefined;
  readonly #owner: RowOwner;
  readonly #bytes: Buffer;
  readonly #view: DataView;
  readonly #at: number;
  #receivedFrames = 0;
  #receivedBytes = 0;
  /** The most that any sink's file has announced: received cannot be less. */
  #announcedFrames = 0;
  #announcedBytes = 0;
  #released = false;
  #changes = 0;
  /** What `tell` has told: the number of changes then, and the figures. */
  #changesTold = 0;
  #told: number[] | undefined;
  #rejectsTold: number[] | undefined;

  /**
   * @param bytes buffer with the row's image at `at`
   * @param view of the same bytes
   */
  constructor(owner: RowOwner, session: JournalSession, bytes: Buffer, view: DataView, at: number) {
    this.id = session.id;
    this.slot = session.slot;
    this.sensor = session.sensor;
    this.type = session.type;
    this.openedAt = session.openedAt;
    this.#owner = owner;
    this.#bytes = bytes;
    this.#view = view;
    this.#at = at;
    bytes.fill(0, at, at + SESSION_ROW_BYTES);
    bytes.writeUInt32LE(ROW_SESSION, at + ROW_KIND);
    bytes[at + SESSION_TYPE] = session.type;
    bytes[at + SESSION_ID_LENGTH] = bytes.write(session.id, at + SESSION_ID, 'utf8');
    writeSensor(bytes, session.sensor, at + SESSION_UUID);
    this.#view.setFloat64(at + SESSION_OPENED, session.openedAt, true);
    this.#changed();
  }

  /** Sets what was received so far in all; it never goes back. */
  received(frames: number, bytes: number): void {
    if (frames <= this.#receivedFrames && bytes <= this.#receivedBytes) return;
    this.#receivedFrames = Math.max(this.#receivedFrames, frames);
    this.#receivedBytes = Math.max(this.#receivedBytes, bytes);
    this.#changed();
  }

  /** The session's route: bit s of `sinks` stands for the journal's sink s. */
  route(sinks: number): void {
    const at = this.#at + SESSION_ROUTED;
    this.#view.setUint16(at, this.#view.getUint16(at, true) | sinks, true);
    this.#changed();
  }

  /** Adds to what a sink of the route has delivered. */
  delivered(sink: number, frames: number, bytes: number): void {
    this.#add(this.#sinkAt(sink), frames, bytes);
    if ((this.#routed & (1 << sink)) === 0) this.route(1 << sink);
  }

  /** Adds to what was rejected for a reason. */
  reject(code: number, frames: number, bytes: number): void {
    for (let slot = 0; slot < REJECT_SLOTS; slot += 1) {
      const at = this.#at + SESSION_REJECT_CODES + slot * 2;
      const found = this.#view.getUint16(at, true);
      const own = slot === REJECT_SLOTS - 1 ? REJECT_OTHER : code;
      if (found !== 0 && found !== own) continue;
      this.#view.setUint16(at, own, true);
      this.#add(this.#at + SESSION_REJECTS + slot * 16, frames, bytes);
      return;
    }
  }

  /** The connection was cut in mid-frame, `bytes` (header included) into it. */
  truncate(bytes: number): void {
    this.#add(this.#at + SESSION_TRUNCATED, 1, bytes);
  }

  /** Tells what was added since the last call; at almost no cost where nothing was. */
  tell(tally: Tally): void {
    if (this.#changesTold === this.#changes) return;
    this.#changesTold = this.#changes;
    this.#told ??= zeros(TOLD_SINKS + 2 * this.#owner.sinks.length);
    const told = this.#told;
    const frames = this.#receivedFrames - told[0]!;
    const bytes = this.#receivedBytes - told[1]!;
    told[0] = this.#receivedFrames;
    told[1] = this.#receivedBytes;
    if (frames > 0 || bytes > 0) tally.received(frames, bytes);
    for (let routed = this.#routed, sink = 0; routed !== 0; routed >>= 1, sink += 1) {
      if ((routed & 1) === 0) continue;
      const added = this.#added(this.#sinkAt(sink), told, TOLD_SINKS + 2 * sink);
      if (added) tally.delivered(sink, added.frames, added.bytes);
    }
    for (let slot = 0; slot < REJECT_SLOTS; slot += 1) {
      const code = this.#view.getUint16(this.#at + SESSION_REJECT_CODES + slot * 2, true);
      if (code === 0) break;
      this.#rejectsTold ??= zeros(2 * REJECT_SLOTS);
      const at = this.#at + SESSION_REJECTS + slot * 16;
      const added = this.#added(at, this.#rejectsTold, 2 * slot);
      if (added) tally.rejected(code, added.frames, added.bytes);
    }
  }

  #added(at: number, told: number[], index: number): Amount | undefined {
    const { frames, bytes } = this.#amount(at);
    const added = { frames: frames - told[index]!, bytes: bytes - told[index + 1]! };
    told[index] = frames;
    told[index + 1] = bytes;
    return added.frames === 0 && added.bytes === 0 ? undefined : added;
  }

  /** Frames that a sink of the route has still to deliver. */
  inFlightFrames(sink: number): number {
    const delivered = this.#view.getFloat64(this.#sinkAt(sink), true);
    return this.#receivedFrames - delivered - this.#rejected(0);
  }

  /** Payload bytes that a sink of the route has still to deliver. */
  inFlightBytes(sink: number): number {
    const delivered = this.#view.getFloat64(this.#sinkAt(sink) + 8, true);
    return this.#receivedBytes - delivered - this.#rejected(8);
  }

  /**
   * Ends the session: its figures are final, and in the journal on return, so that a crash before
   * the ledger has them cannot change them.
   * @param end `endName` of how it ended
   */
  totals(end: string): SessionTotals {
    const endedAt = Date.now();
    writeEnd(this.#bytes, this.#at, end);
    this.#bytes[this.#at + SESSION_ENDED] = 1;
    this.#view.setFloat64(this.#at + SESSION_ENDED_AT, endedAt, true);
    this.#changed();
    this.#owner.write(this.slot);
    const delivered: Record<string, Amount> = {};
    for (const [sink, name] of this.#owner.sinks.entries()) {
      if ((this.#routed & (1 << sink)) !== 0) delivered[name] = this.#amount(this.#sinkAt(sink));
    }
    const rejected: Record<string, Amount> = {};
    for (let slot = 0; slot < REJECT_SLOTS; slot += 1) {
      const code = this.#view.getUint16(this.#at + SESSION_REJECT_CODES + slot * 2, true);
      if (code === 0) continue;
      rejected[reasonName(code)] = this.#amount(this.#at + SESSION_REJECTS + slot * 16);
    }
    const { frames: count, bytes } = this.#amount(this.#at + SESSION_TRUNCATED);
    return {
      id: this.id,
      sensor: this.sensor,
      type: this.type,
      openedAt: this.openedAt,
      endedAt,
      end,
      received: { frames: this.#receivedFrames, bytes: this.#receivedBytes },
      delivered,
      rejected,
      lost: {},
      truncated: { count, bytes },
    };
  }

  /** The ledger holds the totals: the slot is free for another session. */
  release(): void {
    if (this.#released) return;
    this.#bytes.fill(0, this.#at, this.#at + SESSION_ROW_BYTES);
    this.#changed();
    this.#released = true;
    this.#owner.released(this);
  }

  /** A write is about to be issued after which a sink has delivered this much. */
  announce(frames: number, bytes: number): void {
    if (frames > this.#announcedFrames) this.#announcedFrames = frames;
    if (bytes > this.#announcedBytes) this.#announcedBytes = bytes;
  }

  /**
   * Makes the row's image ready to be written. Until the session ends, received may lag behind
   * what sinks have announced or delivered since; the image never shows that.
   * @returns bytes of the row in use
   */
  seal(): number {
    const at = this.#at;
    const used = SESSION_SINKS + 16 * (32 - Math.clz32(this.#routed));
    let frames = this.#receivedFrames;
    let bytes = this.#receivedBytes;
    if (this.#bytes[at + SESSION_ENDED] === 0) {
      frames = Math.max(frames, this.#mostDelivered(0, this.#announcedFrames));
      bytes = Math.max(bytes, this.#mostDelivered(8, this.#announcedBytes));
    }
    this.#view.setFloat64(at + SESSION_RECEIVED, frames, true);
    this.#view.setFloat64(at + SESSION_RECEIVED + 8, bytes, true);
    this.#view.setUint16(at + SESSION_USED, used, true);
    this.#view.setUint32(at + ROW_CRC, crc32(this.#bytes, at + SESSION_USED, at + used), true);
    return used;
  }

  get #routed(): number {
    return this.#view.getUint16(this.#at + SESSION_ROUTED, true);
  }

  #mostDelivered(unit: number, announced: number): number {
    let most = announced;
    for (let sink = 0; sink < this.#owner.sinks.length; sink += 1) {
      most = Math.max(most, this.#view.getFloat64(this.#sinkAt(sink) + unit, true));
    }
    return most === 0 ? 0 : most + this.#rejected(unit);
  }

  #rejected(unit: number): number {
    let total = 0;
    for (let slot = 0; slot < REJECT_SLOTS; slot += 1) {
      total += this.#view.getFloat64(this.#at + SESSION_REJECTS + slot * 16 + unit, true);
    }
    return total;
  }

  #sinkAt(sink: number): number {
    if (!(sink >= 0 && sink < SINKS_MAX)) throw new RangeError(`no sink ${sink}`);
    return this.#at + SESSION_SINKS + sink * 16;
  }

  #amount(at: number): Amount {
    return {
      frames: this.#view.getFloat64(at, true),
      bytes: this.#view.getFloat64(at + 8, true),
    };
  }

  #add(at: number, frames: number, bytes: number): void {
    if (this.#released) throw new TypeError(`session ${this.id} has left the journal`);
    this.#view.setFloat64(at, this.#view.getFloat64(at, true) + frames, true);
    this.#view.setFloat64(at + 8, this.#view.getFloat64(at + 8, true) + bytes, true);
    this.#changed();
  }

  #changed(): void {
    if (this.#released) throw new TypeError(`session ${this.id} has left the journal`);
    this.#changes += 1;
    this.#owner.changed(this.slot);
  }
}

function zeros(length: number): number[] {
  return new Array<number>(length).fill(0);
}

/** The name under which the ledger keeps a reject code. */
export function reasonName(code: number): string {
  return code === REJECT_OTHER ? 'other' : rejectName(code);
}
