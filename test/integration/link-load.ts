import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { TYPE_LOG, TYPE_PCAP } from '../../src/wire/types.js';
import type { Gateway } from './gateway.js';
import { Sensor, uuidOf } from './peers.js';
import type { Random } from './traffic.js';

const PCAP_HEADER_BYTES = 24;
const FRAME_BYTES_MAX = 12_000;
/** What one stream sends at most before it ends and another begins. */
const STREAM_BYTES_MAX = 1_500_000;
const PAUSE_MS = 4;

/** A stream of records without end, cut into frames anywhere. */
class Content {
  readonly #random: Random;
  readonly #type: number;
  #left: Buffer = Buffer.alloc(0);
  #records = 0;

  constructor(type: number, random: Random) {
    this.#type = type;
    this.#random = random;
    if (type !== TYPE_PCAP) return;
    const header = Buffer.alloc(PCAP_HEADER_BYTES);
    header.writeUInt32LE(0xa1b2c3d4);
    header.writeUInt16LE(2, 4);
    header.writeUInt16LE(4, 6);
    header.writeUInt32LE(65_535, 16);
    header.writeUInt32LE(1, 20);
    this.#left = header;
  }

  next(bytes: number): Buffer {
    const parts: Buffer[] = [this.#left];
    let length = this.#left.length;
    while (length < bytes) {
      const record = this.#record();
      parts.push(record);
      length += record.length;
    }
    const all = Buffer.concat(parts, length);
    this.#left = all.subarray(bytes);
    return all.subarray(0, bytes);
  }

  #record(): Buffer {
    const number = this.#records;
    this.#records += 1;
    const size = 20 + this.#random(1_400);
    if (this.#type !== TYPE_PCAP) return Buffer.from(`${number} ${'x'.repeat(size)}\n`);
    const record = Buffer.alloc(16 + size, number % 251);
    record.writeUInt32LE(number, 0);
    record.writeUInt32LE(size, 8);
    record.writeUInt32LE(size, 12);
    return record;
  }
}

/** One session: what it sent, and how it ended. */
export interface Sent {
  sensor: Sensor;
  type: number;
  payloads: Buffer[];
  /** The gateway's ledger has it as ended in order. */
  isWhole: boolean;
}

/** Sensors that stream without end to a gateway that may be killed: each session has a UUID of its own. */
export class Load {
  readonly sent: Sent[] = [];
  readonly #random: Random;
  #gateway: Gateway | undefined;
  #isOver = false;
  readonly #running: Promise<void>[];
  #next: number;

  constructor(sensors: number, random: Random, first: number) {
    this.#random = random;
    this.#next = first;
    this.#running = Array.from({ length: sensors }, () => this.#run());
  }

  /** Where they connect from now on; nowhere while it is undefined. */
  set gateway(gateway: Gateway | undefined) {
    this.#gateway = gateway;
  }

  get bytes(): number {
    return this.sent.reduce((sum, { payloads }) => sum + lengthOf(payloads), 0);
  }

  /** Ends the streams in order. */
  async end(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#running);
  }

  async #run(): Promise<void> {
    while (!this.#isOver) {
      const socket = await this.#gateway?.tls().catch(() => undefined);
      if (socket) await this.#stream(socket);
      else await pause(50);
    }
  }

  async #stream(socket: Socket): Promise<void> {
    const type = [TYPE_PCAP, TYPE_LOG][this.#random(2)]!;
    const sensor = new Sensor(uuidOf(this.#next), type);
    this.#next += 1;
    const sent: Sent = { sensor, type, payloads: [], isWhole: false };
    this.sent.push(sent);
    const content = new Content(type, this.#random);
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    socket.resume();
    let bytes = 0;
    const most = this.#random(STREAM_BYTES_MAX);
    while (!this.#isOver && !socket.destroyed && bytes < most) {
      const payload = content.next(this.#random(FRAME_BYTES_MAX));
      bytes += payload.length;
      sent.payloads.push(payload);
      const isFull = !socket.write(sensor.frame(payload));
      if (isFull) {
        await Promise.race([new Promise((resolve) => socket.once('drain', resolve)), closed]);
      } else await pause(PAUSE_MS);
    }
    if (socket.destroyed) return;
    socket.end();
    await closed;
  }
}

export function lengthOf(parts: readonly Buffer[]): number {
  return parts.reduce((sum, { length }) => sum + length, 0);
}

/** The bytes of a session as the gateway's files hold them, without what later files repeat. */
export function storedBy(
  gateway: Gateway,
  files: readonly string[],
  { sensor, type }: Sent,
): Buffer {
  const own = files.filter((file) => file.startsWith(`${sensor.hex}/`));
  const parts = own.map((file) => gateway.read(file));
  if (type !== TYPE_PCAP || parts.length === 0) return Buffer.concat(parts);
  const [first, ...rest] = parts;
  return Buffer.concat([first!, ...rest.map((part) => part.subarray(PCAP_HEADER_BYTES))]);
}

/** Fails where a pcap of a session does not read to its end; the last may end as the stream did. */
export function checkCaptures(gateway: Gateway, files: readonly string[], { sensor }: Sent): void {
  const own = files.filter((file) => file.startsWith(`${sensor.hex}/`) && file.endsWith('.cap'));
  for (const file of own.slice(0, -1)) {
    const path = join(gateway.sensorsDir, file);
    const { status, stderr } = spawnSync('tcpdump', ['-n', '-r', path, '-w', '/dev/null']);
    assert.equal(status, 0, `${file}: ${stderr}`);
  }
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
