import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { describe, test } from 'node:test';
import { encodeFrame } from '../../src/wire/header.js';
import { Gateway } from './gateway.js';
import {
  activityOf,
  closed,
  RECORDED_KEY,
  register,
  Sensor,
  sensorsOf,
  sharedSecret,
  storedOf,
  until,
  untilLedger,
  uuidOf,
  Witness,
  write,
} from './peers.js';

const TIMEOUT_MS = 1_000;
const PER_ADDRESS = 4;
const IN_ALL = 7;
const PAYLOAD_BYTES_MAX = 1_000;
const SKEW_SECONDS = 600;

describe('limits of connections', async () => {
  const gateway = await Gateway.start({
    config: {
      limits: {
        maxConnections: IN_ALL,
        maxConnectionsPerIp: PER_ADDRESS,
        handshakeTimeoutMs: TIMEOUT_MS,
        firstFrameTimeoutMs: TIMEOUT_MS,
        idleTimeoutMs: TIMEOUT_MS,
        maxPayloadBytes: PAYLOAD_BYTES_MAX,
      },
      admission: { timestampSkewSeconds: SKEW_SECONDS },
    },
  });
  const sensors = Array.from({ length: 10 }, (_, index) => new Sensor(uuidOf(index)));
  await register(gateway, sensors);
  const sensor = (number: number) => sensors[number]!;
  // One of the connections of its address, all the while.
  const witness = await Witness.begin(gateway, sensor(0));

  const refusals = (reason: string, count: number) =>
    untilLedger(gateway, (report) => report.refusals[reason] === count, `${reason} is counted`);

  /** The one session of a sensor ended so, and its record says so. */
  async function ended(number: number, reason: string) {
    const { uuid } = sensor(number);
    const report = await untilLedger(
      gateway,
      (now) => sensorsOf(now, uuid)[0]?.ends[reason] === 1,
      `${reason} is counted`,
    );
    await until(
      async () => (await activityOf(gateway, uuid))?.lastReject?.reason === reason,
      `${reason} is on the sensor's record`,
    );
    return sensorsOf(report, uuid)[0]!;
  }

  test('connections by address, and in all; those that end make room', async () => {
    const open: Socket[] = [];
    while (open.length < PER_ADDRESS - 1) open.push(await gateway.tcp());
    // Accepted connections of one listener are in order: this is the one too many.
    await closed(await gateway.tcp());
    while (open.length < IN_ALL - 1) open.push(await gateway.unix());
    await closed(await gateway.unix());
    for (const reason of ['connection-limit-address', 'connection-limit']) {
      await refusals(reason, 1);
      const [line, ...more] = gateway.logged('rejected').filter((of) => of.reason === reason);
      assert.ok(line?.source);
      assert.deepEqual(more, []);
    }
    for (const socket of open) socket.destroy();
    await until(async () => {
      const socket = await gateway.tcp();
      socket.end(sensor(1).frame('room\n'));
      await closed(socket);
      return gateway.files().some((file) => file.startsWith(sensor(1).hex));
    }, 'there is room again');
    witness.check();
  });

  test('time for the handshake', async () => {
    await closed(await gateway.plainOnTls());
    await refusals('handshake-timeout', 1);
    witness.check();
  });

  test('time to the first frame', async () => {
    const socket = await gateway.tcp();
    socket.write(sensor(2).frame('x'.repeat(100)).subarray(0, 100));
    await closed(socket);
    const { received, truncated } = await ended(2, 'first-frame-timeout');
    assert.deepEqual(received, { frames: 0, bytes: 0 });
    assert.deepEqual(truncated, { count: 1, bytes: 100 });
    witness.check();
  });

  test('idle time', async () => {
    const socket = await gateway.tls();
    socket.write(sensor(3).frame('then silence\n'));
    await closed(socket);
    const { sinks, rejected } = await ended(3, 'idle-timeout');
    assert.equal(sinks[0]!.delivered.frames, 1);
    assert.deepEqual(rejected, {});
    assert.equal(storedOf(gateway, sensor(3).uuid).toString(), 'then silence\n');
    witness.check();
  });

  test('payload size: the largest is taken, one more is not waited for', async () => {
    const largest = 'x'.repeat(PAYLOAD_BYTES_MAX);
    const socket = await gateway.tcp();
    const tooLarge = sensor(4).frame(`${largest}x`);
    await write(socket, Buffer.concat([sensor(4).frame(largest), tooLarge.subarray(0, 62)]));
    await closed(socket);
    const { rejected } = await ended(4, 'too-large');
    assert.deepEqual(rejected, { 'too-large': { frames: 1, bytes: 0 } });
    assert.equal(storedOf(gateway, sensor(4).uuid).toString(), largest);
  });

  test("a frame's time too far from the gateway's", async () => {
    const now = Math.floor(Date.now() / 1000);
    for (const [number, seconds] of [
      [5, -2 * SKEW_SECONDS],
      [6, 2 * SKEW_SECONDS],
    ] as const) {
      const { uuid, type } = sensor(number);
      const key = Buffer.from(RECORDED_KEY);
      const payload = Buffer.from('late');
      const frame = encodeFrame({ uuid, type, key, payload, timestamp: now + seconds });
      const socket = await gateway.tcp();
      await write(socket, Buffer.concat([sensor(number).frame('in time\n'), frame]));
      await closed(socket);
      await ended(number, 'timestamp-skew');
      assert.equal(storedOf(gateway, uuid).toString(), 'in time\n');
    }
  });

  test('the other sensor noticed nothing; the books balance', async () => {
    await witness.finish(gateway);
    const { code } = await gateway.ledger();
    assert.equal(code, 0);
    assert.equal(await gateway.stop(), 0);
  });
});

describe('the assembly budget', async () => {
  const MIB = 1024 ** 2;
  /** Each takes a block of 128 KiB, of which the budget has eight. */
  const FRAME_BYTES = 66_000;
  const BLOCKS = 8;
  const gateway = await Gateway.start(
    sharedSecret({ workers: 1, limits: { assemblyBytes: MIB, maxPayloadBytes: 130_000 } }),
  );

  test('frames that stall while others wait for memory are given up, those that wait are stored', async () => {
    const payload = Buffer.alloc(FRAME_BYTES, 'p');
    const stalled = Array.from({ length: BLOCKS }, (_, index) => new Sensor(uuidOf(index)));
    const sockets: Socket[] = [];
    for (const sensor of stalled) {
      const socket = await gateway.tcp();
      sockets.push(socket);
      await write(socket, sensor.frame('before\n'));
    }
    // Only who was verified has a block as soon as a frame begins.
    const verified = stalled.map(({ uuid }) => uuid);
    await until(() => verified.every((uuid) => storedOf(gateway, uuid).length > 0), 'all verified');
    for (const [index, sensor] of stalled.entries()) {
      await write(sockets[index]!, sensor.frame(payload).subarray(0, FRAME_BYTES / 2));
    }
    const waiting = new Sensor(uuidOf(BLOCKS));
    const socket = await gateway.tcp();
    const frame = waiting.frame(payload);
    await write(socket, frame.subarray(0, 1_000));
    // Small whole frames need no block: they pass while the others stall.
    const witness = await Witness.begin(gateway, new Sensor(uuidOf(BLOCKS + 1)));
    socket.end(frame.subarray(1_000));
    await Promise.all([...sockets, socket].map((each) => closed(each)));
    await witness.finish(gateway);
    const report = await untilLedger(gateway, ({ sessions }) => sessions.length === 0, 'all over');
    for (const { uuid } of stalled) {
      const [own] = sensorsOf(report, uuid);
      assert.deepEqual(own!.ends, { 'assembly-budget': 1 });
      assert.deepEqual(own!.truncated, { count: 1, bytes: FRAME_BYTES / 2 });
      assert.equal(storedOf(gateway, uuid).toString(), 'before\n');
    }
    assert.deepEqual(sensorsOf(report, waiting.uuid)[0]!.ends, { closed: 1 });
    assert.ok(storedOf(gateway, waiting.uuid).equals(payload));
    assert.equal(report.balanced, true);
    assert.equal(await gateway.stop(), 0);
  });
});
