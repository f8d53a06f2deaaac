import type { Connection, ConnectionEvents } from '../../src/net/connection.js';
import { type Frame, FrameReader } from '../../src/wire/frame-reader.js';

/** A connection that opens, takes, fills up and breaks when the test says so. */
export class FakeConnection implements Connection {
  readonly #events: ConnectionEvents;
  readonly #flushes: ((() => void) | undefined)[] = [];
  readonly #written: Buffer[] = [];
  #isOpen = false;
  isFull = false;
  isEnded = false;

  constructor(events: ConnectionEvents) {
    this.#events = events;
  }

  get writable(): boolean {
    return this.#isOpen && !this.isFull && !this.isEnded;
  }

  /** The frames written, as text: `type:payload`. */
  get frames(): string[] {
    const frames: string[] = [];
    const reader = new FrameReader({ maxPayloadBytes: 1_000_000 });
    const show = ({ header, payload }: Frame) => frames.push(`${header.type}:${payload}`);
    for (const bytes of this.#written) for (const frame of reader.push(bytes)) show(frame);
    reader.end();
    return frames;
  }

  write(bytes: Buffer, flushed?: () => void): void {
    this.#written.push(bytes);
    this.#flushes.push(flushed);
  }

  end(): void {
    this.isEnded = true;
  }

  destroy(): void {
    this.#isOpen = false;
  }

  open(): void {
    this.#isOpen = true;
    this.#events.open();
  }

  /** The oldest `count` frames are in the kernel. */
  flush(count = this.#flushes.length): void {
    for (const flushed of this.#flushes.splice(0, count)) flushed?.();
  }

  drain(): void {
    this.isFull = false;
    this.#events.drain();
  }

  /** The connection is gone. */
  close(error?: Error): void {
    this.#isOpen = false;
    const finished = this.isEnded && this.#flushes.length === 0;
    this.#events.closed(error ? { error, finished } : { finished });
  }
}
