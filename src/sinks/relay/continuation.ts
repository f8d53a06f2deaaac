import { type BoundaryTracker, type StreamForm, trackerFrom } from '../../streams/boundary.js';
import { HEADER_BYTES } from '../../wire/layout.js';
import { TYPE_META } from '../../wire/types.js';
import { type Identity, NoKeyError } from './identity.js';

/** A record longer than this is not held: the stream then goes on within it, as raw bytes. */
const RECORD_BYTES_MAX = 16 * 1024 * 1024;
/** Payload of a frame that the relay makes, as most clients cut theirs; every server takes it. */
export const MADE_PAYLOAD_BYTES_MAX = 32 * 1024;
/** Where a stream could go on is noted once in so many bytes. */
const MARK_BYTES = 16 * 1024;

/** Where a stream goes on in a new session: all before it is done. */
export interface ResumePoint {
  /** The first record of the spool that is needed again. */
  readonly fromSeq: number;
  /** Payload bytes of that frame that are done. */
  readonly skip: number;
  /** What the new session must begin with, of `prelude` the first `preludeCount`. */
  readonly prelude: readonly Buffer[];
  readonly preludeCount: number;
  readonly form: StreamForm;
  /** Frames of the session, and their payload bytes, that are done. */
  readonly frames: number;
  readonly bytes: number;
}

/** The start of a session's stream. */
export function startPoint(fromSeq: number): ResumePoint {
  return { fromSeq, skip: 0, prelude: [], preludeCount: 0, form: 'start', frames: 0, bytes: 0 };
}

interface Mark {
  /** Bytes of the connection up to here. */
  wireEnd: number;
  point: ResumePoint;
}

export interface ContinuationOptions {
  /** D4 type of the stream's frames. */
  type: number;
  identity: Identity;
  /** Each session of a type 254 stream begins with it. `wire`: its frames as they were sent. */
  meta?: { readonly bytes: Buffer; readonly wire: Buffer } | undefined;
  /** What the kernel may hold of a connection that breaks. */
  resendWindowBytes: number;
  recordBytesMax?: number;
}

/**
 * One stream over as many upstream sessions as it takes. It is fed the original frames, cut
 * anywhere, and gives what to send in their place. A session that begins in mid-stream gets the
 * stream's preamble, then the rest of the one frame in which its record starts, re-cut:
 *
 *     frames     │  a  │  b    │  c  │  d  │        session 1: a b c
 *     records    ├────────┬──────┬──────┬──┤         confirmed ▲ in c
 *     session 2: preamble, rest of b from the record's start, c d …
 *                          ▲ signed by the relay      ▲ original again, byte for byte
 *
 * Only that rest is cut anew. The frames after it go on from it byte by byte, so they stay as the
 * sensor signed them, whether a record ends with one or not.
 *
 * D4 acknowledges nothing: what was sent is confirmed once more than `resendWindowBytes` followed
 * it into the kernel, or the connection ended in order. A new session goes on at the last point
 * confirmed, so nothing is held here: the spool gives those frames again.
 */
export class Continuation {
  readonly #options: ContinuationOptions;
  readonly #recordBytesMax: number;
  #tracker!: BoundaryTracker;
  /** Where the tracker stands, in its own offsets. */
  #fed = 0;
  #isFresh = true;
  /** The newest point, behind all that was taken. */
  #newest: ResumePoint;
  #confirmed: ResumePoint;
  /** Frames of the session up to the newest taken. */
  #frames = 0;
  #bytes = 0;
  #wire = 0;
  /** The last frame that this session took. */
  #lastSeq = -1;
  /** Part of a record was given up: the tracker, which saw it, looks for the next one's start. */
  #isSeeking = false;
  readonly #marks: Mark[] = [];
  /** Highest sequence number ever taken: frames up to it are sent again. */
  #seqMax = -1;
  /** Totals over all sessions, for the account. */
  readonly resent = { frames: 0, bytes: 0 };
  readonly recut = { frames: 0, bytes: 0 };
  /** Frames that were given up. */
  readonly skipped = { frames: 0, bytes: 0 };
  /** Sessions that could not begin with what they need, for want of the sensor's key. */
  unsigned = 0;

  constructor(options: ContinuationOptions, point: ResumePoint) {
    this.#options = options;
    this.#recordBytesMax = options.recordBytesMax ?? RECORD_BYTES_MAX;
    this.#newest = point;
    this.#confirmed = point;
    this.begin();
  }

  /** Where a new session would go on: frames before it are done. */
  get point(): ResumePoint {
    return this.#confirmed;
  }

  /** Whether all that was taken is confirmed, but for a record whose end has not come. */
  get isConfirmed(): boolean {
    return this.#newest === this.#confirmed;
  }

  /** A new session begins at the last confirmed point: feed it the frames from there. */
  begin(): void {
    const { form, prelude, preludeCount, frames, bytes } = this.#confirmed;
    if (!this.#isSeeking) {
      const kept = prelude.slice(0, preludeCount);
      const { tracker, offset } = trackerFrom(this.#options.type, form, kept);
      this.#tracker = tracker;
      this.#fed = offset;
    }
    this.#newest = this.#confirmed;
    this.#frames = frames;
    this.#bytes = bytes;
    this.#isFresh = true;
    this.#wire = 0;
    this.#lastSeq = -1;
    this.#marks.length = 0;
  }

  /**
   * Takes the next original frame of the stream.
   * @param frame 62-byte header and payload
   * @returns what to send, in pieces that are valid as long as `frame` is
   */
  take(seq: number, frame: Buffer): Buffer[] {
    try {
      return this.#take(seq, frame);
    } catch (error) {
      if (!(error instanceof NoKeyError)) throw error;
      // Nothing can be made in the sensor's name: its own frames go on, and are kept as raw bytes.
      this.#confirmed = { ...this.#confirmed, skip: 0, prelude: [], preludeCount: 0, form: 'raw' };
      this.begin();
      this.unsigned += 1;
      return this.#take(seq, frame);
    }
  }

  #take(seq: number, frame: Buffer): Buffer[] {
    const { fromSeq } = this.#confirmed;
    if (this.isConfirmed && this.#lastSeq < fromSeq && seq > fromSeq) {
      // Nothing is outstanding, and the records between are not this stream's.
      this.#confirmed = { ...this.#confirmed, fromSeq: seq };
      this.#newest = this.#confirmed;
    }
    const header = frame.subarray(0, HEADER_BYTES);
    if (this.#isSeeking) return this.#seek(seq, frame);
    const out = this.#isFresh ? this.#opening(header) : [];
    const skip = this.#isFresh && seq === this.#confirmed.fromSeq ? this.#confirmed.skip : 0;
    const payload = frame.subarray(HEADER_BYTES + skip);
    const { identity, type } = this.#options;
    if (skip > 0) {
      // A frame that a large sensor made is no larger for being cut.
      out.push(identity.sign(header, type, payload), payload);
      this.#count(this.recut, payload.length);
    } else if (identity.resigns) {
      out.push(identity.sign(header, type, payload), payload);
    } else out.push(frame);
    this.#isFresh = false;
    if (seq <= this.#seqMax) this.#count(this.resent, payload.length);
    this.#seqMax = Math.max(this.#seqMax, seq);
    this.#lastSeq = seq;
    this.#follow(seq, payload, skip);
    for (const piece of out) this.#wire += piece.length;
    this.#mark();
    return out;
  }

  /**
   * Gives up a frame that lies at the point, or follows on one given up: it is not sent. The stream
   * goes on, in a session of its own, with the first record behind it.
   */
  skip(seq: number, frame: Buffer): void {
    const { fromSeq, skip } = this.#confirmed;
    const at = seq === fromSeq ? skip : 0;
    const payload = frame.subarray(HEADER_BYTES + at);
    this.#follow(seq, payload, at);
    this.#count(this.skipped, payload.length + at);
    this.#giveUp(seq);
  }

  /**
   * What was sent up to a record can't be had again, confirmed or not. The connection goes on; a new
   * one begins behind that record, where a point behind it is known.
   */
  forget(seq: number): void {
    if (this.#confirmed.fromSeq > seq) return;
    const index = this.#marks.findIndex(({ point }) => point.fromSeq > seq);
    if (index >= 0) {
      this.#confirmed = this.#marks[index]!.point;
      this.#marks.splice(0, index + 1);
      return;
    }
    this.#marks.length = 0;
    if (this.#newest.fromSeq <= seq) {
      const { frames, bytes } = this.#newest;
      this.#newest = { ...startPoint(seq + 1), form: 'raw', frames, bytes };
    }
    this.#confirmed = this.#newest;
  }

  /** What a stream that brought a meta header alone comes to. */
  metaAlone(): Buffer[] {
    if (!this.#isFresh) return [];
    this.#isFresh = false;
    return this.#metaFrames();
  }

  /** The kernel has taken so many bytes of this session's connection in all. */
  flushed(wire: number): void {
    const until = wire - this.#options.resendWindowBytes;
    let count = 0;
    while (count < this.#marks.length && this.#marks[count]!.wireEnd < until) count += 1;
    if (count === 0) return;
    this.#confirmed = this.#marks[count - 1]!.point;
    this.#marks.splice(0, count);
  }

  /** The connection ended in order behind all that was taken: the peer has it. */
  ended(): void {
    this.#confirmed = this.#newest;
    this.#marks.length = 0;
  }

  /** A frame behind a record of which part was given up: it goes on where the next begins. */
  #seek(seq: number, frame: Buffer): Buffer[] {
    const payload = frame.subarray(HEADER_BYTES);
    this.#follow(seq, payload, 0);
    if (this.#newest.fromSeq !== seq) {
      this.#count(this.skipped, payload.length);
      this.#giveUp(seq);
      return [];
    }
    this.#isSeeking = false;
    this.#confirmed = this.#newest;
    const header = frame.subarray(0, HEADER_BYTES);
    const rest = payload.subarray(this.#newest.skip);
    const out = this.#opening(header);
    out.push(this.#options.identity.sign(header, this.#options.type, rest), rest);
    this.#count(this.recut, rest.length);
    this.#isFresh = false;
    this.#lastSeq = seq;
    this.#seqMax = Math.max(this.#seqMax, seq);
    for (const piece of out) this.#wire += piece.length;
    this.#mark();
    return out;
  }

  /** The point moves behind a frame that is not sent. */
  #giveUp(seq: number): void {
    const isAtRecord = this.#newest.fromSeq > seq;
    const [frames, bytes] = [this.#frames, this.#bytes];
    this.#isSeeking = !isAtRecord;
    // Found again after a restart, it can only go on as it comes.
    this.#confirmed = isAtRecord
      ? this.#newest
      : { ...startPoint(seq + 1), form: 'raw', frames, bytes };
    this.#newest = this.#confirmed;
  }

  /** Meta header and preamble of a session that begins with this frame. */
  #opening(header: Buffer): Buffer[] {
    const { type } = this.#options;
    const out = this.#metaFrames();
    const { prelude, preludeCount } = this.#confirmed;
    const preamble = Buffer.concat(prelude.slice(0, preludeCount));
    const frames = this.#made(header, type, preamble);
    this.recut.frames += frames.length / 2;
    this.recut.bytes += preamble.length;
    out.push(...frames);
    return out;
  }

  #metaFrames(): Buffer[] {
    const { meta, identity } = this.#options;
    if (!meta) return [];
    if (!identity.resigns) return [meta.wire];
    return this.#made(meta.wire.subarray(0, HEADER_BYTES), TYPE_META, meta.bytes);
  }

  /** Frames of the relay's own with these bytes: header, payload, header, payload … */
  #made(header: Buffer, type: number, bytes: Buffer): Buffer[] {
    const out: Buffer[] = [];
    for (let at = 0; at < bytes.length; at += MADE_PAYLOAD_BYTES_MAX) {
      const payload = bytes.subarray(at, at + MADE_PAYLOAD_BYTES_MAX);
      out.push(this.#options.identity.sign(header, type, payload), payload);
    }
    return out;
  }

  /** Moves the newest point: a record's start lies in this frame or where it lay before. */
  #follow(seq: number, payload: Buffer, skip: number): void {
    const before = { frames: this.#frames, bytes: this.#bytes };
    this.#frames += 1;
    this.#bytes += payload.length + skip;
    const start = this.#fed;
    const resume = this.#tracker.feed(payload);
    this.#fed += payload.length;
    const { offset, prelude, preludeCount, form } = resume;
    if (offset >= this.#fed) {
      const done = { frames: this.#frames, bytes: this.#bytes };
      this.#newest = { fromSeq: seq + 1, skip: 0, prelude, preludeCount, form, ...done };
    } else if (offset > start) {
      const at = { fromSeq: seq, skip: skip + offset - start };
      this.#newest = { ...at, prelude, preludeCount, form, ...before };
    } else if (this.#fed - offset > this.#recordBytesMax) {
      this.#tracker = trackerFrom(this.#options.type, 'raw', []).tracker;
      this.#fed = 0;
      const done = { frames: this.#frames, bytes: this.#bytes };
      this.#newest = { ...startPoint(seq + 1), form: 'raw', ...done };
    }
  }

  #mark(): void {
    const last = this.#marks.at(-1);
    const before = this.#marks.at(-2)?.wireEnd ?? 0;
    if (last && last.wireEnd - before < MARK_BYTES) {
      last.wireEnd = this.#wire;
      last.point = this.#newest;
    } else this.#marks.push({ wireEnd: this.#wire, point: this.#newest });
  }

  #count(total: { frames: number; bytes: number }, bytes: number): void {
    total.frames += 1;
    total.bytes += bytes;
  }
}
