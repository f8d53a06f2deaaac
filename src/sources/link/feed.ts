import { Duplex } from 'node:stream';
import type { Feed, FeedStart } from '../../link/sessions.js';
import {
  HEADER_BYTES,
  OFFSET_TYPE,
  OFFSET_UUID,
  OFFSET_VERSION,
  PROTOCOL_VERSION,
} from '../../wire/layout.js';
import { End } from '../../wire/reject.js';
import { TYPE_EXTENDED, TYPE_META } from '../../wire/types.js';
import { parseUuid } from '../../wire/uuid.js';
import type { Connection, Origin } from '../connection.js';

/** What a feed asks of the intake. */
export interface FeedIntake {
  adopt(stream: Duplex, origin: Origin, header: Buffer): Readonly<Connection> | undefined;
  end(connection: Readonly<Connection>, code: number, detail: string): boolean;
}

/** The frames of one session of a link, as the stream that the intake reads of any connection. */
class FrameStream extends Duplex {
  constructor() {
    super({ allowHalfOpen: false });
  }

  override _read(): void {}

  override _write(_chunk: unknown, _encoding: unknown, done: (error?: Error) => void): void {
    done(new Error('nothing is written to a session of a link'));
  }
}

export class SessionFeed implements Feed {
  /** The other gateway's session. */
  readonly session: string;
  readonly #intake: FeedIntake;
  readonly #stream: FrameStream;
  readonly #connection: Readonly<Connection>;
  #isEnded = false;

  /**
   * Begins one of our sessions for another gateway's.
   * @returns undefined where there is no room for one now
   */
  static open(
    intake: FeedIntake,
    origin: Omit<Origin, 'link'>,
    link: { link: string; gateway: string },
    start: FeedStart,
  ): SessionFeed | undefined {
    const { session, base, counted } = start;
    const { meta } = session;
    const isBegun = meta !== undefined && base.frames >= meta.frames;
    const stream = new FrameStream();
    const hops = [...(session.hops ?? [])];
    const open = {
      ...link,
      session: session.id,
      base,
      counted,
      openedAt: session.openedAt.getTime(),
      hops,
      ...(session.origin === undefined ? {} : { origin: session.origin }),
      ...(session.tags ? { tags: [...session.tags] } : {}),
      ...(isBegun ? { meta: meta.wire.toString('base64') } : {}),
    };
    const type = meta && !isBegun ? TYPE_META : session.type;
    const header = headerOf(session.sensor, meta && isBegun ? TYPE_EXTENDED : type);
    const connection = intake.adopt(stream, { ...origin, link: open }, header);
    return connection && new SessionFeed(intake, stream, connection, session.id);
  }

  private constructor(
    intake: FeedIntake,
    stream: FrameStream,
    connection: Readonly<Connection>,
    session: string,
  ) {
    this.session = session;
    this.#intake = intake;
    this.#stream = stream;
    this.#connection = connection;
  }

  get ending(): { code: number; detail: string } | undefined {
    const { ending } = this.#connection;
    return this.#isEnded ? undefined : ending;
  }

  /** Whether it is the session in a slot of the worker. */
  isAt(ref: { slot: number; generation: number }): boolean {
    const { slot, generation } = this.#connection;
    return slot === ref.slot && generation === ref.generation;
  }

  /** Its end is in the ring. */
  get isOver(): boolean {
    return this.#connection.done;
  }

  get isClear(): boolean {
    const { done, ending, chunk, assembly, headFill } = this.#connection;
    if (done) return true;
    if (this.#isEnded || ending) return false;
    const isTaken = chunk === undefined && assembly === undefined && headFill === 0;
    return isTaken && this.#stream.readableLength === 0;
  }

  push(frame: Buffer): void {
    if (!this.#connection.ending) this.#stream.push(frame);
  }

  end(): void {
    this.#isEnded = true;
    this.#stream.push(null);
  }

  interrupt(): void {
    this.#isEnded = true;
    this.#intake.end(this.#connection, End.INTERRUPTED, 'the link broke');
  }
}

/** A header that tells a session's sensor and type, and nothing else. */
function headerOf(sensor: string, type: number): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header[OFFSET_VERSION] = PROTOCOL_VERSION;
  header[OFFSET_TYPE] = type;
  parseUuid(sensor)!.copy(header, OFFSET_UUID);
  return header;
}
