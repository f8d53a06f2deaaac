import type { Closed, Connection, ConnectionEvents } from '../../net/connection.js';

/** Bytes that one stream may have waiting for its connection, and one frame. */
export const OUTGOING_BYTES_MAX = 512 * 1024;
/** Small frames go out together, in writes of this size. */
const WRITE_BYTES = 128 * 1024;
/** Memory of writes that are done, kept for the next ones of any connection of the process. */
const SPARE_WRITES_MAX = 64;
const spare: Buffer[] = [];
/** A peer that takes nothing for this long while something waits is given up. */
export const WRITE_DEADLINE_MS = 30_000;

export interface OutgoingEvents {
  open(): void;
  /** There is room again, or nothing waits any more. */
  room(): void;
  /** The kernel has taken so many bytes of this connection in all. */
  flushed(bytes: number): void;
  closed(how: Closed): void;
}

/**
 * One upstream connection and what waits for it. Pieces of frames are gathered by `add` and copied
 * once into writes by `settle`, so their memory is not needed after it.
 */
export class Outgoing {
  readonly #connection: Connection;
  readonly #events: OutgoingEvents;
  readonly #now: () => number;
  #pieces: Buffer[] = [];
  #pieceBytes = 0;
  /** Filled one after the other; the last may have room. */
  readonly #writes: { memory: Buffer; used: number }[] = [];
  #waitingBytes = 0;
  /** Given to the connection and not yet with the kernel. */
  #unflushed = 0;
  #flushed = 0;
  #isOpen = false;
  #isEnding = false;
  #isEndSent = false;
  #progressAt: number;
  #error: Error | undefined;

  constructor(
    connect: (events: ConnectionEvents) => Connection,
    now: () => number,
    events: OutgoingEvents,
  ) {
    this.#events = events;
    this.#now = now;
    this.#progressAt = now();
    this.#connection = connect({
      open: () => {
        this.#isOpen = true;
        this.#progressAt = now();
        events.open();
      },
      drain: () => {
        this.#write();
        events.room();
      },
      closed: (how) => {
        this.#isOpen = false;
        events.closed(this.#error && !how.error ? { ...how, error: this.#error } : how);
      },
    });
  }

  get isOpen(): boolean {
    return this.#isOpen && !this.#isEnding;
  }

  get hasRoom(): boolean {
    return this.isOpen && this.#waitingBytes + this.#pieceBytes < OUTGOING_BYTES_MAX;
  }

  /** At least half of the room is free. */
  get isLow(): boolean {
    return this.isOpen && this.#waitingBytes + this.#pieceBytes <= OUTGOING_BYTES_MAX / 2;
  }

  /** It could send more now, and has nothing to send. */
  get isHungry(): boolean {
    return this.isOpen && this.#connection.writable && this.#waitingBytes + this.#pieceBytes === 0;
  }

  /** All that was added is with the kernel. */
  get isFlushed(): boolean {
    return this.#unflushed + this.#waitingBytes + this.#pieceBytes === 0;
  }

  add(pieces: readonly Buffer[]): void {
    for (const piece of pieces) {
      this.#pieces.push(piece);
      this.#pieceBytes += piece.length;
    }
  }

  /** Copies what was added, and writes as much as the connection takes. */
  settle(): void {
    if (this.#pieceBytes > 0) {
      if (this.#waitingBytes + this.#unflushed === 0) this.#progressAt = this.#now();
      for (const piece of this.#pieces) this.#copy(piece);
      this.#waitingBytes += this.#pieceBytes;
      this.#pieceBytes = 0;
    }
    this.#pieces = [];
    this.#write();
  }

  #copy(piece: Buffer): void {
    for (let at = 0; at < piece.length; ) {
      let last = this.#writes.at(-1);
      if (last === undefined || last.used === last.memory.length) {
        last = { memory: spare.pop() ?? Buffer.allocUnsafeSlow(WRITE_BYTES), used: 0 };
        this.#writes.push(last);
      }
      const copied = piece.copy(last.memory, last.used, at);
      last.used += copied;
      at += copied;
    }
  }

  /** Ends the connection behind all that was added. */
  end(): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    this.settle();
  }

  destroy(error?: Error): void {
    this.#error ??= error;
    this.#connection.destroy();
  }

  /** Gives up a peer that takes nothing. */
  checkDeadline(): void {
    if (this.#waitingBytes + this.#unflushed === 0 || !this.#isOpen) return;
    if (this.#now() - this.#progressAt < WRITE_DEADLINE_MS) return;
    this.destroy(new Error(`it has taken nothing for ${WRITE_DEADLINE_MS / 1000} s`));
  }

  #write(): void {
    while (this.#writes.length > 0 && this.#isOpen && this.#connection.writable) {
      const { memory, used } = this.#writes.shift()!;
      const bytes = memory.subarray(0, used);
      this.#waitingBytes -= bytes.length;
      this.#unflushed += bytes.length;
      this.#connection.write(bytes, () => {
        if (spare.length < SPARE_WRITES_MAX) spare.push(memory);
        this.#unflushed -= bytes.length;
        this.#flushed += bytes.length;
        this.#progressAt = this.#now();
        this.#events.flushed(this.#flushed);
      });
    }
    if (!this.#isEnding || this.#isEndSent || this.#writes.length > 0 || !this.#isOpen) return;
    this.#isEndSent = true;
    this.#connection.end();
  }
}
