import type { FrameRef, MetaHeader, Sink, SinkSession, SinkStream } from '../sinks/sink.js';

/** One session's streams, one for each sink of its route. */
export class Fanout {
  readonly #indexes: number[] = [];
  readonly #streams: SinkStream[] = [];

  /** @param mask sinks by index, as `RouteTable.sinksFor` gives them */
  constructor(sinks: readonly Sink[], mask: number, session: SinkSession) {
    for (const [index, sink] of sinks.entries()) {
      if ((mask & (1 << index)) === 0) continue;
      this.#indexes.push(index);
      this.#streams.push(sink.open(session));
    }
  }

  /** Hands one verified frame to every sink. Returns the mask of those that ask for no more. */
  write(frame: FrameRef): number {
    let full = 0;
    for (let index = 0; index < this.#streams.length; index += 1) {
      if (!this.#streams[index]!.write(frame)) full |= 1 << this.#indexes[index]!;
    }
    return full;
  }

  /** Resolves when every sink has delivered what it took. */
  async end(): Promise<void> {
    await Promise.all(this.#streams.map((stream) => stream.end()));
  }
}

/** A meta header on its way: its bytes, cut anywhere over type 2 frames (WIRE.md, "A session"). */
export class MetaCollector {
  #parts: Buffer[] = [];
  frames = 0;
  bytes = 0;

  /** Keeps a copy of the payload. */
  add(payload: Buffer): void {
    this.#parts.push(Buffer.from(payload));
    this.frames += 1;
    this.bytes += payload.length;
  }

  /** The whole header, with the `type` that it was found to have. */
  header(type: string): MetaHeader {
    return { type, bytes: this.text(), frames: this.frames };
  }

  text(): Buffer {
    if (this.#parts.length > 1) this.#parts = [Buffer.concat(this.#parts)];
    return this.#parts[0] ?? Buffer.alloc(0);
  }
}
