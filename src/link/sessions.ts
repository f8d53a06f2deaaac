import type { Amount } from '../ledger/totals.js';
import { RecordKind } from '../spool/layout.js';
import type { RawRecord } from '../spool/records.js';
import { decodeOpen, type SpoolSession } from '../spool/session-record.js';
import { HEADER_BYTES, OFFSET_SIZE } from '../wire/layout.js';
import { endName, Reject } from '../wire/reject.js';
import { KNOWN_TYPES, TYPE_EXTENDED } from '../wire/types.js';
import { isSensorUuid } from '../wire/uuid.js';
import { LinkProtocolError, type Rejected } from './messages.js';
import { type HeldSession, isLinkKey } from './store.js';

/**
 * What an OPEN may tell. It goes through the ring in one piece, of which the smallest takes 512 KiB;
 * the longest meta header makes 461 KiB of base64.
 */
const OPEN_BYTES_MAX = 500_000;
/** Sessions of one link that go on at once, and what their OPENs may tell together. */
export const SESSIONS_MAX = 250_000;
const OPENS_BYTES_MAX = 256 * 1024 * 1024;

/** One of our sessions, fed with another gateway's. */
export interface Feed {
  /** Takes one whole frame; its memory is not changed afterwards. */
  push(frame: Buffer): void;
  /** Its END has come. */
  end(): void;
  /** The link broke: it goes on in another of our sessions. */
  interrupt(): void;
  /** All that was pushed is in the ring, the end too. */
  readonly isClear: boolean;
  /** How it was ended from this side: then it takes nothing more. */
  readonly ending: { code: number; detail: string } | undefined;
}

export interface FeedStart {
  session: SpoolSession;
  /** What of the session comes before the first frame that is fed. */
  base: Amount;
  /** Payload bytes of that first frame that the ledger has counted already. */
  counted: number;
}

export interface SessionPort {
  /** Begins one of our sessions; undefined where there is no room for one now. */
  open(start: FeedStart): Feed | undefined;
}

interface Incoming {
  session: SpoolSession;
  /** Of its OPEN. */
  openBytes: number;
  /** What of it has come by, meta header included. */
  frames: number;
  bytes: number;
  held: HeldSession | undefined;
  feed: Feed | undefined;
  /** Frames of its meta header that are still to be taken. */
  meta: Buffer[];
  /** Why nothing more of it is taken. */
  over: string | undefined;
  drained: Amount;
}

/**
 * The sessions of one connection of a link. What the sinks hold already is let go by; of the rest
 * each session gets one of ours, from the first frame on that some sink does not hold.
 */
export class IncomingSessions {
  readonly drained: Amount = { frames: 0, bytes: 0 };
  readonly #port: SessionPort;
  readonly #gateway: string;
  readonly #tell: (rejected: Rejected) => void;
  readonly #byRef = new Map<number, Incoming>();
  #openBytes = 0;
  /** Fed since it was last seen that all of it is in the ring. */
  readonly #unclear = new Set<Feed>();
  #held: ReadonlyMap<string, HeldSession> = new Map();
  /** Their END has come, and it is not known yet whether all their frames hold. */
  readonly #ended = new Map<string, { session: string; sensor: string; type: number }>();
  /** Ended without one of ours. */
  #over: string[] = [];

  constructor(port: SessionPort, gateway: string, tell: (rejected: Rejected) => void) {
    this.#port = port;
    this.#gateway = gateway;
    this.#tell = tell;
  }

  get count(): number {
    return this.#byRef.size;
  }

  /** All that was given on is in the ring. */
  get isClear(): boolean {
    for (const feed of this.#unclear) if (feed.isClear) this.#unclear.delete(feed);
    return this.#unclear.size === 0;
  }

  begin(held: ReadonlyMap<string, HeldSession>): void {
    this.#held = held;
  }

  /** The ids of those that ended without one of ours, until they are taken over by a commit. */
  get over(): readonly string[] {
    return this.#over;
  }

  takeOver(): void {
    this.#over = [];
  }

  /** One of our sessions was ended from this side after its END had come: its sender is told too. */
  rejectedLate(id: string, code: number, detail: string): void {
    const told = this.#ended.get(id);
    if (!told) return;
    this.#ended.delete(id);
    this.#tell({ ...told, reason: endName(code), detail });
  }

  /** Those whose END had come are on disk, or rejected. */
  settled(ids: Iterable<string>): void {
    for (const id of ids) this.#ended.delete(id);
  }

  /** The link is gone: our sessions end, and others will go on. */
  interrupt(): void {
    for (const { feed } of this.#byRef.values()) feed?.interrupt();
    this.#byRef.clear();
    this.#openBytes = 0;
  }

  /** A session's END was given up by its sender: it ends with what came. */
  gaveUp(id: string): void {
    for (const [ref, incoming] of this.#byRef) {
      if (incoming.session.id !== id) continue;
      incoming.meta = [];
      if (this.#end(ref, incoming, false)) return;
      // No room for the rest of it now: it ends with the link.
      return;
    }
  }

  /**
   * An OPEN, the session's first or one of a session that goes on.
   * @throws LinkProtocolError for more than a gateway has to tell
   */
  open(ref: number, data: Buffer): boolean {
    if (this.#byRef.has(ref)) return true;
    this.#checkRoom(data.length);
    const open = decodeOpen(data);
    // Without it the frames are counted as drained: see `take`.
    if (!open || !isLinkKey(open.session.id) || !isSensorUuid(open.session.sensor)) return true;
    if (!KNOWN_TYPES.includes(open.session.type)) return true;
    const { session, before } = open;
    const isNew = before.frames === 0 && before.bytes === 0;
    const held = this.#held.get(session.id);
    const incoming: Incoming = {
      session,
      openBytes: data.length,
      ...before,
      held,
      feed: undefined,
      meta: isNew && session.meta ? framesOf(session.meta.wire) : [],
      over: held?.over,
      drained: { frames: 0, bytes: 0 },
    };
    this.#byRef.set(ref, incoming);
    this.#openBytes += data.length;
    if (session.hops?.includes(this.#gateway)) {
      const detail = `it came from here, by ${session.hops.join(', ')}`;
      this.#reject(incoming, endName(Reject.RELAY_LOOP), detail);
    } else if (session.type === TYPE_EXTENDED && !session.meta?.frames) {
      this.#reject(incoming, endName(Reject.META_MISSING), '');
    }
    return true;
  }

  /**
   * Takes the next record.
   * @param isKnown it is acknowledged: it is counted, and goes nowhere
   * @returns false where it has to wait; it is to be given again
   * @throws LinkProtocolError for one that is none
   */
  take(record: RawRecord, isKnown: boolean): boolean {
    if (record.kind === RecordKind.OPEN) {
      this.open(record.ref, record.data);
      const incoming = this.#byRef.get(record.ref);
      if (!incoming || !isKnown) return true;
      for (const frame of incoming.meta.splice(0)) count(incoming, frame);
      return true;
    }
    if (record.kind === RecordKind.FRAME) checkFrame(record.data);
    const incoming = this.#byRef.get(record.ref);
    if (!incoming) {
      if (record.kind === RecordKind.FRAME) this.#drain(undefined, record.data);
      return true;
    }
    if (record.kind === RecordKind.FRAME) return this.#frame(incoming, record.data, isKnown);
    return this.#end(record.ref, incoming, isKnown);
  }

  #frame(incoming: Incoming, frame: Buffer, isKnown: boolean): boolean {
    while (incoming.meta.length > 0) {
      if (!this.#give(incoming, incoming.meta[0]!, false)) return false;
      incoming.meta.shift();
    }
    return this.#give(incoming, frame, isKnown);
  }

  #give(incoming: Incoming, frame: Buffer, isKnown: boolean): boolean {
    this.#look(incoming);
    if (incoming.over !== undefined) {
      this.#drain(incoming, frame);
      return true;
    }
    const isHeld = incoming.feed === undefined && incoming.frames < heldFrames(incoming);
    if (!isKnown && !isHeld) {
      if (!this.#ensureFeed(incoming)) return false;
      incoming.feed!.push(frame);
      this.#unclear.add(incoming.feed!);
    }
    count(incoming, frame);
    return true;
  }

  #end(ref: number, incoming: Incoming, isKnown: boolean): boolean {
    this.#look(incoming);
    const { held, over } = incoming;
    if (!isKnown) {
      for (const frame of over === undefined ? [...incoming.meta] : []) {
        if (!this.#give(incoming, frame, false)) return false;
        incoming.meta.shift();
      }
      const hasTail = Object.values(held?.sinks ?? {}).some(({ part }) => part?.tail.length);
      if (over === undefined && hasTail && !this.#ensureFeed(incoming)) return false;
      if (incoming.feed && incoming.over === undefined) {
        incoming.feed.end();
        this.#unclear.add(incoming.feed);
        const { id, sensor, type } = incoming.session;
        this.#ended.set(id, { session: id, sensor, type });
      } else this.#over.push(incoming.session.id);
    }
    this.#byRef.delete(ref);
    this.#openBytes -= incoming.openBytes;
    return true;
  }

  /** Sessions cost memory until they end: a peer that ends none must not take all of it. */
  #checkRoom(bytes: number): void {
    if (bytes > OPEN_BYTES_MAX) {
      throw new LinkProtocolError(`an OPEN of ${bytes} bytes: ${OPEN_BYTES_MAX} at most`);
    }
    if (this.#byRef.size >= SESSIONS_MAX) {
      throw new LinkProtocolError(`over ${SESSIONS_MAX} sessions go on at once`);
    }
    if (this.#openBytes + bytes > OPENS_BYTES_MAX) {
      throw new LinkProtocolError(`the OPENs of its sessions are over ${OPENS_BYTES_MAX} bytes`);
    }
  }

  #ensureFeed(incoming: Incoming): boolean {
    if (incoming.feed) return true;
    const { session, frames, bytes, held } = incoming;
    const counted = Math.max(0, (held?.counted.bytes ?? 0) - bytes);
    incoming.feed = this.#port.open({ session, base: { frames, bytes }, counted });
    return incoming.feed !== undefined;
  }

  /** Whether our session was ended from this side. */
  #look(incoming: Incoming): void {
    const ending = incoming.feed?.ending;
    if (!ending || incoming.over !== undefined) return;
    this.#reject(incoming, endName(ending.code), ending.detail);
  }

  #reject(incoming: Incoming, reason: string, detail: string): void {
    incoming.over = reason;
    const { id: session, sensor, type } = incoming.session;
    this.#tell({ session, sensor, type, reason, detail });
  }

  #drain(incoming: Incoming | undefined, frame: Buffer): void {
    const bytes = frame.length - HEADER_BYTES;
    for (const amount of incoming ? [incoming.drained, this.drained] : [this.drained]) {
      amount.frames += 1;
      amount.bytes += bytes;
    }
    if (incoming) count(incoming, frame);
  }
}

function heldFrames({ held }: Incoming): number {
  return held?.counted.frames ?? 0;
}

function count(incoming: Incoming, frame: Buffer): void {
  incoming.frames += 1;
  incoming.bytes += frame.length - HEADER_BYTES;
}

/** A record is counted as the one frame that it is to be. */
function checkFrame(data: Buffer): void {
  const isWhole =
    data.length >= HEADER_BYTES && data.length === HEADER_BYTES + data.readUInt32LE(OFFSET_SIZE);
  if (!isWhole) throw new LinkProtocolError(`a record of ${data.length} bytes is no whole frame`);
}

/** The whole frames that `wire` consists of. */
function framesOf(wire: Buffer): Buffer[] {
  const frames: Buffer[] = [];
  for (let at = 0; at < wire.length; ) {
    const end = at + HEADER_BYTES + wire.readUInt32LE(at + OFFSET_SIZE);
    frames.push(wire.subarray(at, end));
    at = end;
  }
  return frames;
}
