import { GatewayError } from '../errors.js';
import type { Connection, ConnectionEvents } from '../net/connection.js';
import { readIndex } from '../spool/spool-recovery.js';
import type { StreamSummary } from '../spool/types.js';
import type { Frame } from '../wire/frame-reader.js';
import { TYPE_EXTENDED, TYPE_META } from '../wire/types.js';
import {
  damageText,
  metaFrames,
  noDamage,
  openStream,
  type StoredFile,
  type StoredItem,
  segmentItems,
  streamFrames,
} from './frame-source.js';
import type { Pace } from './pace.js';

/** Failures that are told one by one. */
const FAILURES_TOLD_MAX = 5;

export interface FrameFilter {
  sensors?: ReadonlySet<string>;
  /** Of sessions: a type 254 stream's meta header goes with it. */
  types?: ReadonlySet<number>;
  /** Seconds since the epoch, of the frames' own headers. */
  from: number;
  until: number;
}

export interface ReplayOptions {
  connect(events: ConnectionEvents): Connection;
  connectionsMax: number;
  maxPayloadBytes: number;
  filter: FrameFilter;
  pace: Pace | undefined;
  targetName: string;
  say(line: string): void;
}

/**
 * Sends the sessions of files, each by a connection of its own. The files are read in order; sessions
 * that can't be sent beside those under way (there are too many, or one of the same sensor and
 * type is not over) are left to a further pass over the files.
 */
export class Replay {
  readonly sent = { sessions: 0, frames: 0, bytes: 0 };
  readonly #files: readonly StoredFile[];
  readonly #options: ReplayOptions;
  readonly #live = new Map<string, Sending>();
  /** Sessions that were sent, or failed, or never match. */
  readonly #over = new Set<string>();
  #deferred = new Set<string>();
  readonly #failures: string[] = [];
  #failed = 0;

  constructor(files: readonly StoredFile[], options: ReplayOptions) {
    this.#files = files;
    this.#options = options;
  }

  /** @throws GatewayError D4GW_E_CLIENT where the server can't be reached */
  async run(): Promise<void> {
    try {
      do {
        const before = this.#deferred;
        this.#deferred = new Set();
        await this.#pass(before);
        for (const sending of this.#live.values()) await this.#finish(sending);
      } while (this.#deferred.size > 0);
    } finally {
      for (const sending of this.#live.values()) sending.destroy();
    }
  }

  /** @throws GatewayError D4GW_E_CLIENT where something was not sent, or could not be read */
  throwFailures(): void {
    if (this.#failed === 0) return;
    const more = this.#failed - this.#failures.length;
    const lines = more > 0 ? [...this.#failures, `and ${more} more`] : this.#failures;
    throw new GatewayError('D4GW_E_CLIENT', lines.join('\n'));
  }

  /** @param wanted sessions that an earlier pass left; empty: all that are not over */
  async #pass(wanted: ReadonlySet<string>): Promise<void> {
    const isFirst = wanted.size === 0;
    for (const file of this.#files) {
      if (file.isSegment) await this.#segment(file.path, wanted, isFirst);
      else await this.#stream(file.path, wanted);
    }
  }

  async #segment(path: string, wanted: ReadonlySet<string>, isFirst: boolean): Promise<void> {
    if (!(await this.#mayMatch(path))) return;
    const damage = noDamage();
    for await (const items of segmentItems(path, damage)) {
      for (const item of items) await this.#item(item, wanted);
    }
    const text = damageText(damage);
    if (text !== undefined && isFirst) this.#fail(`${path}: ${text}`);
  }

  async #item(item: StoredItem, wanted: ReadonlySet<string>): Promise<void> {
    const session = item.kind === 'frame' ? item.frame.session : item.session;
    if (session === undefined || (wanted.size > 0 && !wanted.has(session.id))) return;
    if (item.kind === 'end') {
      const sending = this.#live.get(session.id);
      if (sending !== undefined) await this.#finish(sending);
      return;
    }
    const { id, sensor, type, meta } = session;
    const isWanted =
      item.kind === 'frame'
        ? this.#matches(sensor, type, item.frame)
        : // A meta header without data is a stream too; one of another time is none.
          meta !== undefined && this.#isOf(sensor, type) && this.#isOfAllTime;
    const sending = isWanted ? this.#sendingOf(id, sensor, type) : undefined;
    if (sending === undefined) return;
    if (!sending.isIntroduced) {
      sending.isIntroduced = true;
      for (const frame of metaFrames(session)) await this.#send(sending, frame);
    }
    if (item.kind === 'frame') await this.#send(sending, item.frame);
  }

  async #stream(path: string, wanted: ReadonlySet<string>): Promise<void> {
    if (this.#over.has(path) || (wanted.size > 0 && !wanted.has(path))) return;
    const input = openStream(path);
    let sending: Sending | undefined;
    try {
      for await (const frames of streamFrames(input, this.#options.maxPayloadBytes)) {
        for (const frame of frames) {
          const { uuid, type } = frame.header;
          const streamType = type === TYPE_META ? TYPE_EXTENDED : type;
          // A meta header goes with its stream, whatever its time.
          const isWanted =
            type === TYPE_META
              ? this.#isOf(uuid, streamType)
              : this.#matches(uuid, streamType, frame);
          if (!isWanted) continue;
          sending ??= this.#sendingOf(path, uuid, streamType);
          if (sending === undefined) return;
          await this.#send(sending, frame);
        }
      }
    } catch (error) {
      if (error instanceof GatewayError) throw error;
      this.#fail(`${path}: ${(error as Error).message}`);
    } finally {
      input.destroy();
    }
    if (sending !== undefined) await this.#finish(sending);
  }

  #sendingOf(id: string, sensor: string, type: number): Sending | undefined {
    const live = this.#live.get(id);
    if (live !== undefined) return live;
    if (this.#over.has(id) || this.#deferred.has(id)) return undefined;
    const stream = `${sensor}/${type}`;
    const isTaken = [...this.#live.values()].some((other) => other.stream === stream);
    if (isTaken || this.#live.size >= this.#options.connectionsMax) {
      this.#deferred.add(id);
      return undefined;
    }
    const sending = new Sending(id, stream, this.#options.connect);
    this.#live.set(id, sending);
    return sending;
  }

  async #send(sending: Sending, frame: Frame): Promise<void> {
    if (sending.isOver) return;
    await this.#options.pace?.wait(frame.bytes.length);
    if (!(await sending.write(frame.bytes))) {
      this.#noteEnd(sending);
      return;
    }
    this.sent.frames += 1;
    this.sent.bytes += frame.header.size;
  }

  async #finish(sending: Sending): Promise<void> {
    await sending.end();
    this.#live.delete(sending.id);
    this.#over.add(sending.id);
    if (sending.error === undefined) this.sent.sessions += 1;
    else this.#noteEnd(sending);
  }

  /** A connection ended that should not have; where none ever was, all is over. */
  #noteEnd(sending: Sending): void {
    if (sending.isTold) return;
    sending.isTold = true;
    const { targetName } = this.#options;
    const reason = sending.error?.message ?? 'the connection ended';
    if (!sending.wasOpen) {
      throw new GatewayError('D4GW_E_CLIENT', `${targetName}: ${reason}`, { cause: sending.error });
    }
    this.#fail(`${targetName} did not take all of session ${sending.id}: ${reason}`);
  }

  #fail(text: string): void {
    this.#failed += 1;
    if (this.#failures.length < FAILURES_TOLD_MAX) this.#failures.push(text);
  }

  /** Whether a segment may hold something that is wanted, as far as its index tells. */
  async #mayMatch(path: string): Promise<boolean> {
    const index = path.endsWith('.d4s') ? await readIndex(path) : undefined;
    return index === undefined || index.streams.some((stream) => this.#mayHold(stream));
  }

  #mayHold({ sensor, type, firstTime, lastTime }: StreamSummary): boolean {
    const { from, until } = this.#options.filter;
    return this.#isOf(sensor, type) && lastTime >= from && firstTime < until;
  }

  get #isOfAllTime(): boolean {
    const { from, until } = this.#options.filter;
    return from === 0 && until === Number.POSITIVE_INFINITY;
  }

  #isOf(sensor: string, type: number): boolean {
    const { sensors, types } = this.#options.filter;
    return (sensors?.has(sensor) ?? true) && (types?.has(type) ?? true);
  }

  #matches(sensor: string, type: number, { header }: Frame): boolean {
    const { from, until } = this.#options.filter;
    const seconds = Number(header.timestamp);
    return this.#isOf(sensor, type) && seconds >= from && seconds < until;
  }
}

/** One session on its way. */
class Sending {
  readonly id: string;
  /** Sensor and type: a server takes one session of them at a time. */
  readonly stream: string;
  readonly #connection: Connection;
  /** Its meta header was sent, if it has one. */
  isIntroduced = false;
  wasOpen = false;
  isOver = false;
  isTold = false;
  error: Error | undefined;
  #isEnding = false;
  #wake: (() => void) | undefined;

  constructor(id: string, stream: string, connect: ReplayOptions['connect']) {
    this.id = id;
    this.stream = stream;
    this.#connection = connect({
      open: () => {
        this.wasOpen = true;
        this.#wake?.();
      },
      drain: () => this.#wake?.(),
      closed: ({ error, finished }) => {
        this.isOver = true;
        if (error || !finished || !this.#isEnding) {
          this.error = error ?? new Error('the server closed it');
        }
        this.#wake?.();
      },
    });
  }

  /** Resolves once the bytes may be forgotten; false where the connection ended. */
  async write(bytes: Buffer): Promise<boolean> {
    while (!this.#connection.writable && !this.isOver) await this.#change();
    if (this.isOver) return false;
    this.#connection.write(bytes);
    return true;
  }

  /** Ends it in order, and waits for the server to have read it all. */
  async end(): Promise<void> {
    while (!this.wasOpen && !this.isOver) await this.#change();
    if (this.isOver) return;
    this.#isEnding = true;
    this.#connection.end();
    while (!this.isOver) await this.#change();
  }

  destroy(): void {
    this.#connection.destroy();
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}
