import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { after } from 'node:test';
import { gunzipSync } from 'node:zlib';
import type { LedgerReport } from '../../src/ledger/report.js';
import { randomOf } from '../ring/fixture.js';
import type { Gateway } from './gateway.js';
import { until } from './peers.js';
import {
  dataFiles,
  Feed,
  filesBySensor,
  type Kind,
  META,
  PCAP_HEADER_BYTES,
  type Random,
  type Source,
} from './traffic.js';

/** Sensors that a `Load` keeps connected. */
export const SENSORS = 12;
const FRAME_BYTES_MAX = 4_000;
const KIND_ORDER: readonly Kind[] = ['pcap', 'lines', 'jsonl', 'meta'];
const TRANSPORTS = ['tcp', 'tls', 'unix'] as const;

/** Sensors that send without end, each one that is cut off followed by a new one. */
export class Load {
  readonly feeds: Feed[] = [];
  readonly #gateway: Gateway;
  readonly #random: Random;
  #running = true;
  readonly #lanes: Promise<void>[];

  constructor(gateway: Gateway, random: Random) {
    this.#gateway = gateway;
    this.#random = random;
    // Where the test fails, no lane goes on without it.
    after(() => this.stop());
    this.#lanes = Array.from({ length: SENSORS }, (_, lane) => this.#keep(lane));
  }

  async #keep(lane: number): Promise<void> {
    const kind = KIND_ORDER[lane % KIND_ORDER.length]!;
    const transport = TRANSPORTS[lane % TRANSPORTS.length]!;
    while (this.#running) {
      const socket = await this.#gateway[transport]().catch(() => undefined);
      if (!socket) {
        await new Promise((resolve) => setTimeout(resolve, 20));
        continue;
      }
      const feed = new Feed(socket, kind, randomOf(this.#random(2 ** 31)), FRAME_BYTES_MAX);
      this.feeds.push(feed);
      await feed.closed();
    }
  }

  /** Resolves when so many bytes more are stored. */
  async more(bytes: number): Promise<void> {
    const stored = () =>
      [...filesBySensor(this.#gateway).values()]
        .flat()
        .reduce((sum, path) => sum + (statSync(path, { throwIfNoEntry: false })?.size ?? 0), 0);
    const goal = stored() + bytes;
    await until(() => stored() >= goal, 'the load goes on');
  }

  /** No sensor comes again. */
  stop(): void {
    this.#running = false;
  }

  /** All end in order. */
  async end(): Promise<void> {
    this.stop();
    await Promise.all(this.feeds.map((feed) => feed.end()));
    await Promise.all(this.#lanes);
  }

  /** All were cut off. */
  async over(): Promise<void> {
    this.stop();
    await Promise.all(this.#lanes);
  }
}

/** The files that are not finished. */
export const partsOf = (gateway: Gateway) =>
  [...filesBySensor(gateway).values()].flat().filter((path) => path.endsWith('.part'));

/** A file's content before compression. */
function contentOf(path: string): Buffer {
  if (path.endsWith('.gz')) return gunzipSync(readFileSync(path));
  if (path.endsWith('.lz4')) {
    return execFileSync('lz4', ['-dc', path], { maxBuffer: 2 ** 28, stdio: 'pipe' });
  }
  return readFileSync(path);
}

/**
 * Holds what is on disk to what was sent, and the ledger to both: of each sensor a beginning of its
 * stream, in whole records, of which the ledger counts every byte and no other.
 * @param feeds all that ever connected
 * @returns payload bytes that the ledger counts as lost
 */
export function checkStored(
  gateway: Gateway,
  report: LedgerReport,
  feeds: readonly { source: Source }[],
): number {
  const files = filesBySensor(gateway);
  assert.deepEqual(partsOf(gateway), []);
  const known = new Set(feeds.map(({ source }) => source.uuid));
  for (const { sensor } of report.sensors) assert.ok(known.has(sensor), `unknown ${sensor}`);
  let lost = 0;
  for (const { source } of feeds) {
    const own = files.get(source.hex) ?? [];
    const entry = report.sensors.find(({ sensor }) => sensor === source.uuid);
    const name = `${source.kind} ${source.uuid} ${JSON.stringify(entry)} ${own.join(' ')}`;
    if (!entry) {
      assert.deepEqual(own, [], name);
      continue;
    }
    const pieces = dataFiles(own).map((path) => ({ path, bytes: contentOf(path) }));
    for (const { path, bytes } of pieces) wholeRecords(path, bytes, source.kind);
    const stored = Buffer.concat(
      pieces.map(({ bytes }, index) =>
        source.kind === 'pcap' && index > 0 ? bytes.subarray(PCAP_HEADER_BYTES) : bytes,
      ),
    );
    const { payload } = source;
    assert.ok(stored.length <= payload.length, name);
    assert.ok(stored.equals(payload.subarray(0, stored.length)), `a beginning of it: ${name}`);
    const meta = own.filter((path) => path.endsWith('.json')).length > 0 ? META.length : 0;
    const [disk] = entry.sinks;
    if (!disk) {
      // Nothing of it had been routed.
      assert.equal(stored.length + meta, 0, name);
      continue;
    }
    assert.equal(disk.delivered.bytes, stored.length + meta, name);
    assert.equal(disk.inFlight.bytes, 0, name);
    assert.deepEqual(entry.rejected, {}, name);
    assert.ok(entry.received.bytes <= source.bytes, name);
    assert.equal(entry.received.bytes, disk.delivered.bytes + disk.lost.bytes, name);
    assert.equal(entry.received.frames, disk.delivered.frames + disk.lost.frames, name);
    lost += disk.lost.bytes;
  }
  return lost;
}

function wholeRecords(path: string, bytes: Buffer, kind: Kind): void {
  if (kind !== 'pcap') {
    assert.equal(bytes.at(-1), 0x0a, `${path} ends with a whole line`);
    return;
  }
  const { status, stderr } = spawnSync('tcpdump', ['-nr', '-', '-w', '/dev/null'], {
    input: bytes,
  });
  assert.equal(status, 0, `${path}: ${stderr}`);
}
