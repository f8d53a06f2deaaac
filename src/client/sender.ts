import type { KeyObject } from 'node:crypto';
import type { Readable } from 'node:stream';
import { GatewayError } from '../errors.js';
import type { Clock } from '../net/clock.js';
import type { Connection, ConnectionEvents } from '../net/connection.js';
import { CertificateError } from '../net/connection-error.js';
import { trackerOf } from '../streams/boundary.js';
import { FrameEncoder } from '../wire/header.js';
import { TYPE_EXTENDED, TYPE_META } from '../wire/types.js';
import { InputPayloads } from './stream.js';
import { ResendWindow } from './window.js';

/** Waits between attempts: doubled each time, with jitter, from the first to the last. */
const RETRY_MS_MIN = 500;
const RETRY_MS_MAX = 30_000;
/** A connection that stood this long ends an outage. */
const STABLE_MS = 5_000;
/** A connection without input says who it is after this long, with an empty frame. */
const HELLO_MS = 10_000;
/** Once the input has ended and was taken, the rest must be out within this. */
const END_MS_MAX = 60_000;
/** After a signal, all must be out within this. */
const STOP_MS_MAX = 10_000;
/** After so many attempts in one outage the operator is told the likely cause. */
const HINT_ATTEMPTS = 5;
const HINT =
  'If the server ends each connection: is this sensor added and approved there, with this key?';

type TimerName = 'retry' | 'stable' | 'hello' | 'deadline';

export interface SenderOptions {
  uuid: string;
  key: KeyObject;
  type: number;
  /** With it, type 2 frames with these bytes come first and all others are of type 254. */
  metaHeader?: Buffer;
  snaplenBytes: number;
  input: Readable;
  /** For messages. */
  targetName: string;
  connect(events: ConnectionEvents): Connection;
  /** A server, which may come and go, rather than a local stream. */
  isNetwork: boolean;
  /** The first connection that fails or is lost is the end. */
  once: boolean;
  clock: Clock;
  /** Takes one line for the operator. */
  say(line: string): void;
  retryMsMin?: number;
  retryMsMax?: number;
}

/**
 * Sends one input as the frames of one sensor, over as many connections as it takes. All is driven
 * by events, and one method (`#pump`) decides what goes out next:
 *
 *     connect ─▶ open: meta header, prelude ─▶ pump: what is to be sent again, then new input
 *        ▲                                       │ end of input: an empty frame, the end
 *        └── wait (backoff) ◀── lost ◀───────────┘──▶ done
 */
export class Sender {
  readonly #options: SenderOptions;
  readonly #encoder: FrameEncoder;
  readonly #window: ResendWindow;
  readonly #input: InputPayloads;
  #connection: Connection | undefined;
  /** Whether any connection ever stood for a while. */
  #wasStable = false;
  #outageSince: number | undefined;
  #attempts = 0;
  /** The empty frame at the end of the stream is in the window. */
  #isLastPushed = false;
  #isOpen = false;
  /** The end was asked of the current connection. */
  #isEnding = false;
  #isStopped = false;
  readonly #cancels = new Map<TimerName, () => void>();
  #settle: { done: () => void; fail: (error: unknown) => void } | undefined;
  #frames = 0;
  #bytes = 0;

  constructor(options: SenderOptions) {
    this.#options = options;
    const { uuid, key, metaHeader } = options;
    const type = metaHeader ? TYPE_EXTENDED : options.type;
    this.#encoder = new FrameEncoder({ uuid, key, type });
    this.#window = new ResendWindow(trackerOf(type));
    this.#input = new InputPayloads(options.input, {
      bytesMax: options.snaplenBytes,
      clock: options.clock,
      onReady: () => this.#pump(),
    });
  }

  /** Frames and payload bytes written to connections so far, repeated ones included. */
  get sent(): { frames: number; bytes: number } {
    return { frames: this.#frames, bytes: this.#bytes };
  }

  /**
   * Resolves when the input has ended and all of it is out; once only.
   * @throws GatewayError D4GW_E_CLIENT or D4GW_E_CERTIFICATE
   */
  async run(): Promise<void> {
    try {
      await new Promise<void>((done, fail) => {
        this.#settle = { done, fail };
        this.#connect();
      });
    } finally {
      this.#settle = undefined;
      for (const cancel of this.#cancels.values()) cancel();
      this.#connection?.destroy();
      this.#input.destroy();
    }
  }

  /** Reads no more and sends what was read, with a deadline: `run` then resolves or throws. */
  stop(): void {
    this.#isStopped = true;
    this.#input.stop();
    this.#setDeadline(STOP_MS_MAX);
    this.#pump();
  }

  #connect(): void {
    this.#connection = this.#options.connect({
      open: () => this.#opened(),
      drain: () => this.#pump(),
      closed: (how) => this.#closed(how),
    });
  }

  #opened(): void {
    this.#after('stable', STABLE_MS, () => {
      this.#wasStable = true;
      this.#attempts = 0;
      if (this.#outageSince === undefined) return;
      const seconds = Math.round((this.#options.clock.now() - this.#outageSince) / 1000);
      this.#outageSince = undefined;
      this.#options.say(`connected to ${this.#options.targetName} again after ${seconds} s`);
    });
    this.#isOpen = true;
    this.#isEnding = false;
    const prelude = this.#window.rewind();
    const { metaHeader, uuid, key } = this.#options;
    if (metaHeader) {
      const encoder = new FrameEncoder({ uuid, key, type: TYPE_META });
      for (const part of this.#cut(metaHeader)) this.#write(part, encoder);
    }
    for (const part of this.#cut(Buffer.concat(prelude))) this.#write(part);
    if (this.#options.isNetwork && !metaHeader && prelude.length === 0) {
      this.#after('hello', HELLO_MS, () => {
        if (this.#connection?.writable) this.#write(Buffer.alloc(0));
      });
    }
    this.#pump();
  }

  #closed(how: { error?: Error; finished: boolean }): void {
    this.#cancel('stable');
    this.#cancel('hello');
    this.#connection = undefined;
    this.#isOpen = false;
    if (!this.#settle) return;
    const { targetName } = this.#options;
    if (how.finished) {
      if (!how.error) {
        this.#done();
        return;
      }
      const doubt = 'after the last frame: the server may not have taken all';
      this.#fail(`${targetName} broke the connection ${doubt} (${how.error.message})`);
      return;
    }
    const reason = how.error?.message ?? 'it was closed';
    if (how.error instanceof CertificateError && !this.#wasStable) {
      const message = `${targetName}: ${reason}`;
      const error = new GatewayError('D4GW_E_CERTIFICATE', message, { cause: how.error });
      this.#settle.fail(error);
      return;
    }
    if (this.#options.isNetwork && !this.#options.once) this.#retry(reason);
    else this.#fail(`${targetName}: ${reason}`);
  }

  #retry(reason: string): void {
    const { clock, say, targetName } = this.#options;
    if (this.#outageSince === undefined) {
      this.#outageSince = clock.now();
      say(`no connection to ${targetName}: ${reason}; trying again until there is one`);
    } else if (this.#attempts === HINT_ATTEMPTS) {
      say(`still no lasting connection to ${targetName} (${reason}). ${HINT}`);
    }
    const { retryMsMin = RETRY_MS_MIN, retryMsMax = RETRY_MS_MAX } = this.#options;
    const ceiling = Math.min(retryMsMax, retryMsMin * 2 ** Math.min(this.#attempts++, 30));
    // Half fixed, half by chance: sensors that lost one server do not return to it in step.
    this.#after('retry', ceiling / 2 + (Math.random() * ceiling) / 2, () => this.#connect());
    this.#pump();
  }

  /** Sends whatever may be sent now. Called whenever anything changed. */
  #pump(): void {
    if (!this.#settle) return;
    try {
      while (this.#connection?.writable && this.#step());
    } catch (error) {
      this.#settle.fail(error);
      return;
    }
    if (!this.#input.ended) return;
    // Stopped without a connection and with nothing to send: no reason to wait for one.
    if (this.#isStopped && !this.#isOpen && this.#window.unsentBytes === 0) {
      this.#done();
      return;
    }
    if (!this.#cancels.has('deadline')) this.#setDeadline(END_MS_MAX);
  }

  /** Writes one payload, or moves one in from the input; false when there is nothing to do. */
  #step(): boolean {
    const payload = this.#window.next();
    if (payload) {
      this.#write(payload, this.#encoder, () => this.#window.flushed());
      return true;
    }
    const read = this.#input.take();
    if (read) {
      this.#window.push(read);
      return true;
    }
    if (!this.#input.ended || this.#isEnding) return false;
    if (!this.#isLastPushed) {
      // As the C client: one empty frame ends each stream.
      this.#window.push(Buffer.alloc(0));
      this.#isLastPushed = true;
      return true;
    }
    this.#isEnding = true;
    this.#connection?.end();
    return false;
  }

  #write(payload: Buffer, encoder = this.#encoder, flushed?: () => void): void {
    this.#cancel('hello');
    const seconds = Math.floor(this.#options.clock.now() / 1000);
    this.#connection?.write(encoder.encode(payload, seconds), flushed);
    this.#frames++;
    this.#bytes += payload.length;
  }

  *#cut(bytes: Buffer): Generator<Buffer> {
    const { snaplenBytes } = this.#options;
    for (let start = 0; start < bytes.length; start += snaplenBytes) {
      yield bytes.subarray(start, start + snaplenBytes);
    }
  }

  #done(): void {
    const { error } = this.#input;
    if (error) {
      this.#fail(`the input failed: ${error.message}`);
      return;
    }
    this.#settle?.done();
  }

  #fail(message: string): void {
    this.#settle?.fail(new GatewayError('D4GW_E_CLIENT', message));
  }

  #setDeadline(ms: number): void {
    this.#after('deadline', ms, () => {
      const unsent = this.#window.unsentBytes + this.#input.heldBytes;
      const since = this.#isStopped ? 'the signal' : 'the end of input';
      const { targetName } = this.#options;
      this.#fail(
        `not all was sent to ${targetName} ${ms / 1000} s after ${since}: ${unsent} bytes left`,
      );
    });
  }

  #after(name: TimerName, ms: number, run: () => void): void {
    this.#cancel(name);
    const cancel = this.#options.clock.after(ms, () => {
      this.#cancels.delete(name);
      run();
    });
    this.#cancels.set(name, cancel);
  }

  #cancel(name: TimerName): void {
    this.#cancels.get(name)?.();
    this.#cancels.delete(name);
  }
}
