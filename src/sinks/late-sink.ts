import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { SinkConfig } from '../config/schema.js';
import { messageOf } from '../errors.js';
import { HEADER_BYTES } from '../wire/layout.js';
import type {
  FrameRef,
  Rest,
  SessionEnd,
  Sink,
  SinkSession,
  SinkStatus,
  SinkStream,
} from './sink.js';

const RETRY_MS_MIN = 1_000;
const RETRY_MS_MAX = 10_000;
/** What one that could not start gets to be closed. */
const DISCARD_DEADLINE_MS = 1_000;
const CLOSE_DEADLINE_MS = 8_000;

export interface LateSinkOptions {
  /** It could not start: nothing was given to it. */
  sink: Sink;
  error: unknown;
  /** The same once more; under another configuration where one is given. */
  make(config?: SinkConfig): Sink;
  /** The data path may go on. */
  drain(): void;
  /** The worker's, where frames lie. */
  memory: Uint8Array;
  log: Logger;
}

/**
 * Stands for a sink that could not start, and tries it again for as long as it takes. Its sensors are
 * held back meanwhile as by a sink that is full; what the ring had of them is kept here, and given on
 * once the sink has started. All other sinks go on.
 */
export class LateSink implements Sink {
  readonly name: string;
  readonly kind: string;
  readonly #options: LateSinkOptions;
  readonly #log: Logger;
  #sink: Sink;
  #isStarted = false;
  #config: SinkConfig | undefined;
  #lastError: { text: string; at: number };
  readonly #waiting = new Set<WaitingStream>();
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  #closing: Promise<void> | undefined;

  constructor(options: LateSinkOptions) {
    const { sink, error } = options;
    this.name = sink.name;
    this.kind = sink.kind;
    this.#options = options;
    this.#log = options.log.child({ sink: sink.name });
    this.#sink = sink;
    this.#lastError = { text: messageOf(error), at: Date.now() };
    const text = 'a sink cannot start: it is tried again, and its sensors wait';
    this.#log.error({ error: messageOf(error) }, text);
    this.#running = this.#run();
  }

  status(): SinkStatus {
    if (this.#isStarted) return this.#sink.status?.() ?? { state: 'ok' };
    return { state: 'failing', isKeeping: false, lastError: this.#lastError };
  }

  declines(session: SinkSession, frame?: FrameRef): string | undefined {
    return this.#sink.declines?.(session, frame);
  }

  open(session: SinkSession): SinkStream {
    if (this.#isStarted) return this.#sink.open(session);
    const stream = new WaitingStream(session, this.#options.memory);
    if (this.#closing) stream.giveUp();
    else this.#waiting.add(stream);
    return stream;
  }

  async reconfigure(config: SinkConfig): Promise<void> {
    this.#config = config;
    if (this.#isStarted) await this.#sink.reconfigure?.(config);
  }

  close(deadlineMs = CLOSE_DEADLINE_MS): Promise<void> {
    this.#closing ??= this.#close(deadlineMs);
    return this.#closing;
  }

  /** It is not wanted any more: if it has not started, nothing waits for it from now on. */
  giveUp(): void {
    if (!this.#isStarted) void this.close(DISCARD_DEADLINE_MS);
  }

  async #close(deadlineMs: number): Promise<void> {
    const until = performance.now() + deadlineMs;
    this.#stop.abort();
    // An attempt that is under way ends by itself, or the disk has it for good.
    await Promise.race([this.#running, sleep(deadlineMs, undefined, { ref: false })]);
    if (this.#isStarted) await this.#sink.close(Math.max(until - performance.now(), 0));
    if (this.#waiting.size > 0) {
      const text = 'a sink never started: what waited for it is given up, and counts as lost';
      this.#log.error({ sessions: this.#waiting.size }, text);
    }
    for (const stream of this.#waiting) stream.giveUp();
    this.#waiting.clear();
    if (!this.#isStarted) this.#options.drain();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    await this.#discard(this.#sink);
    for (
      let delayMs = RETRY_MS_MIN;
      !signal.aborted;
      delayMs = Math.min(2 * delayMs, RETRY_MS_MAX)
    ) {
      await sleep(delayMs, undefined, { signal, ref: false }).catch(() => {});
      if (!signal.aborted && (await this.#attempt())) return;
    }
  }

  async #attempt(): Promise<boolean> {
    let sink: Sink | undefined;
    try {
      sink = this.#options.make(this.#config);
      await sink.start?.();
    } catch (error) {
      this.#lastError = { text: messageOf(error), at: Date.now() };
      if (sink) await this.#discard(sink);
      return false;
    }
    if (this.#stop.signal.aborted && this.#waiting.size === 0) {
      await this.#discard(sink);
      return true;
    }
    this.#sink = sink;
    this.#isStarted = true;
    this.#log.info({ sessions: this.#waiting.size }, 'a sink that could not start has started');
    let isFull = false;
    for (const stream of this.#waiting) {
      if (!stream.giveOn(sink, this.#log)) isFull = true;
    }
    this.#waiting.clear();
    // One that is full says itself when it is not.
    if (!isFull) this.#options.drain();
    return true;
  }

  async #discard(sink: Sink): Promise<void> {
    await sink.close(DISCARD_DEADLINE_MS).catch((error: unknown) => {
      this.#log.warn({ error: messageOf(error) }, 'a sink that could not start cannot be closed');
    });
  }
}

/** What a session brought before its sink had started: the ring held no more of it. */
class WaitingStream implements SinkStream {
  readonly #session: SinkSession;
  readonly #memory: Uint8Array;
  #frames: FrameRef[] = [];
  /** Undefined while it waits; null where nothing takes what comes. */
  #stream: SinkStream | null | undefined;
  readonly #isGiven: Promise<void>;
  #given = () => {};

  constructor(session: SinkSession, memory: Uint8Array) {
    this.#session = session;
    this.#memory = memory;
    this.#isGiven = new Promise((resolve) => {
      this.#given = resolve;
    });
  }

  write(frame: FrameRef): boolean {
    if (this.#stream !== undefined) return this.#stream?.write(frame) ?? true;
    const { header, size, type } = frame;
    const memory = Buffer.from(this.#memory.subarray(header, header + HEADER_BYTES + size));
    this.#frames.push({ memory, header: 0, payload: HEADER_BYTES, size, type });
    return false;
  }

  async end(how?: SessionEnd): Promise<void> {
    await this.#isGiven;
    await this.#stream?.end(how);
  }

  async sync(): Promise<Rest | undefined> {
    await this.#isGiven;
    if (!this.#stream) throw new Error('a sink that it goes to has not started');
    return await this.#stream.sync?.();
  }

  /** @returns false where the sink asks for no more */
  giveOn(sink: Sink, log: Logger): boolean {
    const frames = this.#frames.splice(0);
    const reason = sink.declines?.(this.#session, frames[0]);
    if (reason !== undefined) {
      const text = 'a stream that waited for a sink is declined: what waited counts as lost there';
      log.error({ session: this.#session.id, reason, frames: frames.length }, text);
      this.giveUp();
      return true;
    }
    const stream = sink.open(this.#session);
    this.#stream = stream;
    let isFull = false;
    for (const frame of frames) isFull = !stream.write(frame);
    this.#given();
    return !isFull;
  }

  giveUp(): void {
    this.#frames = [];
    this.#stream = null;
    this.#given();
  }
}
