import assert from 'node:assert/strict';
import { join } from 'node:path';
import type { LedgerReport, RelayReport } from '../../src/ledger/report.js';
import { FrameEncoder } from '../../src/wire/header.js';
import { freePort } from '../support/ports.js';
import { tempDir } from '../support/tmp.js';
import type { Gateway, GatewayOptions } from './gateway.js';
import { packetsOf, RECORDED_KEY, type Sensor, sharedSecret, untilLedger } from './peers.js';

export const PCAP = 1;
const FILE_HEADER_BYTES = 24;
const PACKET_HEADER_BYTES = 16;

/** Options of a gateway that relays to a port of this machine, and stores beside it. */
export function relaying(
  to: string,
  relay: Record<string, unknown> = {},
  config: Record<string, unknown> = {},
): GatewayOptions {
  return sharedSecret({
    sinks: {
      disk: { kind: 'files', dir: './data/sensors', flushMs: 100 },
      partner: { kind: 'relay', to, ...relay },
    },
    routes: [{ match: {}, to: ['disk', 'partner'] }],
    ...config,
  });
}

/** A gateway that can be started again on the ports that it had. */
export async function steady(config: Record<string, unknown> = {}) {
  const [tls, tcp] = [await freePort(), await freePort()];
  const options = sharedSecret({
    listen: [{ tls: { host: '127.0.0.1', port: tls } }, { tcp: { host: '127.0.0.1', port: tcp } }],
    ...config,
  });
  return { options, tls, tcp, certFile: join(options.dir!, 'data', 'tls', 'cert.pem') };
}

/** Packets that carry their number, and are told from each other. */
export function packet(number: number, bytes = 100): Buffer {
  const head = Buffer.alloc(PACKET_HEADER_BYTES);
  for (const [index, value] of [number, 0, bytes, bytes].entries()) {
    head.writeUInt32LE(value, 4 * index);
  }
  return Buffer.concat([head, Buffer.alloc(bytes, number & 0xff)]);
}

export function fileHeader(): Buffer {
  const header = Buffer.alloc(FILE_HEADER_BYTES);
  header.writeUInt32LE(0xa1b2c3d4, 0);
  header.writeUInt16LE(2, 4);
  header.writeUInt16LE(4, 6);
  header.writeUInt32LE(262_144, 16);
  header.writeUInt32LE(1, 20); // Ethernet
  return header;
}

/** A capture that is streamed in frames cut anywhere. */
export class Capture {
  readonly #encoder: FrameEncoder;
  #rest = fileHeader();
  packets = 0;
  frames = 0;
  bytes = 0;

  constructor(
    readonly sensor: Sensor,
    readonly frameBytes = 700,
    readonly packetBytes = 100,
  ) {
    const { uuid, key } = sensor;
    this.#encoder = new FrameEncoder({ type: PCAP, uuid, key: Buffer.from(key) });
  }

  /** Frames of so many more packets; what does not fill one waits, unless it is the last. */
  next(packets: number, isLast = false): Buffer {
    const parts = [this.#rest];
    for (let count = 0; count < packets; count += 1) {
      parts.push(packet(this.packets, this.packetBytes));
      this.packets += 1;
    }
    const all = Buffer.concat(parts);
    const frames: Buffer[] = [];
    let at = 0;
    while (at + this.frameBytes <= all.length || (isLast && at < all.length)) {
      const payload = all.subarray(at, at + this.frameBytes);
      frames.push(this.#encoder.encode(payload, Math.floor(Date.now() / 1000)));
      this.bytes += payload.length;
      at += payload.length;
    }
    this.#rest = all.subarray(at);
    this.frames += frames.length;
    return Buffer.concat(frames);
  }
}

/** Numbers of the packets that tcpdump reads in each of a sensor's files, in their order. */
export function numbersOf(gateway: Gateway, uuid: string): number[][] {
  const hex = uuid.replaceAll('-', '');
  const files = gateway.files().filter((file) => file.startsWith(`${hex}/`));
  return files.map((file) => {
    assert.match(file, /\.cap$/, 'every file is a capture');
    const { packets, error } = packetsOf(join(gateway.sensorsDir, file));
    // Where a connection broke, the record under way is cut; those before it are whole.
    if (error !== undefined) assert.match(error, /truncated dump file/, file);
    return packets.map((bytes) => bytes.readUInt32LE(0));
  });
}

/**
 * Each packet is there at least once, and in order: a file goes on behind the one before it, or
 * repeats the end of what came.
 */
export function assertAllPackets(files: readonly number[][], count: number): { repeated: number } {
  let next = 0;
  let repeated = 0;
  for (const numbers of files) {
    if (numbers.length === 0) continue;
    const first = numbers[0]!;
    assert.ok(first <= next, `a file begins with packet ${first}, ${next} were there`);
    for (const [index, number] of numbers.entries()) assert.equal(number, first + index);
    repeated += next - first;
    next = Math.max(next, first + numbers.length);
  }
  assert.equal(next, count, 'all packets are there');
  return { repeated };
}

export function relayOf(report: LedgerReport, name = 'partner'): RelayReport | undefined {
  return report.relays.find(({ sink }) => sink === name);
}

/** The near ledger once the relay has sent all that it took, which is so much. */
export function untilSent(gateway: Gateway, frames: number, what: string): Promise<LedgerReport> {
  return untilLedger(
    gateway,
    (report) => {
      const relay = relayOf(report);
      return relay?.sent.frames === frames && relay.waiting.frames === 0;
    },
    what,
  );
}

export { RECORDED_KEY, tempDir };
