import type { FrameRef, SessionEnd, SinkStream } from '../sinks/sink.js';

/** What a sink holds already of the frames that a session is going to bring. */
export interface Skip {
  /** Whole frames. */
  frames: number;
  /** Payload bytes, those of the whole frames included. */
  bytes: number;
  /** How many of the first of these bytes the ledger has counted as delivered. */
  counted: number;
}

/**
 * A sink's stream of a session that a gateway link brings again from an earlier place on: what the
 * sink holds is let go by, counted as delivered, and the rest is given to it.
 *
 *     frames   ├──────┼──────┼──────┼──────┤
 *     skipped  ├─ frames ────┼─ bytes ┤        of the frame that is cut the sink gets the rest
 */
export class ResumedStream implements SinkStream {
  readonly #inner: SinkStream;
  readonly #skip: Skip;
  readonly #delivered: (frames: number, bytes: number) => void;
  readonly #part: FrameRef = { header: 0, payload: 0, size: 0, type: 0 };

  constructor(
    inner: SinkStream,
    skip: Readonly<Skip>,
    delivered: (frames: number, bytes: number) => void,
  ) {
    this.#inner = inner;
    this.#skip = { ...skip };
    this.#delivered = delivered;
  }

  write(frame: FrameRef): boolean {
    const skip = this.#skip;
    if (skip.frames > 0) {
      skip.frames -= 1;
      this.#let(Math.min(frame.size, skip.bytes), 1);
      return true;
    }
    if (skip.bytes === 0) return this.#inner.write(frame);
    const held = Math.min(frame.size, skip.bytes);
    this.#let(held, 0);
    const part = this.#part;
    part.header = frame.header;
    part.payload = frame.payload + held;
    part.size = frame.size - held;
    part.type = frame.type;
    return this.#inner.write(part);
  }

  end(how?: SessionEnd): Promise<void> {
    return this.#inner.end(how);
  }

  sync() {
    return this.#inner.sync?.() ?? Promise.resolve(undefined);
  }

  suspend(how?: SessionEnd): Promise<void> {
    return this.#inner.suspend?.() ?? this.#inner.end(how);
  }

  /** Lets bytes go by that the sink holds. */
  #let(bytes: number, frames: number): void {
    const skip = this.#skip;
    skip.bytes -= bytes;
    const counted = Math.min(bytes, skip.counted);
    skip.counted -= counted;
    this.#delivered(frames, bytes - counted);
  }
}
