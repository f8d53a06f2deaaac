import type {
  FrameRef,
  MetaHeader,
  Rest,
  SessionEnd,
  Sink,
  SinkSession,
  SinkStream,
} from '../sinks/sink.js';
import { HEADER_BYTES, OFFSET_SIZE } from '../wire/layout.js';

interface Branch {
  /** Of the sink. */
  readonly index: number;
  readonly name: string;
  readonly stream: SinkStream;
}

/** One session's streams, one for each sink of its route. */
export class Fanout {
  readonly #branches: readonly Branch[];

  /**
   * @param mask sinks by index, as `RouteTable.sinksFor` gives them
   * @param resumed what stands before a sink's stream that goes on with an earlier session's
   */
  constructor(
    sinks: readonly (Sink | undefined)[],
    mask: number,
    session: SinkSession,
    resumed?: (index: number, name: string, stream: SinkStream) => SinkStream,
  ) {
    const branches: Branch[] = [];
    for (const [index, sink] of sinks.entries()) {
      if (!sink || (mask & (1 << index)) === 0) continue;
      const { name } = sink;
      const stream = sink.open(session);
      branches.push({ index, name, stream: resumed ? resumed(index, name, stream) : stream });
    }
    // Of its exact length: an array that is pushed to has room for 17, and each session has one.
    this.#branches = branches.slice();
  }

  /** Hands one verified frame to every sink. Returns the mask of those that ask for no more. */
  write(frame: FrameRef): number {
    let full = 0;
    for (let at = 0; at < this.#branches.length; at += 1) {
      const { stream, index } = this.#branches[at]!;
      if (!stream.write(frame)) full |= 1 << index;
    }
    return full;
  }

  /** Resolves when every sink has delivered what it took. */
  async end(how?: SessionEnd): Promise<void> {
    await Promise.all(this.#branches.map(({ stream }) => stream.end(how)));
  }

  /** As `end`, of a stream that goes on in another session. */
  async suspend(how?: SessionEnd): Promise<void> {
    await Promise.all(this.#branches.map(({ stream }) => stream.suspend?.(how) ?? stream.end(how)));
  }

  /** Resolves when all that was taken so far is on disk, but for what waits in memory, by sink. */
  async sync(): Promise<Map<string, Rest>> {
    const rests = new Map<string, Rest>();
    const syncs = this.#branches.map(async ({ name, stream }) => {
      const rest = await stream.sync?.();
      if (rest) rests.set(name, rest);
    });
    await Promise.all(syncs);
    return rests;
  }
}

/** Room for a meta header as most are; it doubles as it has to. */
const META_ROOM_BYTES = 512;

/**
 * A meta header on its way: its frames exactly as they were sent, cut anywhere (WIRE.md, "A
 * session"), however small or empty those are. Its owner bounds `wireBytes`.
 */
export class MetaCollector {
  #room = Buffer.alloc(0);
  frames = 0;
  /** Payload bytes. */
  bytes = 0;
  /** With the frames' headers. */
  wireBytes = 0;

  /**
   * Keeps a copy of the frame.
   * @param frame its 62-byte header and its payload
   */
  add(frame: Buffer): void {
    const end = this.wireBytes + frame.length;
    if (end > this.#room.length) {
      const room = Buffer.alloc(Math.max(META_ROOM_BYTES, 2 ** Math.ceil(Math.log2(end))));
      this.#room.copy(room, 0, 0, this.wireBytes);
      this.#room = room;
    }
    frame.copy(this.#room, this.wireBytes);
    this.frames += 1;
    this.bytes += frame.length - HEADER_BYTES;
    this.wireBytes = end;
  }

  /** The whole header, with the `type` that it was found to have. */
  header(type: string): MetaHeader {
    const wire = Buffer.from(this.#room.subarray(0, this.wireBytes));
    return { type, bytes: this.text(), frames: this.frames, wire };
  }

  /** A copy of the payloads, put together. */
  text(): Buffer {
    return payloadOf(this.#room.subarray(0, this.wireBytes), this.bytes);
  }
}

/** What the payloads of whole frames hold together: `bytes` bytes. */
function payloadOf(wire: Buffer, bytes: number): Buffer {
  const text = Buffer.alloc(bytes);
  let filled = 0;
  for (let at = 0; at < wire.length; ) {
    const from = at + HEADER_BYTES;
    at = from + wire.readUInt32LE(at + OFFSET_SIZE);
    filled += wire.copy(text, filled, from, at);
  }
  return text;
}
