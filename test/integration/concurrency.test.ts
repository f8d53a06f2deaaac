import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import type { LedgerReport } from '../../src/ledger/report.js';
import { OFFSET_HMAC, OFFSET_SIZE, OFFSET_TYPE, OFFSET_UUID } from '../../src/wire/layout.js';
import { randomOf, runSeed } from '../ring/fixture.js';
import { Gateway } from './gateway.js';
import { RECORDED_KEY, Sensor, sharedSecret, untilLedger, write } from './peers.js';
import {
  dataFiles,
  filesBySensor,
  finish,
  gone,
  type Kind,
  META,
  type Random,
  readAll,
  Source,
  sendCut,
  sha256,
} from './traffic.js';

const SENSORS = 300;
/** Sensors of line types whose streams go to a second sink too, which cuts them in small files. */
const SMALL_SHARE = 10;
const SMALL_BYTES = 5_000;
const FRAME_BYTES_MAX = 1_000_000;
const KIND_ORDER: readonly Kind[] = ['pcap', 'lines', 'jsonl', 'meta'];

/** Frame sizes from 0 to the limit, most of them small and near the sizes that bite. */
function frameSize(random: Random, isLarge: boolean): number {
  const most = [1, 64, 2_100, 20_000][random(4)]!;
  if (isLarge && random(3) === 0) return FRAME_BYTES_MAX - random(2);
  return random(most + 1);
}

/** A stream of its own, whole in memory. */
class Good {
  readonly source: Source;
  readonly bytes: Buffer;
  readonly random: Random;

  constructor(number: number, seed: number) {
    this.random = randomOf(seed + number);
    this.source = new Source(KIND_ORDER[number % KIND_ORDER.length]!, this.random);
    const isLarge = number % 12 === 0;
    const content = this.source.content.next(isLarge ? 2_100_000 : 1 + this.random(60_000));
    const opening = this.source.opening();
    const frames = this.source.cutIntoFrames(content, () => frameSize(this.random, isLarge));
    // As the C client ends.
    this.bytes = Buffer.concat([opening, frames, this.source.frame(Buffer.alloc(0))]);
  }

  async send(socket: Socket): Promise<void> {
    socket.setNoDelay(true);
    socket.resume();
    await sendCut(socket, this.bytes, this.random);
    await finish(socket);
  }
}

/** What a session that was wrong is to come to in the ledger. */
interface Expected {
  sensor: string;
  type: number;
  received: number;
  rejected: Record<string, number>;
  truncated: number;
  ends: Record<string, number>;
  /** What each of its sessions stored. */
  stored: string[];
}

/**
 * Peers that do what WIRE.md forbids, or the network does to them. Each tells what the ledger must
 * say of it; what is refused before there is a session is told by `refusals`.
 */
class Misbehaving {
  readonly expected: Expected[] = [];
  readonly refusals = new Map<string, number>();
  readonly #gateway: Gateway;
  readonly #stalls: Socket[] = [];

  constructor(gateway: Gateway) {
    this.#gateway = gateway;
  }

  /** All of one round at once. */
  async round(random: Random): Promise<void> {
    const line = 'a line before it all goes wrong\n';
    const flipped = (at: number) => (frame: Buffer) => {
      frame[at]! ^= 1 << random(8);
      return frame;
    };
    await Promise.all([
      this.#wrong('bad-hmac', line, flipped(OFFSET_HMAC + random(32))),
      this.#wrong('bad-hmac', line, flipped(62 + random(50))),
      this.#wrong('bad-version', line, flipped(0)),
      this.#wrong('type-changed', line, (frame) => {
        frame[OFFSET_TYPE] = 6;
        return frame;
      }),
      this.#wrong('uuid-changed', line, flipped(OFFSET_UUID)),
      this.#wrong('too-large', line, (frame) => {
        frame.writeUInt32LE(FRAME_BYTES_MAX + 1, OFFSET_SIZE);
        return frame;
      }),
      this.#cut(line, random, 'closed'),
      this.#cut(line, random, 'reset'),
      this.#stall(line, random),
      this.#replaced(line),
      this.#refused('bad-version', await this.#gateway.tcp(), 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'),
      this.#refused('bad-version', await this.#gateway.unix(), '\u0016\u0003\u0001 not D4'),
      this.#refused('bad-uuid', await this.#gateway.tls(), headerOf(Buffer.alloc(16))),
      this.#refused('meta-missing', await this.#gateway.tcp(), new Sensor(v4(), 254).frame('x')),
      this.#plainOnTls(),
      this.#tlsOnPlain(),
    ]);
  }

  /** Ends the peers that stand still. */
  async end(): Promise<void> {
    for (const socket of this.#stalls) socket.end();
    await Promise.all(this.#stalls.map(gone));
  }

  /** Good frames, then one that is wrong, then silence: the gateway ends it. */
  async #wrong(reason: string, line: string, spoil: (frame: Buffer) => Buffer): Promise<void> {
    const sensor = new Sensor(v4());
    const payload = line.repeat(3);
    const socket = await this.#gateway.tcp();
    await write(socket, Buffer.concat([sensor.frame(line), sensor.frame(line)]));
    await write(socket, spoil(sensor.frame(payload)));
    await gone(socket);
    this.expected.push({
      sensor: sensor.uuid,
      type: 3,
      received: 3,
      rejected: { [reason]: 1 },
      truncated: 0,
      ends: { [reason]: 1 },
      stored: [line + line],
    });
  }

  async #cut(line: string, random: Random, how: 'closed' | 'reset'): Promise<void> {
    const sensor = new Sensor(v4());
    const socket = await this.#gateway.tcp();
    const frame = sensor.frame(line);
    const part = frame.subarray(0, 1 + random(frame.length - 1));
    await write(socket, Buffer.concat([frame, part]));
    await this.#opened(sensor.uuid);
    if (how === 'reset') socket.resetAndDestroy();
    else socket.end();
    await gone(socket);
    this.expected.push({
      sensor: sensor.uuid,
      type: 3,
      received: 1,
      rejected: {},
      truncated: part.length,
      ends: { [how]: 1 },
      stored: [line],
    });
  }

  /** A header and a part of its payload, then nothing until all others are done. */
  async #stall(line: string, random: Random): Promise<void> {
    const sensor = new Sensor(v4());
    const socket = await this.#gateway.tls();
    const large = sensor.frame(Buffer.alloc(FRAME_BYTES_MAX));
    const part = large.subarray(0, 62 + random(5_000));
    await write(socket, Buffer.concat([sensor.frame(line), part]));
    this.#stalls.push(socket);
    this.expected.push({
      sensor: sensor.uuid,
      type: 3,
      received: 1,
      rejected: {},
      truncated: part.length,
      ends: { closed: 1 },
      stored: [line],
    });
  }

  /** The same sensor comes again while its first connection stands. */
  async #replaced(line: string): Promise<void> {
    const sensor = new Sensor(v4());
    const first = await this.#gateway.tcp();
    await write(first, sensor.frame(line));
    await this.#opened(sensor.uuid);
    const second = await this.#gateway.tls();
    await write(second, sensor.frame(`again ${line}`));
    await gone(first);
    await finish(second);
    this.expected.push({
      sensor: sensor.uuid,
      type: 3,
      received: 2,
      rejected: {},
      truncated: 0,
      ends: { replaced: 1, closed: 1 },
      stored: [line, `again ${line}`],
    });
  }

  async #refused(reason: string, socket: Socket, bytes: Buffer | string): Promise<void> {
    await write(socket, Buffer.from(bytes as string, 'latin1'));
    await gone(socket);
    this.#count(reason);
  }

  async #plainOnTls(): Promise<void> {
    const { tlsPort } = this.#gateway;
    const socket = connect({ host: '127.0.0.1', port: tlsPort });
    socket.on('error', () => {});
    // Type 3 would pass for TLS's version byte, and its length be waited for.
    await write(socket, new Sensor(v4(), 1).frame('plain text'));
    await gone(socket);
    this.#count('handshake-failed');
  }

  async #tlsOnPlain(): Promise<void> {
    const { tcpPort: port } = this.#gateway;
    const socket = connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false });
    socket.on('error', () => {});
    await gone(socket);
    this.#count('bad-version');
  }

  #opened(uuid: string): Promise<void> {
    const isOpen = () => this.#gateway.logged('session opened').some((l) => l.sensor === uuid);
    return this.#gateway.until(isOpen, `session of ${uuid}`);
  }

  #count(reason: string): void {
    this.refusals.set(reason, (this.refusals.get(reason) ?? 0) + 1);
  }
}

const v4 = () => randomUUID();

function headerOf(uuid: Buffer): Buffer {
  const frame = new Sensor(v4()).frame('');
  uuid.copy(frame, OFFSET_UUID);
  return frame;
}

/** A stranger who knows a sensor's UUID and not its key. */
async function impersonate(gateway: Gateway, source: Source): Promise<void> {
  const type = source.type === 254 ? 2 : source.type;
  const socket = await gateway.tcp();
  await write(socket, new Sensor(source.uuid, type, 'not the key').frame('x'));
  await gone(socket);
}

for (const threads of ['pipelined', 'inline']) {
  test(`300 sensors and those that misbehave, ${threads}`, async (context) => {
    const seed = runSeed();
    context.diagnostic(`seed ${seed} (D4GW_SEED)`);
    const random = randomOf(seed);
    const goods = Array.from({ length: SENSORS }, (_, number) => new Good(number, seed));
    const small = goods.filter(
      ({ source }, index) => index % SMALL_SHARE === 1 && source.kind !== 'pcap',
    );
    const options = sharedSecret({
      threads,
      sinks: {
        disk: { kind: 'files', dir: './data/sensors', flushMs: 50, rotateBytes: '1GiB' },
        small: { kind: 'files', dir: './data/small', flushMs: 50, rotateBytes: SMALL_BYTES },
      },
      routes: [
        { match: {}, to: ['disk'] },
        { match: { sensors: small.map(({ source }) => source.uuid) }, to: ['small'] },
      ],
    });
    const gateway = await Gateway.start(options);
    const bad = new Misbehaving(gateway);
    // One of each kind. They are registered, so that the strangers count as theirs.
    const impersonated = goods.slice(0, KIND_ORDER.length);
    await Promise.all(
      impersonated.map(({ source }) => gateway.addSensor(source.uuid, RECORDED_KEY)),
    );
    await Promise.all([
      ...goods.map(async (good, index) => {
        const transport = (['tls', 'tcp', 'unix'] as const)[Math.floor(index / 4) % 3]!;
        await good.send(await gateway[transport]());
      }),
      bad.round(random).then(() => bad.round(random)),
      ...impersonated.map(({ source }) => impersonate(gateway, source)),
    ]);
    await bad.end();
    assert.equal(await gateway.stop(), 0, gateway.process.output().slice(-4000));

    const { code, ledger, stderr } = await gateway.ledger();
    assert.equal(code, 0, `the ledger balances: ${stderr}`);
    checkGood(gateway, ledger, goods, new Set(impersonated));
    checkSmall(gateway, small);
    checkBad(gateway, ledger, bad);
    const expectedSensors = goods.length + bad.expected.length;
    assert.equal(ledger.sensors.length, expectedSensors, 'nobody else is in the ledger');
    assert.equal(ledger.workerDeaths, 0);
    assert.doesNotMatch(gateway.process.output(), /\n\s+at .*\(/, 'no stack in the log');
  });
}

function checkGood(
  gateway: Gateway,
  ledger: LedgerReport,
  goods: readonly Good[],
  impersonated: ReadonlySet<Good>,
): void {
  const files = filesBySensor(gateway);
  const bySensor = new Map(ledger.sensors.map((entry) => [`${entry.sensor}/${entry.type}`, entry]));
  for (const good of goods) {
    const { uuid, hex, type, frames, bytes, payload, kind } = good.source;
    const own = files.get(hex) ?? [];
    const data = dataFiles(own);
    const name = `${kind} ${uuid}: ${own.join(' ')}`;
    assert.equal(sha256(readAll(data)), sha256(payload), name);
    assert.ok(payload.length === 0 || data.length === 1, name);
    assert.ok(!data.some((file) => file.includes('.raw') || file.endsWith('.part')), name);
    if (kind === 'meta') {
      const meta = own.filter((file) => file.endsWith('.json'));
      assert.deepEqual(
        meta.map((file) => readFileSync(file)),
        [META],
        name,
      );
    }
    const entry = bySensor.get(`${uuid}/${type}`);
    assert.ok(entry, name);
    const strangers = impersonated.has(good) ? { frames: 1, bytes: 1 } : { frames: 0, bytes: 0 };
    const received = { frames: frames + strangers.frames, bytes: bytes + strangers.bytes };
    assert.deepEqual(entry.received, received, name);
    const rejected = impersonated.has(good) ? { 'bad-hmac': strangers } : {};
    assert.deepEqual(entry.rejected, rejected, name);
    assert.deepEqual(entry.truncated, { count: 0, bytes: 0 }, name);
    assert.deepEqual(entry.ends, {
      closed: 1,
      ...(impersonated.has(good) ? { 'bad-hmac': 1 } : {}),
    });
    const disk = entry.sinks.find(({ sink }) => sink === 'disk');
    assert.deepEqual(disk?.delivered, { frames, bytes }, name);
    assert.deepEqual(disk?.lost, { frames: 0, bytes: 0 }, name);
  }
}

/** Cut after newlines at the size asked for, nothing repeated and nothing gone. */
function checkSmall(gateway: Gateway, small: readonly Good[]): void {
  const files = filesBySensor(gateway, join(gateway.dir, 'data', 'small'));
  assert.equal(files.size, small.length, 'only those that the route names');
  for (const { source } of small) {
    const pieces = dataFiles(files.get(source.hex)).map((file) => readFileSync(file));
    const { payload } = source;
    assert.equal(sha256(Buffer.concat(pieces)), sha256(payload), source.uuid);
    for (const piece of pieces) assert.equal(piece.at(-1), 0x0a, 'a file ends with a whole line');
    if (payload.length > 4 * SMALL_BYTES) assert.ok(pieces.length >= 3, `${pieces.length} pieces`);
  }
}

function checkBad(gateway: Gateway, ledger: LedgerReport, bad: Misbehaving): void {
  const files = filesBySensor(gateway);
  for (const expected of bad.expected) {
    const { sensor, type, received, rejected, truncated, ends, stored } = expected;
    const name = JSON.stringify(expected);
    const entry = ledger.sensors.find((one) => one.sensor === sensor && one.type === type);
    assert.ok(entry, name);
    assert.equal(entry.received.frames, received, name);
    const counts = Object.entries(entry.rejected).map(([key, { frames }]) => [key, frames]);
    assert.deepEqual(Object.fromEntries(counts), rejected, name);
    const cuts = { count: truncated > 0 ? 1 : 0, bytes: truncated };
    assert.deepEqual(entry.truncated, cuts, name);
    assert.deepEqual(entry.ends, ends, name);
    const own = dataFiles(files.get(sensor.replaceAll('-', '')));
    assert.deepEqual(own.map((file) => readFileSync(file, 'utf8')).sort(), stored, name);
    assert.equal(entry.sinks[0]?.delivered.bytes, stored.join('').length, name);
  }
  for (const [reason, count] of bad.refusals) {
    assert.equal(ledger.refusals[reason], count, `refused for ${reason}`);
  }
}

describe('every cut', () => {
  for (const kind of ['pcap', 'meta'] as const) {
    test(`of a small ${kind} stream, in two reads`, async (context) => {
      const seed = runSeed();
      context.diagnostic(`seed ${seed} (D4GW_SEED)`);
      const template = smallStream(kind, seed);
      const gateway = await Gateway.start(sharedSecret({ workers: 1 }));
      // One stream a cut, each of a sensor of its own.
      const streams = Array.from({ length: template.length - 1 }, (_, index) => {
        const source = new Source(kind, randomOf(seed));
        return { source, bytes: fill(source), at: index + 1 };
      });
      const sockets = await Promise.all(streams.map(() => gateway.tcp()));
      await Promise.all(
        streams.map(({ bytes, at }, index) => write(sockets[index]!, bytes.subarray(0, at))),
      );
      // One worker reads its sockets in turn: what came before a session that has ended was read.
      const marker = new Sensor(v4());
      const last = await gateway.tcp();
      await write(last, marker.frame('all first parts were sent before this\n'));
      await finish(last);
      const isOver = () => gateway.logged('session closed').some((l) => l.sensor === marker.uuid);
      await gateway.until(isOver, 'the marker');
      await Promise.all(
        streams.map(async ({ bytes, at }, index) => {
          await write(sockets[index]!, bytes.subarray(at));
          await finish(sockets[index]!);
        }),
      );
      const count = streams.length + 1;
      await untilLedger(
        gateway,
        ({ sensors }) => sensors.filter(({ ends }) => ends.closed === 1).length === count,
        'all sessions end in order',
      );
      assert.equal(await gateway.stop(), 0);
      const { code, ledger } = await gateway.ledger();
      assert.equal(code, 0);
      const files = filesBySensor(gateway);
      for (const { source, at } of streams) {
        const data = dataFiles(files.get(source.hex));
        assert.equal(sha256(readAll(data)), sha256(source.payload), `cut at ${at}`);
        const entry = (ledger as LedgerReport).sensors.find(({ sensor }) => sensor === source.uuid);
        const { frames, bytes } = source;
        assert.deepEqual(entry?.sinks[0]?.delivered, { frames, bytes }, `cut at ${at}`);
        assert.deepEqual(entry?.rejected, {}, `cut at ${at}`);
        assert.equal(entry?.truncated.count, 0, `cut at ${at}`);
      }
    });
  }
});

/** A few frames, one of them empty, whose content is cut where a client may cut it. */
function fill(source: Source): Buffer {
  const content = source.content.next(60);
  let size = 9;
  const frames = source.cutIntoFrames(content, () => {
    size = size === 9 ? 0 : size === 0 ? 30 : content.length;
    return size;
  });
  return Buffer.concat([source.opening(), frames, source.frame(Buffer.alloc(0))]);
}

function smallStream(kind: Kind, seed: number): Buffer {
  return fill(new Source(kind, randomOf(seed)));
}
