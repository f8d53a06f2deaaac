import { type Cutter, HEADER_BYTES_MAX, Verdict } from './cutters/cutter.js';
import { RawCutter } from './cutters/raw.js';

/** Room for the start of a header, and for enough after it to make any header whole. */
const REST_BYTES = 2 * HEADER_BYTES_MAX;

/** What is done with a stream as it is walked. */
export interface StreamVisitor {
  /** Position from which on the file may end: see `Cutter.walk`. 0 while no file is open. */
  cutAt(): number;
  /** The next bytes of the stream, `bytes[from, to)`, valid during the call. */
  append(bytes: Uint8Array, from: number, to: number): void;
  /** A new file begins here. */
  cut(): void;
  /**
   * The stream parses no more. Its last `damagedBytes` appended belong to the record that does
   * not; from here on the stream is raw.
   */
  damaged(damagedBytes: number): void;
}

/**
 * Brings a stream to its cutter, frame by frame, and keeps what the cutter leaves: the start of a
 * header that is not whole yet.
 */
export class StreamWalker {
  #cutter: Cutter;
  readonly #visitor: StreamVisitor;
  #rest: Uint8Array | undefined;
  #restLength = 0;

  constructor(cutter: Cutter, visitor: StreamVisitor) {
    this.#cutter = cutter;
    this.#visitor = visitor;
  }

  get cutter(): Cutter {
    return this.#cutter;
  }

  /** Whether a file may end after what was appended. */
  get atCut(): boolean {
    return this.#cutter.position === this.#cutter.boundary && this.#cutter.cuttable;
  }

  /** The bytes kept: the start of a header. */
  get rest(): Uint8Array {
    return this.#rest?.subarray(0, this.#restLength) ?? new Uint8Array(0);
  }

  get restLength(): number {
    return this.#restLength;
  }

  /** Walks the stream's next bytes, `bytes[from, to)`. */
  feed(bytes: Uint8Array, from: number, to: number): void {
    let start = from;
    if (this.#restLength > 0) {
      const kept = this.#restLength;
      const walked = this.#joinRest(bytes, from, to);
      if (walked < kept) return;
      start = from + walked - kept;
    }
    const at = this.#walk(bytes, start, to);
    if (at === to) return;
    this.#rest ??= new Uint8Array(REST_BYTES);
    this.#rest.set(bytes.subarray(at, to));
    this.#restLength = to - at;
  }

  /** Walks the bytes kept with those that follow them; returns how many of both it walked. */
  #joinRest(bytes: Uint8Array, from: number, to: number): number {
    const rest = this.#rest!;
    const joined = Math.min(rest.length - this.#restLength, to - from);
    rest.set(bytes.subarray(from, from + joined), this.#restLength);
    const walked = this.#walk(rest, 0, this.#restLength + joined);
    // No header is longer than what `rest` holds, so without progress all of `bytes` is in it.
    this.#restLength = walked < this.#restLength ? this.#restLength + joined : 0;
    return walked;
  }

  #walk(bytes: Uint8Array, from: number, to: number): number {
    let at = from;
    for (;;) {
      const stop = this.#cutter.walk(bytes, at, to, this.#visitor.cutAt());
      if (stop > at) this.#visitor.append(bytes, at, stop);
      at = stop;
      const { verdict, position, boundary } = this.#cutter;
      if (verdict === Verdict.MORE) return at;
      if (verdict === Verdict.CUT) this.#visitor.cut();
      else {
        this.#cutter = new RawCutter(position);
        this.#visitor.damaged(position - boundary);
      }
    }
  }
}
