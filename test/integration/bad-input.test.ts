import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { stringify } from 'yaml';
import { headerReject } from '../../src/wire/header.js';
import { HEADER_BYTES, OFFSET_HMAC, OFFSET_SIZE, OFFSET_TYPE } from '../../src/wire/layout.js';
import { Reject, rejectName } from '../../src/wire/reject.js';
import { freePort } from '../support/ports.js';
import { run } from '../support/process.js';
import { d4gw } from '../support/program.js';
import { captures, skipWithoutShared } from '../support/shared.js';
import { tempDir } from '../support/tmp.js';
import { Gateway } from './gateway.js';
import {
  activityOf,
  closed,
  ledgerOf,
  packetsOf,
  recordOf,
  register,
  Sensor,
  sensorsOf,
  sharedSecret,
  storedOf,
  type Transport,
  until,
  untilLedger,
  uuidOf,
  Witness,
  write,
} from './peers.js';

const TIMEOUT_MS = 1_200;
const LOG = 3;
const META = 2;
const EXTENDED = 254;
/** Accepted by the protocol, not by this configuration. */
const TYPE_NOT_ACCEPTED = 7;
const MODES = process.env.D4GW_TEST_THREADS
  ? [process.env.D4GW_TEST_THREADS]
  : ['pipelined', 'inline'];

/** Input that a connection sends, and what becomes of it. */
interface BadInput {
  name: string;
  reason: string;
  bytes: (sensor: Sensor) => Uint8Array;
  transport?: Transport;
  /** Bytes of good frames before the bad one: all of them are stored. */
  stored?: string;
  /** The connection had a session: its sensor's ledger has the reason, too. */
  session?: boolean;
  /** Frames that the ledger has under the reason. */
  rejected?: number;
  /** How the sensor is registered; unregistered where it says so. */
  state?: 'approved' | 'pending' | 'blocked' | 'unknown';
  /** Which of the sensor's frames name it without contradiction: its record keeps the reason. */
  known?: boolean;
  /** The peer ends its side at once, before the gateway can. */
  fin?: boolean;
}

const STRANGER = new Sensor(uuidOf(0xfffff));

function patched(frame: Buffer, change: (frame: Buffer) => void): Buffer {
  change(frame);
  return frame;
}

const withVersion = (frame: Buffer, version: number) =>
  patched(frame, (f) => f.writeUInt8(version));
const withType = (frame: Buffer, type: number) =>
  patched(frame, (f) => f.writeUInt8(type, OFFSET_TYPE));
const withSize = (frame: Buffer, size: number) =>
  patched(frame, (f) => f.writeUInt32LE(size, OFFSET_SIZE));
const withWrongHmac = (frame: Buffer) =>
  patched(frame, (f) => f.writeUInt8(f[OFFSET_HMAC]! ^ 1, OFFSET_HMAC));

const GOOD = 'one\ntwo\n';
/** Two good frames, a bad one, and a good one behind it that nobody may see. */
const inSession = (bad: (sensor: Sensor) => Buffer) => (sensor: Sensor) =>
  Buffer.concat([
    sensor.frame('one\n'),
    sensor.frame('two\n'),
    bad(sensor),
    sensor.frame('late\n'),
  ]);
const metaThenData =
  (...meta: string[]) =>
  (sensor: Sensor) =>
    Buffer.concat([
      ...meta.map((text) => sensor.frame(text, META)),
      sensor.frame('data\n', EXTENDED),
      sensor.frame('more\n', EXTENDED),
    ]);

const AT_HEADER: [name: string, reason: string, bad: (sensor: Sensor) => Buffer][] = [
  ['version 2', 'bad-version', (s) => withVersion(s.frame('x'), 2)],
  ['type 0', 'bad-type', (s) => withType(s.frame('x'), 0)],
  ['a type that no D4 has', 'bad-type', (s) => withType(s.frame('x'), 99)],
  ['a type that is not accepted', 'bad-type', (s) => s.frame('x', TYPE_NOT_ACCEPTED)],
  ['size over the limit, no payload sent', 'too-large', (s) => withSize(s.frame(''), 1_000_001)],
  ['the nil UUID', 'bad-uuid', () => new Sensor('00000000-0000-0000-0000-000000000000').frame('x')],
  ['a version 1 UUID', 'bad-uuid', (s) => new Sensor(s.uuid.replace('-4', '-1')).frame('x')],
];

const INPUTS: BadInput[] = [
  ...AT_HEADER.map(([name, reason, bad]) => ({ name: `${name}, first`, reason, bytes: bad })),
  ...AT_HEADER.map(([name, reason, bad]) => ({
    name: `${name}, behind good frames`,
    reason,
    bytes: inSession(bad),
    session: true,
    stored: GOOD,
    rejected: 1,
  })),
  {
    name: 'another UUID within a session',
    reason: 'uuid-changed',
    bytes: inSession(() => STRANGER.frame('x')),
    session: true,
    stored: GOOD,
    rejected: 1,
  },
  {
    name: 'another type within a session',
    reason: 'type-changed',
    bytes: inSession((sensor) => sensor.frame('x', 1)),
    session: true,
    stored: GOOD,
    rejected: 1,
  },
  {
    name: 'a wrong HMAC in the first frame',
    reason: 'bad-hmac',
    bytes: (sensor) => Buffer.concat([withWrongHmac(sensor.frame('x')), sensor.frame('late')]),
    session: true,
  },
  {
    name: 'a wrong HMAC behind good frames, over TLS',
    reason: 'bad-hmac',
    bytes: inSession((sensor) => withWrongHmac(sensor.frame('x'))),
    transport: 'tls',
    session: true,
    stored: GOOD,
  },
  {
    name: 'a wrong HMAC in a large frame',
    reason: 'bad-hmac',
    bytes: inSession((sensor) => withWrongHmac(sensor.frame(Buffer.alloc(300_000, 'x')))),
    session: true,
    stored: GOOD,
  },
  {
    name: 'a wrong HMAC, and the peer is gone at once',
    reason: 'bad-hmac',
    bytes: inSession((sensor) => withWrongHmac(sensor.frame('x'))),
    session: true,
    stored: GOOD,
    fin: true,
  },
  {
    name: 'an unknown sensor',
    reason: 'unknown-sensor',
    bytes: (sensor) => sensor.frame('x'),
    state: 'unknown',
    known: false,
  },
  {
    name: 'a sensor that was not approved',
    reason: 'sensor-pending',
    bytes: (sensor) => sensor.frame('x'),
    state: 'pending',
    known: true,
  },
  {
    name: 'a blocked sensor',
    reason: 'sensor-blocked',
    bytes: (sensor) => sensor.frame('x'),
    state: 'blocked',
    known: true,
  },
  {
    name: '254 without a meta header',
    reason: 'meta-missing',
    bytes: (sensor) => sensor.frame('data\n', EXTENDED),
    known: true,
  },
  {
    name: '254 behind an empty meta header',
    reason: 'meta-not-json',
    bytes: metaThenData(''),
    session: true,
  },
  {
    name: 'a meta header that is no JSON',
    reason: 'meta-not-json',
    bytes: metaThenData('{"type":', '"ja3-jl"'),
    session: true,
  },
  {
    name: 'a meta header that is no object',
    reason: 'meta-not-json',
    bytes: metaThenData('["ja3-jl"]'),
    session: true,
  },
  {
    name: 'a meta header without type, and the peer is gone at once',
    reason: 'meta-no-type',
    bytes: (sensor) => sensor.frame('{"types":"ja3-jl"}', META),
    session: true,
    fin: true,
  },
  {
    name: 'a meta header whose type is a path',
    reason: 'meta-no-type',
    bytes: metaThenData('{"type":"../../etc"}'),
    session: true,
  },
  {
    name: 'a meta header that is too long',
    reason: 'meta-too-long',
    bytes: metaThenData(`{"type":"ja3-jl","x":"${'y'.repeat(60_000)}`, `${'z'.repeat(60_000)}"}`),
    session: true,
  },
  {
    name: 'a meta header of ever more empty frames',
    reason: 'meta-too-long',
    bytes: metaThenData('{"type":"ja3-jl"}', ...Array<string>(6_000).fill('')),
    session: true,
  },
  {
    name: 'a meta header of a type that is not accepted',
    reason: 'meta-type-not-accepted',
    bytes: metaThenData('{"type":"unheard-of"}'),
    session: true,
  },
  {
    name: 'frames without TLS on the TLS port',
    reason: 'handshake-failed',
    bytes: (sensor) => sensor.frame('x', 1),
    transport: 'tls',
  },
  {
    // Version 1, type 3: to TLS the begin of a long record of SSL 3.
    name: 'frames without TLS that look like a TLS record',
    reason: 'handshake-timeout',
    bytes: (sensor) => sensor.frame('x', LOG),
    transport: 'tls',
  },
  {
    name: 'HTTP on the TLS port',
    reason: 'handshake-failed',
    bytes: () => Buffer.from('GET / HTTP/1.1\r\nHost: d4\r\n\r\n'),
    transport: 'tls',
  },
  { name: 'garbage', reason: 'bad-version', bytes: () => Buffer.alloc(5_000, 0xee) },
  {
    name: 'HTTP',
    reason: 'bad-version',
    bytes: () => Buffer.from('GET / HTTP/1.1\r\n\r\n'),
  },
  {
    name: 'HTTP on the unix socket',
    reason: 'bad-version',
    bytes: () => Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    transport: 'unix',
  },
];

/** A connection without TLS, whatever the port. */
function plain(gateway: Gateway, transport: Transport): Promise<Socket> {
  if (transport === 'unix') return gateway.unix();
  return transport === 'tcp' ? gateway.tcp() : gateway.plainOnTls();
}

for (const threads of MODES) {
  describe(`bad input, ${threads}`, async () => {
    const gateway = await Gateway.start({
      config: {
        threads,
        admission: { types: [1, 2, 3, 5, 6, 254] },
        limits: { handshakeTimeoutMs: TIMEOUT_MS, firstFrameTimeoutMs: TIMEOUT_MS },
      },
    });
    const sensors = INPUTS.map((_, index) => new Sensor(uuidOf(index + 1), LOG));
    const witness = new Sensor(uuidOf(0x1000));
    const slow = [1, 2, 3, 4, 5].map((number) => new Sensor(uuidOf(0x2000 + number)));
    const cut = [1, 2, 3].map((number) => new Sensor(uuidOf(0x3000 + number)));
    const damaged = [1, 2].map((type) => new Sensor(uuidOf(0x4000 + type), type === 1 ? 1 : 5));
    const states = INPUTS.map(({ state }) => state ?? 'approved');
    const inState = (state: string) => sensors.filter((_, index) => states[index] === state);
    await register(gateway, [...inState('approved'), ...inState('blocked'), witness]);
    await register(gateway, [...slow, ...cut, ...damaged, STRANGER]);
    await register(gateway, inState('pending'), 'pending');
    for (const { uuid } of inState('blocked')) await gateway.command('sensor', 'block', uuid);
    const streaming = await Witness.begin(gateway, witness);
    /** Connections that were ended by reason, and those of them that had no session. */
    const ended: Record<string, number> = {};
    const refused: Record<string, number> = {};
    const count = (reason: string, session: boolean | undefined) => {
      ended[reason] = (ended[reason] ?? 0) + 1;
      if (!session) refused[reason] = (refused[reason] ?? 0) + 1;
    };

    test('TLS on the plain port', async () => {
      const socket = connectTls({ host: '127.0.0.1', port: gateway.tcpPort });
      socket.on('error', () => {});
      await closed(socket);
      count('bad-version', false);
      await gateway.until(
        () => gateway.logged('rejected').some(({ detail }) => /looks like TLS/.test(`${detail}`)),
        'the log says what it was',
      );
    });

    for (const [index, input] of INPUTS.entries()) {
      const { name, reason, session, stored = '', transport = 'tcp', fin } = input;
      const sensor = sensors[index]!;
      test(`${name}: ${reason}`, async () => {
        const secure = transport === 'tls' && session;
        const socket = secure ? await gateway.tls() : await plain(gateway, transport);
        const bytes = input.bytes(sensor);
        if (fin) socket.end(bytes);
        else socket.write(bytes);
        await closed(socket);
        count(reason, session);
        if (session) await checkSession(sensor, reason, stored, input.rejected);
        else assert.deepEqual(sensorsOf(await ledgerOf(gateway), sensor.uuid), []);
        if (session || input.known) {
          await until(
            async () => (await activityOf(gateway, sensor.uuid))?.lastReject?.reason === reason,
            `${reason} is on the sensor's record`,
          );
        }
        streaming.check();
      });
    }

    async function checkSession(
      { uuid }: Sensor,
      reason: string,
      stored: string,
      rejected: number | undefined,
    ): Promise<void> {
      const report = await untilLedger(
        gateway,
        (now) => sensorsOf(now, uuid)[0]?.ends[reason] === 1,
        `the session ended with ${reason}`,
      );
      const [own] = sensorsOf(report, uuid);
      assert.deepEqual(Object.keys(own!.rejected), [reason]);
      const { frames, bytes } = own!.rejected[reason]!;
      assert.ok(frames > 0);
      if (rejected !== undefined) assert.equal(frames, rejected);
      const delivered = own!.sinks[0]?.delivered ?? { frames: 0, bytes: 0 };
      assert.equal(delivered.bytes, stored.length);
      assert.equal(own!.received.frames, delivered.frames + frames);
      assert.equal(own!.received.bytes, delivered.bytes + bytes);
      assert.equal(storedOf(gateway, uuid).toString(), stored);
    }

    test('a header and then silence; one byte at a time; nothing at all', async () => {
      const [silent, dripping] = slow as [Sensor, Sensor];
      const header = await gateway.tcp();
      header.write(silent.frame('never').subarray(0, HEADER_BYTES));
      const drip = await gateway.tls();
      const bytes = dripping.frame(Buffer.alloc(1_000, 'x'));
      let sent = 0;
      const timer = setInterval(() => {
        drip.write(bytes.subarray(sent, sent + 1));
        sent += 1;
      }, 15);
      const nothing = [await gateway.tcp(), await gateway.tls(), await gateway.unix()];
      const noHandshake = await gateway.plainOnTls();
      await Promise.all([header, drip, ...nothing, noHandshake].map((socket) => closed(socket)));
      clearInterval(timer);
      const reason = 'first-frame-timeout';
      for (const { uuid } of [silent, dripping]) {
        count(reason, true);
        const report = await untilLedger(
          gateway,
          (now) => sensorsOf(now, uuid)[0]?.ends[reason] === 1,
          'it is counted',
        );
        const [own] = sensorsOf(report, uuid);
        assert.deepEqual(own!.received, { frames: 0, bytes: 0 });
        assert.equal(own!.truncated.count, 1);
        await until(
          async () => (await activityOf(gateway, uuid))?.lastReject?.reason === reason,
          "it is on the sensor's record",
        );
      }
      for (const _ of nothing) count(reason, false);
      count('handshake-timeout', false);
      assert.deepEqual(
        gateway.files().filter((file) => file.startsWith(silent.hex)),
        [],
      );
      streaming.check();
    });

    test('a connection cut in mid-frame: what was whole is stored, the rest is truncated', async () => {
      const how: [Sensor, number, (socket: Socket) => unknown][] = [
        [cut[0]!, 100, (socket) => socket.end()],
        [cut[1]!, 20, (socket) => socket.end()],
        [cut[2]!, 100, (socket) => socket.resetAndDestroy()],
      ];
      for (const [sensor, left, end] of how) {
        const socket = await gateway.tcp();
        const partial = sensor.frame(Buffer.alloc(500)).subarray(0, left);
        await write(socket, Buffer.concat([sensor.frame('one\n'), sensor.frame('two\n'), partial]));
        await untilLedger(
          gateway,
          (now) => sensorsOf(now, sensor.uuid)[0]?.received.frames === 2,
          'the whole frames are in',
        );
        end(socket);
        const report = await untilLedger(
          gateway,
          (now) => sensorsOf(now, sensor.uuid)[0]?.open === 0,
          'it is counted',
        );
        const [own] = sensorsOf(report, sensor.uuid);
        assert.deepEqual(own!.truncated, { count: 1, bytes: left });
        assert.deepEqual(own!.rejected, {});
        assert.equal(own!.sinks[0]!.delivered.frames, 2);
        assert.equal(storedOf(gateway, sensor.uuid).toString(), GOOD);
      }
      const socket = await gateway.tcp();
      socket.end(cut[0]!.frame('x').subarray(0, 30));
      await closed(socket);
      count('truncated', false);
    });

    test('damage in mid-stream is raw from there on, and the session goes on', {
      skip: skipWithoutShared(),
    }, async () => {
      for (const sensor of damaged) {
        const [form, name] =
          sensor.type === 1
            ? (['pcap', 'bgp-4byte-asn.pcap'] as const)
            : (['pcapng', 'test001.pcapng'] as const);
        const good = readFileSync(captures(form).find((path) => path.endsWith(name))!);
        const garbage = Buffer.alloc(200, 0xff);
        const socket = await gateway.tls();
        socket.write(Buffer.concat([sensor.frame(good), sensor.frame(garbage)]));
        await until(
          async () => ((await activityOf(gateway, sensor.uuid))?.notes.length ?? 0) > 0,
          'it is noted',
        );
        // The session still stands: what comes now is kept, too.
        socket.end(Buffer.concat([sensor.frame(good), sensor.frame('')]));
        await closed(socket);
        const report = await untilLedger(
          gateway,
          (now) => sensorsOf(now, sensor.uuid)[0]?.ends.closed === 1,
          'the session ended well',
        );
        const [own] = sensorsOf(report, sensor.uuid);
        assert.equal(own!.received.frames, 4);
        assert.deepEqual(own!.sinks[0]!.delivered, own!.received);
        assert.deepEqual(own!.rejected, {});
        const ext = sensor.type === 1 ? 'cap' : 'pcapng';
        assert.ok(storedOf(gateway, sensor.uuid, ext).equals(good));
        const raw = storedOf(gateway, sensor.uuid, 'raw');
        assert.ok(raw.equals(Buffer.concat([garbage, good])));
        const file = gateway.files().find((path) => path.startsWith(sensor.hex))!;
        assert.equal(packetsOf(join(gateway.sensorsDir, file)).error, undefined);
        assert.equal(
          gateway.log().filter(({ sensor: of, sink }) => of === sensor.uuid && sink).length,
          1,
        );
      }
    });

    test('each is logged once, counted once, and the books balance', async () => {
      const report = await untilLedger(
        gateway,
        ({ refusals }) =>
          Object.keys(refused).every((reason) => refusals[reason]! >= refused[reason]!),
        'the refusals are counted',
      );
      assert.deepEqual(report.refusals, refused);
      const lines: Record<string, number> = {};
      for (const { reason } of gateway.logged('rejected')) {
        lines[`${reason}`] = (lines[`${reason}`] ?? 0) + 1;
      }
      for (const [reason, count] of Object.entries(ended)) {
        // Two workers, each of which writes the first five of a reason.
        const seen = lines[reason] ?? 0;
        if (count <= 5) assert.equal(seen, count, `lines on ${reason}`);
        else assert.ok(seen >= 5 && seen <= count, `lines on ${reason}`);
      }
      assert.deepEqual(Object.keys(lines).sort(), Object.keys(ended).sort());
      const { code } = await gateway.ledger();
      assert.equal(code, 0);
    });

    test('the record of a sensor tells it to its operator', async () => {
      const index = INPUTS.findIndex(({ reason }) => reason === 'uuid-changed');
      const { lastReject } = await recordOf(gateway, sensors[index]!.uuid);
      assert.equal(lastReject?.reason, 'uuid-changed');
      assert.match(lastReject.detail, new RegExp(STRANGER.uuid));
      assert.equal(lastReject.address, '127.0.0.1');
    });

    test('the log has no stack; the other sensor has noticed nothing', async () => {
      await streaming.finish(gateway);
      assert.doesNotMatch(gateway.process.output(), /\\n\s+at /);
      assert.equal(gateway.process.stderr, '');
      assert.equal(await gateway.stop(), 0);
    });
  });
}

describe('many connections, and every bit of a frame', async () => {
  const timeouts = { handshakeTimeoutMs: 3_000, firstFrameTimeoutMs: 3_000 };
  const gateway = await Gateway.start(sharedSecret({ limits: timeouts }));
  const SILENT = 2_000;
  const limits = { maxPayloadBytes: 1_000_000 };
  const PAYLOAD = 'sixteen bytes..\n';
  const BITS = (HEADER_BYTES + PAYLOAD.length) * 8;
  const CONNECTIONS = 16;

  /** What the flipped frame gets, by the reference codec. */
  function expected(frame: Buffer, bit: number): string {
    const code = headerReject(frame, 0, limits);
    if (code !== undefined) return rejectName(code);
    const byte = bit >> 3;
    if (byte === OFFSET_TYPE) return rejectName(Reject.TYPE_CHANGED);
    if (byte > OFFSET_TYPE && byte < 18) return rejectName(Reject.UUID_CHANGED);
    return rejectName(Reject.BAD_HMAC);
  }

  /** A good frame, the flipped one, and enough good ones for any size that a flip makes of it. */
  async function flip(bit: number): Promise<void> {
    const sensor = new Sensor(uuidOf(0x10000 + bit));
    const bad = patched(sensor.frame(PAYLOAD), (frame) => {
      frame[bit >> 3]! ^= 1 << (bit & 7);
    });
    const size = Math.min(bad.readUInt32LE(OFFSET_SIZE), limits.maxPayloadBytes);
    const rest = Math.ceil(size / (HEADER_BYTES + PAYLOAD.length)) + 1;
    const later = Buffer.concat(Array.from({ length: rest }, () => sensor.frame('later\n')));
    const socket = await gateway.tcp();
    socket.write(Buffer.concat([sensor.frame('before\n'), bad, later, Buffer.alloc(size)]));
    await closed(socket);
    const reason = expected(bad, bit);
    outcomes.set(sensor.uuid, { reason, ofSize: bit >= OFFSET_SIZE * 8 && bit < HEADER_BYTES * 8 });
  }

  const outcomes = new Map<string, { reason: string; ofSize: boolean }>();

  test(`${SILENT} connections that send nothing: their timers end them, no other notices`, async () => {
    const witness = await Witness.begin(gateway, new Sensor(uuidOf(2)));
    const sockets: Socket[] = [];
    for (let index = 0; index < SILENT; index += 1) {
      sockets.push(await (index % 2 === 0 ? gateway.tcp() : gateway.plainOnTls()));
    }
    await Promise.all(sockets.map((socket) => closed(socket)));
    await untilLedger(
      gateway,
      ({ refusals }) =>
        refusals['first-frame-timeout'] === SILENT / 2 &&
        refusals['handshake-timeout'] === SILENT / 2,
      'each is counted',
    );
    await witness.finish(gateway);
    assert.ok(gateway.logged('rejected').length <= 4 * 2 * 5, 'and not each is logged');
  });

  test('flipped ends the session; the frame before it is stored, nothing else is', async () => {
    const bits = Array.from({ length: BITS }, (_, bit) => bit).values();
    const witness = await Witness.begin(gateway, new Sensor(uuidOf(1)));
    const connection = async () => {
      for (const bit of bits) await flip(bit);
    };
    await Promise.all(Array.from({ length: CONNECTIONS }, connection));
    await witness.finish(gateway);
    const report = await untilLedger(
      gateway,
      ({ sessions }) => sessions.length === 0,
      'all are over',
    );
    assert.equal(report.sensors.length, BITS + 2);
    const files = gateway.files();
    assert.equal(files.length, BITS + 2);
    for (const { sensor, rejected, sinks, ends } of report.sensors) {
      const flipped = outcomes.get(sensor);
      if (flipped === undefined) continue; // A witness.
      const { reason, ofSize } = flipped;
      assert.deepEqual(ends, { [reason]: 1 }, sensor);
      assert.ok(rejected[reason]!.frames > 0, sensor);
      // A wrong size puts what follows out of step, which may show before the HMAC is checked.
      if (!ofSize) assert.deepEqual(Object.keys(rejected), [reason], sensor);
      assert.deepEqual(sinks[0]!.delivered, { frames: 1, bytes: 'before\n'.length }, sensor);
      const file = files.find((path) => path.startsWith(sensor.replaceAll('-', '')))!;
      assert.equal(gateway.read(file).toString(), 'before\n', sensor);
    }
    assert.equal(report.balanced, true);
  });

  test('it stops with exit code 0', async () => {
    assert.equal(await gateway.stop(), 0);
  });
});

describe('what keeps the gateway from starting', () => {
  /** A configuration that works, in a directory of its own. */
  function setUp(change: (config: Record<string, unknown>, dir: string) => void): string {
    const dir = tempDir('start');
    const config: Record<string, unknown> = {
      dataDir: './data',
      workers: 1,
      listen: [{ tcp: { host: '127.0.0.1', port: 0 } }],
      sinks: { disk: { kind: 'files', dir: './sensors' } },
      routes: [{ match: {}, to: ['disk'] }],
      log: { format: 'json' },
    };
    change(config, dir);
    const file = join(dir, 'config.yaml');
    writeFileSync(file, stringify(config));
    return file;
  }

  /** Runs it to its end: nothing was listening, and one line says why. */
  async function fails(file: string, code: number, line: RegExp): Promise<void> {
    const result = await d4gw(['serve', '--config', file]);
    assert.equal(result.code, code, result.stderr);
    assert.match(result.stderr, line);
    assert.equal(result.stderr.trimEnd().split('\n').length, 1, result.stderr);
    assert.doesNotMatch(result.stdout, /listening/);
    assert.doesNotMatch(result.stdout + result.stderr, /\n\s+at |unexpected/);
  }

  const change = (values: Record<string, unknown>) =>
    setUp((config) => void Object.assign(config, values));

  test('a configuration that is not there', async () => {
    await fails(join(tempDir('start'), 'none.yaml'), 2, /none\.yaml/);
  });

  test('a key that is none, with the nearest that is', async () => {
    await fails(change({ dataDirr: './data' }), 2, /dataDirr.*dataDir/);
  });

  test('a value out of its range', async () => {
    await fails(change({ limits: { maxPayloadBytes: -1 } }), 2, /limits\.maxPayloadBytes.*-1/);
  });

  test('a route to a sink that is none', async () => {
    await fails(change({ routes: [{ match: {}, to: ['disc'] }] }), 2, /disc.*disk/);
  });

  test('a shared secret that is not there', async () => {
    const admission = { mode: 'shared-secret', sharedSecretFile: './none' };
    await fails(change({ admission }), 2, /sharedSecretFile.*none/);
  });

  test('a port in use: nothing listens on the other one either', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const { port } = taken.address() as { port: number };
    const free = await freePort();
    const listen = [free, port].map((each) => ({ tcp: { host: '127.0.0.1', port: each } }));
    await fails(change({ listen }), 1, new RegExp(`tcp 127\\.0\\.0\\.1:${port}.*in use`));
    taken.close();
  });

  test('a second gateway on the same data', async () => {
    const gateway = await Gateway.start(sharedSecret({ workers: 1 }));
    await fails(gateway.configFile, 1, /data/);
    const socket = await gateway.unix();
    socket.end(new Sensor(uuidOf(1)).frame('the first goes on\n'));
    await closed(socket);
    await untilLedger(gateway, ({ sensors }) => sensors[0]?.ends.closed === 1, 'it is stored');
    assert.equal(await gateway.stop(), 0);
  });

  for (const [what, key] of [
    ['the data directory', 'data'],
    ["a sink's directory", 'sensors'],
  ] as const) {
    test(`a file in the place of ${what}`, async () => {
      const file = setUp((_, dir) => writeFileSync(join(dir, key), 'a file'));
      await fails(file, 1, new RegExp(`/${key}`));
    });
  }

  test('a certificate that does not match its key, and one that is none', async () => {
    const listen = [
      { tls: { host: '127.0.0.1', port: 0, certFile: './a.pem', keyFile: './b.key' } },
    ];
    const file = setUp((config) => void Object.assign(config, { listen }));
    const dir = dirname(file);
    const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
    for (const name of ['a', 'b']) {
      const files = ['-keyout', `${name}.key`, '-out', `${name}.pem`, '-subj', '/CN=a'];
      const { code } = await run('openssl', ['req', '-x509', ...newKey, ...files], { cwd: dir });
      assert.equal(code, 0);
    }
    await fails(file, 1, /a\.pem.*b\.key|b\.key.*a\.pem/);
    writeFileSync(join(dir, 'a.pem'), 'no certificate\n');
    await fails(file, 1, /a\.pem/);
  });
});
