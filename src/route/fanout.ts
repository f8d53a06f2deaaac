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

/** Room for a meta header as most are; it doubles as it has to. */
const META_ROOM_BYTES = 256;

/**
 * A meta header on its way: its bytes, cut anywhere over type 2 frames (WIRE.md, "A session"),
 * however small or empty those are.
 */
export class MetaCollector {
  #room = Buffer.alloc(0);
  frames = 0;
  bytes = 0;

  /** Keeps a copy of the payload. */
  add(payload: Buffer): void {
    this.frames += 1;
    const end = this.bytes + payload.length;
    if (end > this.#room.length) {
      const room = Buffer.alloc(Math.max(META_ROOM_BYTES, 2 ** Math.ceil(Math.log2(end))));
      this.#room.copy(room);
      this.#room = room;
    }
    payload.copy(this.#room, this.bytes);
    this.bytes = end;
  }

  /** The whole header, with the `type` that it was found to have. */
  header(type: string): MetaHeader {
    return { type, bytes: this.text(), frames: this.frames };
  }

  text(): Buffer {
    return this.#room.subarray(0, this.bytes);
  }
}
