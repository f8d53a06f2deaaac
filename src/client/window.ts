import type { BoundaryTracker, Resume } from '../streams/boundary.js';

/** Bytes held of a record whose start was sent and whose end was not. */
const HELD_BYTES_MAX = 16 * 1024 * 1024;
/** What a held payload costs beyond its bytes, so that tiny payloads are bounded too. */
const ENTRY_BYTES = 128;

interface Entry {
  payload: Buffer;
  /** Offset of the payload's first byte in the stream. */
  start: number;
  /** Where to resume once this payload is out and the next is not. */
  resume: Resume;
}

/**
 * The payloads that a lost connection would make necessary again: D4 acknowledges nothing, so
 * "sent" means handed to the kernel, and a new connection goes on at the start of the record that
 * was cut there.
 *
 *     stream   ──┬────────────┬───────────────┬──────────────┐
 *                │ held       │ in the socket │ to be sent   │
 *     ──┴────────┴────────────┴───────────────┴──────────────┘
 *       dropped  ▲ resume     ▲ #flushed      ▲ #next        ▲ pushed
 *
 * `#flushed ≤ #next ≤ #entries.length`, counted in entries from `#first`. A record longer than
 * the limit is not held whole: then the stream goes on within it.
 */
export class ResendWindow {
  readonly #tracker: BoundaryTracker;
  readonly #bytesMax: number;
  readonly #entries: Entry[] = [];
  #first = 0;
  #flushed = 0;
  #next = 0;
  #pushedBytes = 0;
  #flushedBytes = 0;
  /** Payload and overhead of the entries already flushed. */
  #heldBytes = 0;
  #resume: Resume = { offset: 0, prelude: [], preludeCount: 0, form: 'start' };

  constructor(tracker: BoundaryTracker, bytesMax = HELD_BYTES_MAX) {
    this.#tracker = tracker;
    this.#bytesMax = bytesMax;
  }

  /** Bytes pushed that no connection has taken yet. */
  get unsentBytes(): number {
    return this.#pushedBytes - this.#flushedBytes;
  }

  /** Whether all that was pushed was handed to the kernel, empty payloads too. */
  get isFlushed(): boolean {
    return this.#flushed === this.#entries.length;
  }

  /** Appends a payload, which the window then owns. */
  push(payload: Buffer): void {
    const start = this.#pushedBytes;
    this.#pushedBytes += payload.length;
    this.#entries.push({ payload, start, resume: this.#tracker.feed(payload) });
  }

  /** The next payload for the current connection; undefined when all were given. */
  next(): Buffer | undefined {
    const entry = this.#entries[this.#next];
    if (entry) this.#next++;
    return entry?.payload;
  }

  /** The oldest payload given and not yet flushed is in the kernel. */
  flushed(): void {
    const entry = this.#entries[this.#flushed++] as Entry;
    const end = entry.start + entry.payload.length;
    this.#flushedBytes = Math.max(this.#flushedBytes, end);
    this.#heldBytes += costOf(entry);
    if (entry.resume.offset >= this.#resume.offset) this.#resume = entry.resume;
    this.#drop();
  }

  /**
   * A new connection begins: `next` gives again what the last did not surely send, from the start
   * of the record that was cut.
   * @returns what the stream needs before that
   */
  rewind(): readonly Buffer[] {
    const entry = this.#entries[this.#first];
    const skipped = entry ? this.#resume.offset - entry.start : 0;
    if (entry && skipped > 0) {
      entry.payload = entry.payload.subarray(skipped);
      entry.start += skipped;
    }
    this.#flushed = this.#first;
    this.#next = this.#first;
    this.#heldBytes = 0;
    return this.#resume.prelude.slice(0, this.#resume.preludeCount);
  }

  /** Forgets what will not be sent again. */
  #drop(): void {
    while (this.#first < this.#flushed) {
      const entry = this.#entries[this.#first] as Entry;
      const end = entry.start + entry.payload.length;
      if (end > this.#resume.offset) {
        if (this.#heldBytes <= this.#bytesMax) break;
        this.#resume = { offset: end, prelude: [], preludeCount: 0, form: 'raw' };
      }
      this.#heldBytes -= costOf(entry);
      this.#first++;
    }
    if (this.#first < 64 || this.#first * 2 < this.#entries.length) return;
    this.#entries.splice(0, this.#first);
    this.#flushed -= this.#first;
    this.#next -= this.#first;
    this.#first = 0;
  }
}

function costOf(entry: Entry): number {
  return entry.payload.length + ENTRY_BYTES;
}
