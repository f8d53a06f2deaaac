import { TYPE_DNSCAP, TYPE_META, TYPE_PCAP, TYPE_PCAPNG, TYPE_YAF } from '../wire/types.js';
import { IpfixFormat, PcapFormat, PcapngFormat, type RecordFormat } from './formats.js';

/** A record longer than this is not waited for: libpcap's own limits are below it. */
export const RECORD_BYTES_MAX = 16 * 1024 * 1024;

/** Where a stream can go on when its connection was cut, and what the new one must begin with. */
export interface Resume {
  /** Start of a record, in bytes of the stream. */
  offset: number;
  /** The stream's own beginning (file header, section and interface blocks, templates). */
  prelude: readonly Buffer[];
  /** How many blocks of `prelude` stand before `offset`; the list may have grown since. */
  preludeCount: number;
  /** How the stream is followed at `offset`. */
  form: StreamForm;
}

/** `start`: nothing is known yet, or nothing but the stream's start will do. */
export type StreamForm = 'start' | 'records' | 'lines' | 'raw';

/** Follows a stream's records as its bytes pass. */
export interface BoundaryTracker {
  /** Where to resume, of all that was fed: the last start of a record. */
  feed(bytes: Buffer): Resume;
}

const NO_PRELUDE: readonly Buffer[] = [];
const START: Resume = { offset: 0, prelude: NO_PRELUDE, preludeCount: 0, form: 'start' };
const LINE_FEED = 0x0a;
const MAGIC_BYTES = 4;

/** The tracker of a D4 type's stream. */
export function trackerOf(type: number): BoundaryTracker {
  switch (type) {
    case TYPE_PCAP:
    case TYPE_PCAPNG:
      return new SniffingTracker(() => new RawTracker());
    case TYPE_DNSCAP:
      return new SniffingTracker(() => new LineTracker());
    case TYPE_YAF:
      return new RecordTracker(new IpfixFormat());
    case TYPE_META:
      return { feed: () => START }; // One object: only its start will do.
    default:
      return new LineTracker();
  }
}

/**
 * The tracker of a stream that goes on where another stopped, at a place that `Resume` told.
 * Offsets count from there on, behind the prelude.
 * @returns the tracker, and the offset at which it stands
 */
export function trackerFrom(
  type: number,
  form: StreamForm,
  prelude: readonly Buffer[],
): { tracker: BoundaryTracker; offset: number } {
  if (form === 'lines') return { tracker: new LineTracker(), offset: 0 };
  if (form === 'raw') return { tracker: new RawTracker(), offset: 0 };
  const tracker = trackerOf(type);
  let offset = 0;
  for (const block of prelude) {
    tracker.feed(block);
    offset += block.length;
  }
  return { tracker, offset };
}

/** Lines go on at a line's start. */
class LineTracker implements BoundaryTracker {
  #fed = 0;
  #resume: Resume = { ...START, form: 'lines' };

  feed(bytes: Buffer): Resume {
    const last = bytes.lastIndexOf(LINE_FEED);
    if (last >= 0) this.#resume = { ...this.#resume, offset: this.#fed + last + 1 };
    this.#fed += bytes.length;
    return this.#resume;
  }
}

/** A stream without known records goes on at any byte. */
class RawTracker implements BoundaryTracker {
  #fed: number;

  constructor(fed = 0) {
    this.#fed = fed;
  }

  feed(bytes: Buffer): Resume {
    this.#fed += bytes.length;
    return { ...START, offset: this.#fed, form: 'raw' };
  }
}

/** Chooses by the first four bytes: captures are told from text, and pcapng from pcap. */
class SniffingTracker implements BoundaryTracker {
  readonly #otherwise: () => BoundaryTracker;
  #magic = Buffer.alloc(0);
  #chosen: BoundaryTracker | undefined;

  constructor(otherwise: () => BoundaryTracker) {
    this.#otherwise = otherwise;
  }

  feed(bytes: Buffer): Resume {
    if (this.#chosen) return this.#chosen.feed(bytes);
    const all = Buffer.concat([this.#magic, bytes]);
    if (all.length < MAGIC_BYTES) {
      this.#magic = all;
      return START;
    }
    if (PcapFormat.begins(all)) this.#chosen = new RecordTracker(new PcapFormat());
    else if (PcapngFormat.begins(all)) this.#chosen = new RecordTracker(new PcapngFormat());
    else this.#chosen = this.#otherwise();
    return this.#chosen.feed(all);
  }
}

/**
 * Walks length-prefixed records, cut anywhere by the reads. Of each it holds the head that tells
 * its length, or the whole where the format keeps it for the prelude.
 *
 *     ──┬──────┬───────────────┬──────┬──────
 *       │ head │ body          │ head │ …
 *     ──┴──────┴───────────────┴──────┴──────
 *       ▲ resume.offset            ▲ #fed
 */
class RecordTracker implements BoundaryTracker {
  readonly #format: RecordFormat;
  #fed = 0;
  #resume = START;
  /** The record's bytes so far: its head, then all where it is kept. */
  #held: Buffer = Buffer.alloc(0);
  #heldBytes = 0;
  /** Bytes of the record beyond the head that are still to come; undefined within the head. */
  #left: number | undefined;
  #raw: RawTracker | undefined;

  constructor(format: RecordFormat) {
    this.#format = format;
    this.#begin();
  }

  feed(bytes: Buffer): Resume {
    if (this.#raw) return this.#raw.feed(bytes);
    let position = 0;
    while (position < bytes.length) {
      const taken = this.#take(bytes, position);
      if (taken === undefined) {
        this.#raw = new RawTracker(this.#fed);
        return this.#raw.feed(bytes.subarray(position));
      }
      position += taken;
      this.#fed += taken;
      if (this.#left === 0 && !this.#finish()) {
        this.#raw = new RawTracker(this.#fed);
        return this.#raw.feed(bytes.subarray(position));
      }
    }
    return this.#resume;
  }

  /** Takes bytes of the current record; undefined where no record can stand. */
  #take(bytes: Buffer, position: number): number | undefined {
    if (this.#left === undefined) {
      const taken = bytes.copy(this.#held, this.#heldBytes, position);
      this.#heldBytes += taken;
      if (this.#heldBytes < this.#held.length) return taken;
      const length = this.#format.lengthOf(this.#held);
      if (length === undefined || length > RECORD_BYTES_MAX) return undefined;
      this.#left = length - this.#held.length;
      if (this.#format.keeps(this.#held)) {
        const whole = Buffer.alloc(length);
        this.#held.copy(whole);
        this.#held = whole;
      }
      return taken;
    }
    const taken = Math.min(this.#left, bytes.length - position);
    if (this.#heldBytes < this.#held.length) {
      bytes.copy(this.#held, this.#heldBytes, position, position + taken);
      this.#heldBytes += taken;
    }
    this.#left -= taken;
    return taken;
  }

  #finish(): boolean {
    if (this.#heldBytes === this.#held.length && this.#format.keeps(this.#held)) {
      if (!this.#format.keep(this.#held)) return false;
    }
    const prelude = this.#format.prelude;
    this.#resume = { offset: this.#fed, prelude, preludeCount: prelude.length, form: 'records' };
    this.#begin();
    return true;
  }

  #begin(): void {
    this.#held = Buffer.alloc(this.#format.headBytes);
    this.#heldBytes = 0;
    this.#left = undefined;
  }
}
