import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import type { WebSocket } from 'ws';
import { recordedStreams, sharedPath, skipWithoutShared } from '../support/shared.js';
import { Gateway } from './gateway.js';
import {
  closed,
  ledgerOf,
  RECORDED_KEY,
  Sensor,
  sensorsOf,
  sharedSecret,
  storedOf,
  untilLedger,
  uuidOf,
  Witness,
} from './peers.js';

const C_SENSOR = '3a9f1c52-6d0e-4b7a-9c41-5e2f8b7d0a13';
const GO_SENSOR = '8c5e27d4-1f3b-4e90-a6d2-7b94c03e5f61';

interface Closing {
  code: number;
  reason: string;
}

function closingOf(client: WebSocket): Promise<Closing> {
  return new Promise((resolve) => {
    client.once('close', (code, reason) => resolve({ code, reason: reason.toString() }));
  });
}

/** A pseudo-random sequence that a seed fixes. */
function randomOf(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}

/** Sends bytes in messages and fragments cut anywhere, with pings between, and closes in order. */
async function sendCut(client: WebSocket, bytes: Buffer, seed: number): Promise<Closing> {
  const random = randomOf(seed);
  const closing = closingOf(client);
  for (let at = 0; at < bytes.length; ) {
    const end = Math.min(bytes.length, at + 1 + random(random(2) === 0 ? 40 : 4_000));
    client.send(bytes.subarray(at, end), {
      binary: true,
      fin: end === bytes.length || random(3) > 0,
    });
    if (random(8) === 0) client.ping('are you there');
    at = end;
  }
  client.close(1000);
  return closing;
}

describe('sensors over WebSockets', { skip: skipWithoutShared() }, async () => {
  const gateway = await Gateway.start();
  await gateway.addSensor(C_SENSOR, RECORDED_KEY);
  await gateway.addSensor(GO_SENSOR, RECORDED_KEY);
  const REFUSED = ['c-k1-t254-nometa.d4', 'c-k1-t3-niluuid.d4', 'c-k1-t3-version2.d4'];
  const streams = recordedStreams().filter(({ frames }) => frames > 0);
  const seed = Date.now() % 2 ** 31;

  for (const [index, stream] of streams.filter(({ file }) => !REFUSED.includes(file)).entries()) {
    test(`${stream.file}, cut anywhere (seed ${seed + index}), is stored byte for byte`, async () => {
      const type = stream.type === 2 ? 254 : stream.type;
      const before = new Set(gateway.files());
      const sessions = sensorsOf(await ledgerOf(gateway), stream.uuid, type)[0]?.sessions ?? 0;
      const bytes = readFileSync(sharedPath('streams', stream.file));
      const closing = await sendCut(await gateway.wss(), bytes, seed + index);
      assert.equal(closing.code, 1000);
      await untilLedger(
        gateway,
        (report) =>
          report.sessions.length === 0 &&
          sensorsOf(report, stream.uuid, type)[0]?.sessions === sessions + 1,
        `${stream.file} is counted`,
      );
      const files = gateway.files().filter((file) => !before.has(file));
      const stored = files.map((file) =>
        createHash('sha256').update(gateway.read(file)).digest('hex'),
      );
      const expected = Object.values(stream.per_type)
        .filter(({ payload_bytes }) => payload_bytes > 0)
        .map(({ sha256 }) => sha256);
      assert.deepEqual(stored.sort(), expected.sort());
    });
  }

  for (const [file, reason] of [
    ['c-k1-t254-nometa.d4', 'meta-missing'],
    ['c-k1-t3-niluuid.d4', 'bad-uuid'],
    ['c-k1-t3-version2.d4', 'bad-version'],
  ] as const) {
    test(`${file} is refused as ${reason}, and the client is told`, async () => {
      const client = await gateway.wss();
      const closing = closingOf(client);
      client.send(readFileSync(sharedPath('streams', file)));
      assert.deepEqual(await closing, { code: 1008, reason });
      await untilLedger(gateway, ({ refusals }) => refusals[reason] === 1, `${reason} is counted`);
    });
  }

  test('it stops in order, with all counted', async () => {
    const { code } = await gateway.ledger();
    assert.equal(code, 0);
    assert.equal(await gateway.stop(), 0);
  });
});

describe('what a WebSocket listener refuses', async () => {
  const TIMEOUT_MS = 1_000;
  const gateway = await Gateway.start(
    sharedSecret({ limits: { handshakeTimeoutMs: TIMEOUT_MS, firstFrameTimeoutMs: TIMEOUT_MS } }),
  );
  const witness = await Witness.begin(gateway, new Sensor(uuidOf(1)));

  const HEAD = 'GET /d4 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n';
  const KEY = 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n';
  const VERSION = 'Sec-WebSocket-Version: 13\r\n';

  /** Sends a request; what the gateway answers until it closes. */
  async function answer(request: string): Promise<string> {
    const socket = await gateway.tlsToWss();
    let text = '';
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
    });
    if (request) socket.write(request);
    await closed(socket);
    return text;
  }

  /** How many such refusals there were, and what the newest line of the log says. */
  async function refused(reason: string, count: number, detail: RegExp): Promise<void> {
    await untilLedger(
      gateway,
      ({ refusals }) => refusals[reason] === count,
      `${reason} is counted`,
    );
    const lines = gateway.logged('rejected').filter((line) => line.reason === reason);
    assert.ok(lines.some((line) => detail.test(String(line.detail)) && line.source === 'wss'));
  }

  const upgrades: [string, string, RegExp, RegExp][] = [
    ['a plain request', 'GET / HTTP/1.1\r\nHost: x\r\n\r\n', /^HTTP\/1.1 426 /, /asks for no WebS/],
    ['no HTTP', 'SSH-2.0-OpenSSH_9.2\r\n\r\n', /^HTTP\/1.1 400 /, /no HTTP request/],
    ['no key', `${HEAD}${VERSION}\r\n`, /^HTTP\/1.1 400 /, /Sec-WebSocket-Key is missing/],
    [
      'headers without end',
      `${HEAD}X-Padding: ${'x'.repeat(20_000)}`,
      /^HTTP\/1.1 431 /,
      /headers are over 8192 bytes/,
    ],
  ];
  for (const [index, [name, request, expected, detail]] of upgrades.entries()) {
    test(name, async () => {
      assert.match(await answer(request), expected);
      await refused('bad-upgrade', index + 1, detail);
    });
  }

  test('a wrong path', async () => {
    await assert.rejects(gateway.wss('/other'), /404/);
    await refused('wrong-path', 1, /no WebSocket at "\/other"; sensors use \/d4/);
  });

  test('a request that does not come, and one that comes too slowly', async () => {
    assert.match(await answer(''), /^HTTP\/1.1 408 /);
    const socket = await gateway.tlsToWss();
    const drip = setInterval(() => socket.write('x'), 50);
    socket.write('GET /d4 HTTP/1.1\r\nX-Slow: ');
    await closed(socket);
    clearInterval(drip);
    await refused('handshake-timeout', 2, /no upgrade request within 1000 ms/);
  });

  test('a peer that is gone before its request is whole', async () => {
    const socket = await gateway.tlsToWss();
    socket.end('GET /d4 HT');
    await closed(socket);
    await refused('bad-upgrade', upgrades.length + 1, /closed before its upgrade|no HTTP request/);
  });

  test('no TLS', async () => {
    await assert.rejects(gateway.wss('/d4', { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1' }));
    await refused('handshake-failed', 1, /./);
  });

  test('text messages; the frames before are stored', async () => {
    const sensor = new Sensor(uuidOf(2));
    const client = await gateway.wss();
    const closing = closingOf(client);
    client.send(sensor.frame('before\n'));
    client.send(sensor.frame('after\n').toString('latin1'));
    assert.deepEqual(await closing, { code: 1003, reason: 'text-message' });
    const report = await untilLedger(
      gateway,
      (now) => sensorsOf(now, sensor.uuid)[0]?.ends['text-message'] === 1,
      'the end is counted',
    );
    assert.equal(sensorsOf(report, sensor.uuid)[0]!.received.frames, 1);
    assert.equal(storedOf(gateway, sensor.uuid).toString(), 'before\n');
  });

  test('bytes that are no WebSocket frames', async () => {
    const sensor = new Sensor(uuidOf(3));
    const socket = await gateway.tlsToWss();
    socket.write(`${HEAD}${KEY}${VERSION}\r\n`);
    const frame = sensor.frame('in the first packet\n');
    // A zero mask leaves the payload as it is; then a frame without one.
    socket.write(Buffer.concat([Buffer.from([0x82, 0x80 | frame.length, 0, 0, 0, 0]), frame]));
    socket.write(Buffer.from([0x82, 1, 0]));
    await closed(socket);
    await untilLedger(
      gateway,
      (now) => sensorsOf(now, sensor.uuid)[0]?.ends['bad-websocket'] === 1,
      'the end is counted',
    );
    assert.equal(storedOf(gateway, sensor.uuid).toString(), 'in the first packet\n');
  });

  test('what D4 itself refuses, without a word on keys and sensors', async () => {
    const wrongKey = new Sensor(uuidOf(4), 3, 'not the secret');
    const client = await gateway.wss();
    const closing = closingOf(client);
    client.send(wrongKey.frame('forged\n'));
    assert.deepEqual(await closing, { code: 1008, reason: 'refused' });
    const large = await gateway.wss();
    const tooLarge = closingOf(large);
    large.send(new Sensor(uuidOf(5)).frame(Buffer.alloc(1_000_001)));
    assert.deepEqual(await tooLarge, { code: 1009, reason: 'too-large' });
    const silent = await gateway.wss();
    assert.deepEqual(await closingOf(silent), { code: 1008, reason: 'first-frame-timeout' });
  });

  test('a client that is cut off in mid-frame ends as one over TLS does', async () => {
    const sensor = new Sensor(uuidOf(6));
    const client = await gateway.wss();
    client.send(sensor.frame('whole\n'));
    client.send(sensor.frame('cut\n').subarray(0, 64), { fin: false });
    client.close(1000);
    const report = await untilLedger(
      gateway,
      (now) => sensorsOf(now, sensor.uuid)[0]?.sessions === 1 && now.sessions.length === 1,
      'the session is over',
    );
    assert.deepEqual(sensorsOf(report, sensor.uuid)[0]!.truncated, { count: 1, bytes: 64 });
  });

  test('sensors are told that the gateway stops; nobody else noticed anything', async () => {
    const sensor = new Sensor(uuidOf(7));
    const client = await gateway.wss();
    const closing = closingOf(client);
    client.send(sensor.frame('to the end\n'));
    await untilLedger(
      gateway,
      (now) => sensorsOf(now, sensor.uuid)[0]?.received.frames === 1,
      'it is received',
    );
    await witness.finish(gateway);
    assert.equal(await gateway.stop(), 0);
    assert.deepEqual(await closing, { code: 1001, reason: 'the gateway is stopping' });
  });
});
