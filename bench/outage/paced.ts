import { createSecretKey } from 'node:crypto';
import type { Socket } from 'node:net';
import { openConnection } from '../load/connect.js';
import { makeStream, payloadOf, type Stream, sensorUuid } from '../load/frames.js';

const TICK_MS = 10;
/** Of what a socket has not taken: then the gateway holds its sensor back. */
const HELD_BYTES = 1024 * 1024;

/** Sensors that send at a steady rate: whether a gateway takes it all in time shows in what is late. */
export class PacedLoad {
  readonly #streams: readonly Stream[];
  readonly #sockets: readonly Socket[];
  readonly #bytesPerSecond: number;
  readonly #since = performance.now();
  readonly #timer: NodeJS.Timeout;
  readonly #places: number[];
  /** Payload bytes that were written. */
  sentBytes = 0;
  /** The most that it was behind its rate, in ms. */
  lateMsMax = 0;

  /** @param first number of the first sensor */
  static async start(
    to: { host: string; port: number },
    options: { key: Buffer; payloadBytes: number; streams: number; first: number; gbps: number },
  ): Promise<PacedLoad> {
    const { key, payloadBytes, streams, first, gbps } = options;
    const payload = payloadOf('jsonl', payloadBytes, streams);
    const secret = createSecretKey(key);
    const made = Array.from({ length: streams }, (_, index) =>
      makeStream(payload, payloadBytes, sensorUuid(first + index), secret),
    );
    const sockets = await Promise.all(made.map(() => openConnection({ kind: 'tls', ...to })));
    return new PacedLoad(made, sockets, (gbps * 1e9) / 8);
  }

  private constructor(streams: Stream[], sockets: Socket[], bytesPerSecond: number) {
    this.#streams = streams;
    this.#sockets = sockets;
    this.#bytesPerSecond = bytesPerSecond;
    this.#places = streams.map(() => 0);
    for (const socket of sockets) socket.resume();
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  #tick(): void {
    const due = ((performance.now() - this.#since) / 1000) * this.#bytesPerSecond;
    for (let index = 0; this.sentBytes < due && index < this.#sockets.length; index += 1) {
      const socket = this.#sockets[index]!;
      const { cycle, frameBytes, payloadBytes } = this.#streams[index]!;
      const share = Math.ceil((due - this.sentBytes) / (this.#sockets.length - index));
      const frames = Math.ceil(share / payloadBytes);
      for (let count = 0; count < frames && socket.writableLength < HELD_BYTES; count += 1) {
        const at = this.#places[index]!;
        socket.write(cycle.subarray(at, at + frameBytes));
        this.#places[index] = (at + frameBytes) % cycle.length;
        this.sentBytes += payloadBytes;
      }
    }
    const late = ((due - this.sentBytes) / this.#bytesPerSecond) * 1000;
    this.lateMsMax = Math.max(this.lateMsMax, late);
  }

  /** Ends its sessions, once all that was written is taken. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(
      this.#sockets.map((socket) => {
        const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
        socket.end();
        return closed;
      }),
    );
  }
}
