import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { after } from 'node:test';
import type { ServerAccount } from '../../bench/subjects/messages.js';
import type { Subject } from '../../bench/subjects/subject.js';
import { verifyFrame } from '../../src/wire/header.js';
import { HEADER_BYTES, OFFSET_SIZE } from '../../src/wire/layout.js';
import { uuidOfHeader } from '../../src/wire/uuid.js';

/**
 * A D4 server on TCP that counts verified frames by sensor, and loses every n-th where it is told
 * to. It runs in the test's own process.
 */
export class CountingServer implements Subject {
  readonly pid = process.pid;
  readonly host = '127.0.0.1';
  ports: { tcp?: number } = {};
  readonly sensors: NonNullable<ServerAccount['sensors']> = {};
  readonly problems: string[] = [];
  streamBytes = 0;
  readonly #server: Server;
  readonly #key: Buffer;
  readonly #loseEvery: number;
  #seen = 0;

  static async start(key: Buffer, loseEvery = Number.POSITIVE_INFINITY): Promise<CountingServer> {
    const server = new CountingServer(key, loseEvery);
    server.#server.listen(0, '127.0.0.1');
    await once(server.#server, 'listening');
    server.ports = { tcp: (server.#server.address() as AddressInfo).port };
    after(() => server.stop());
    return server;
  }

  private constructor(key: Buffer, loseEvery: number) {
    this.#key = key;
    this.#loseEvery = loseEvery;
    this.#server = createServer((socket) => this.#accept(socket));
  }

  get frames(): number {
    return Object.values(this.sensors).reduce((sum, { frames }) => sum + frames, 0);
  }

  #accept(socket: Socket): void {
    const parts: Buffer[] = [];
    socket.on('error', (error) => this.problems.push(error.message));
    socket.on('data', (chunk) => parts.push(chunk));
    socket.on('end', () => this.#count(Buffer.concat(parts)));
  }

  #count(stream: Buffer): void {
    this.streamBytes += stream.length;
    let at = 0;
    while (at + HEADER_BYTES <= stream.length) {
      const size = stream.readUInt32LE(at + OFFSET_SIZE);
      const end = at + HEADER_BYTES + size;
      const payload = stream.subarray(at + HEADER_BYTES, end);
      if (!verifyFrame(stream.subarray(at), payload, this.#key)) this.problems.push('bad HMAC');
      this.#seen += 1;
      if (this.#seen % this.#loseEvery !== 0) {
        const uuid = uuidOfHeader(stream, at);
        this.sensors[uuid] ??= { frames: 0, bytes: 0 };
        this.sensors[uuid].frames += 1;
        this.sensors[uuid].bytes += size;
      }
      at = end;
    }
    if (at !== stream.length) this.problems.push('a frame was cut');
  }

  async account(): Promise<ServerAccount> {
    return { sensors: structuredClone(this.sensors), problems: [...this.problems] };
  }

  async stop(): Promise<string[]> {
    this.#server.close();
    return [];
  }
}
