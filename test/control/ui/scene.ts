import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { after } from 'node:test';
import { ALL_SENSORS, LAYOUTS, recordKey, UNITS, type Unit } from '../../../src/history/layout.js';
import { openRegistry } from '../../../src/registry/lmdb.js';
import { openEnvironment } from '../../../src/storage/environment.js';
import { Sensor, until, uuidOf } from '../../integration/peers.js';
import { Content, type Kind } from '../../integration/traffic.js';
import { freePort } from '../../support/ports.js';
import { tempDir } from '../../support/tmp.js';
import { Controlled } from '../api.js';

const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const SEND_MS = 200;
const KEY = 'a key of the scene';
const CONTACT = 'noc@example.org';

interface Cast {
  name: string;
  type: number;
  kind: Kind;
  groups: string[];
  /** Sent each `SEND_MS`. */
  bytes: number;
}

/** The sensors that send. */
const CAST: readonly Cast[] = [
  { name: 'ams-blackhole-1', type: 1, kind: 'pcap', groups: ['blackhole', 'ams'], bytes: 60_000 },
  { name: 'ams-blackhole-2', type: 1, kind: 'pcap', groups: ['blackhole', 'ams'], bytes: 42_000 },
  { name: 'fra-blackhole-1', type: 1, kind: 'pcap', groups: ['blackhole', 'fra'], bytes: 28_000 },
  { name: 'fra-pdns', type: 8, kind: 'lines', groups: ['pdns', 'fra'], bytes: 24_000 },
  { name: 'lux-pdns', type: 8, kind: 'lines', groups: ['pdns', 'lux'], bytes: 17_000 },
  { name: 'lux-syslog', type: 3, kind: 'lines', groups: ['lux'], bytes: 9_000 },
  { name: 'par-honeypot-ssh', type: 6, kind: 'jsonl', groups: ['honeypot', 'par'], bytes: 13_000 },
  { name: 'par-honeypot-web', type: 6, kind: 'jsonl', groups: ['honeypot', 'par'], bytes: 7_000 },
];

export const SENDING = CAST.map(({ type }, index) => new Sensor(uuidOf(index + 1), type, KEY));
export const PENDING = [uuidOf(101), uuidOf(102), uuidOf(103)];
export const BLOCKED = uuidOf(111);
export const SILENT = uuidOf(112);

/**
 * A gateway with a bit of everything: sensors that send, and have for days; some that wait, are
 * blocked, or are silent; peers that are rejected; a relay whose upstream is away.
 */
export async function startScene(): Promise<Controlled> {
  const dir = tempDir('scene');
  const dataDir = join(dir, 'data');
  await populate(dataDir);
  await writePast(dataDir);
  const control = await Controlled.start({
    dir,
    config: {
      sinks: {
        disk: { kind: 'files', dir: './data/sensors', flushMs: 100 },
        archive: { kind: 'archive', dir: './data/archive' },
        partner: {
          kind: 'relay',
          to: `tcp://127.0.0.1:${await freePort()}`,
          spool: { maxBytes: '64MiB' },
        },
      },
      routes: [
        { match: {}, to: ['disk', 'archive'] },
        { match: { groups: ['pdns'] }, to: ['partner'] },
      ],
      alerts: { silence: [{ groups: ['silent'], seconds: 1 }] },
    },
  });
  await control.ok('POST', '/api/v1/addresses/block', { address: '203.0.113.0/24' });
  await control.ok('POST', '/api/v1/addresses/block', { address: '2001:db8:bad::/48' });
  for (const [index, sensor] of SENDING.entries()) await stream(control, sensor, CAST[index]!);
  await beRejected(control);
  return control;
}

async function populate(dataDir: string): Promise<void> {
  const registry = openRegistry(dataDir, {});
  try {
    for (const [index, { name, groups }] of CAST.entries()) {
      const { uuid } = SENDING[index]!;
      const about = { name, groups, contact: CONTACT, description: 'Made for a look at the page' };
      await registry.add({ uuid, key: Buffer.from(KEY), ...about });
    }
    for (const [index, uuid] of PENDING.entries()) {
      const description = `Registered over the API, number ${index + 1}`;
      const about = { contact: `owner${index + 1}@example.net`, description };
      await registry.add({ uuid, key: Buffer.from(KEY), state: 'pending', ...about });
    }
    const key = Buffer.from(KEY);
    await registry.add({ uuid: BLOCKED, key, name: 'old-collector', groups: ['lux'] });
    await registry.block(BLOCKED);
    await registry.add({ uuid: SILENT, key, name: 'ber-darknet', groups: ['silent'] });
  } finally {
    await registry.close();
  }
}

/**
 * What the sensors sent before: days by the hour, and the last one by the minute. Written at once, in
 * the layout of the history: through the store each minute would wait for the disk.
 */
async function writePast(dataDir: string): Promise<void> {
  const records = new Map<string, number[]>();
  const add = (unit: Unit, at: number, sensor: string, type: number, amounts: number[]) => {
    const { chunk, step } = LAYOUTS[unit].place(at);
    const key = recordKey(unit, chunk, sensor, type);
    const numbers = records.get(key) ?? [];
    while (numbers.length < 2 * step + 2) numbers.push(0);
    for (const [index, amount] of amounts.entries()) numbers[2 * step + index]! += amount;
    records.set(key, numbers);
  };
  const addAll = (at: number, seconds: number) => {
    for (const [index, { type, bytes }] of CAST.entries()) {
      const day = 1 + 0.35 * Math.sin((2 * Math.PI * at) / DAY_MS + index);
      const noise = 0.85 + 0.3 * hash(at / MINUTE_MS + 97 * index);
      const total = Math.round(bytes * (1000 / SEND_MS) * seconds * day * noise);
      const frames = Math.max(Math.round(total / 4_000), 1);
      for (const unit of UNITS) {
        if (unit === 'minute' && seconds > 60) continue;
        for (const sensor of [SENDING[index]!.uuid, ALL_SENSORS]) {
          add(unit, at, sensor, type, [frames, total]);
        }
      }
    }
  };
  const now = Date.now();
  for (let at = now - 30 * DAY_MS; at < now - DAY_MS; at += HOUR_MS) addAll(at, 3_600);
  for (let at = now - DAY_MS; at <= now; at += MINUTE_MS) addAll(at, 60);
  const options = { readOnly: false, format: 1, mapBytes: 1024 ** 3 };
  const db = openEnvironment(join(dataDir, 'history'), options);
  db.transactionSync(() => {
    for (const [key, numbers] of records) void db.put(key, numbers);
  });
  await db.close();
}

/** The same number for the same argument, between 0 and 1. */
function hash(value: number): number {
  const mixed = Math.imul(Math.floor(value) ^ 0x9e3779b9, 0x85ebca6b);
  return ((mixed ^ (mixed >>> 13)) >>> 0) / 2 ** 32;
}

/** Sends until the test's file has run. */
export async function stream(control: Controlled, sensor: Sensor, cast: Omit<Cast, 'name'>) {
  const { gateway } = control;
  const socket: Socket = cast.type === 1 ? await gateway.tls() : await gateway.tcp();
  const random = (below: number) => Math.floor(Math.random() * below);
  const content = new Content(cast.kind, random);
  const send = () => {
    const bytes = content.next(cast.bytes * (0.7 + Math.random() * 0.6));
    for (let at = 0; at < bytes.length; at += 4_000) {
      socket.write(sensor.frame(bytes.subarray(at, at + 4_000)));
    }
  };
  send();
  const timer = setInterval(send, SEND_MS);
  const stop = () => {
    clearInterval(timer);
    socket.destroy();
  };
  socket.once('close', () => clearInterval(timer));
  after(stop);
  return socket;
}

/** Peers that are wrong, each in its own way. */
async function beRejected(control: Controlled): Promise<void> {
  const { gateway } = control;
  const stranger = new Sensor(uuidOf(900), 3, KEY);
  const wrongKey = new Sensor(SENDING[5]!.uuid, 6, 'not its key');
  const waiting = new Sensor(PENDING[0]!, 3, KEY);
  const blocked = new Sensor(BLOCKED, 3, KEY);
  for (const sensor of [stranger, wrongKey, waiting, blocked]) {
    await say(gateway.tcpPort, sensor.frame('a line\n'));
  }
  await say(gateway.tcpPort, Buffer.from(`GET / HTTP/1.1\r\nHost: d4\r\n\r\n${' '.repeat(62)}`));
  await until(async () => {
    const { total } = await control.ok('GET', '/api/v1/rejects');
    return total >= 5;
  }, 'all are rejected');
}

/** Says something, and waits until the gateway has enough of it. */
export async function say(port: number, bytes: Uint8Array): Promise<void> {
  const socket = connect({ host: '127.0.0.1', port });
  socket.on('error', () => {});
  socket.resume();
  socket.write(bytes);
  await new Promise((resolve) => socket.once('close', resolve));
}
