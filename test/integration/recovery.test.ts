import assert from 'node:assert/strict';
import { renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { Gateway } from './gateway.js';
import { Sensor, sharedSecret, until, untilLedger, uuidOf, workersOf, write } from './peers.js';
import { childrenOf, isAlive } from './traffic.js';

const FILES = 4;
const FRAME_BYTES = 500_000;
/** Of each file: enough that its repair takes longer than a worker's restart. */
const FRAMES = 60;

/** Connections that leave large compressed files open, as their `.part` files on disk. */
async function openFiles(gateway: Gateway): Promise<number> {
  const line = Buffer.from('a line that compresses well\n');
  const payload = Buffer.alloc(FRAME_BYTES - (FRAME_BYTES % line.length), line);
  await Promise.all(
    Array.from({ length: FILES }, async (_, number) => {
      const sensor = new Sensor(uuidOf(number));
      const socket = await gateway.tcp();
      for (let frame = 0; frame < FRAMES; frame += 1) await write(socket, sensor.frame(payload));
    }),
  );
  const bytes = payload.length * FRAMES * FILES;
  await untilLedger(
    gateway,
    ({ sinks }) => sinks[0]?.delivered.bytes === bytes,
    'all is delivered',
  );
  return bytes;
}

function options() {
  const disk = { kind: 'files', dir: './data/sensors', flushMs: 50, compress: 'gzip' };
  return sharedSecret({ workers: 1, sinks: { disk } });
}

const parts = (gateway: Gateway) => gateway.files().filter((name) => name.endsWith('.part'));

describe('recovery', () => {
  test('goes on beside the restarted worker; the ledger balances all the while', async () => {
    const gateway = await Gateway.start(options());
    const bytes = await openFiles(gateway);
    const [pid] = workersOf(gateway);
    process.kill(pid!, 'SIGKILL');
    await gateway.until(() => gateway.logged('worker restarts').length === 1, 'it restarts');
    const { code, ledger } = await gateway.ledger();
    assert.equal(code, 0);
    assert.equal(ledger.received.bytes, bytes);
    await until(() => workersOf(gateway).length === 1, 'the worker is back');
    // A clean stop waits for what is still being repaired.
    assert.equal(await gateway.stop(), 0);
    const order = gateway
      .log()
      .map(({ msg }) => msg)
      .filter((msg) => /^(worker restarts|recovered after)/.test(msg));
    assert.deepEqual(order, ['worker restarts', 'recovered after a process ended']);
    assert.deepEqual(parts(gateway), []);
    const after = await gateway.ledger();
    assert.equal(after.code, 0);
    assert.deepEqual(after.ledger.sinks[0].delivered.bytes, bytes);
    assert.deepEqual([after.ledger.openSessions, after.ledger.workerDeaths], [0, 1]);
  });

  test('is not waited for at a second signal: the next start goes on with it', async () => {
    const start = options();
    const gateway = await Gateway.start(start);
    const bytes = await openFiles(gateway);
    const [pid] = workersOf(gateway);
    process.kill(pid!, 'SIGKILL');
    await gateway.until(() => gateway.logged('worker died').length === 1, 'it is dead');
    gateway.process.kill('SIGTERM');
    await gateway.until(() => gateway.logged('stopping').length === 1, 'it stops');
    gateway.process.kill('SIGTERM');
    assert.equal((await gateway.process.exit()).code, 1);
    assert.deepEqual(gateway.logged('recovered after'), []);
    const { code, ledger } = await gateway.ledger();
    assert.deepEqual([code, ledger.openSessions], [0, FILES]);
    assert.equal(ledger.problems.length, 1);

    const next = await Gateway.start(start);
    assert.deepEqual(parts(next), []);
    const settled = (await next.ledger()).ledger;
    assert.deepEqual([settled.openSessions, settled.problems], [0, []]);
    assert.equal(settled.sinks[0].delivered.bytes, bytes);
    assert.equal(await next.stop(), 0);
  });

  test('waits for a volume that is not mounted', async () => {
    const disk = { kind: 'files', dir: './volume/sensors', flushMs: 50 };
    const start = sharedSecret({ workers: 1, sinks: { disk } });
    const gateway = await Gateway.start(start);
    const [volume, away] = [join(gateway.dir, 'volume'), join(gateway.dir, 'unmounted')];
    const sensor = new Sensor(uuidOf(1));
    await write(await gateway.tcp(), sensor.frame('evidence\n'));
    await untilLedger(gateway, ({ sinks }) => sinks[0]?.delivered.frames === 1, 'it is stored');
    const pids = [gateway.process.pid, ...childrenOf(gateway.process.pid)];
    for (const pid of pids) process.kill(pid, 'SIGKILL');
    await gateway.process.exit();
    await until(() => !pids.some(isAlive), 'all have ended');

    renameSync(volume, away);
    const without = await Gateway.start(start);
    const [kept] = without.logged('files could not be repaired');
    assert.match(String(kept?.journal), /worker-0\.[0-9a-f-]{36}\.journal$/);
    const { code, ledger } = await without.ledger();
    assert.deepEqual([code, ledger.openSessions, ledger.workerDeaths], [0, 1, 1]);
    assert.match(ledger.problems.join(), /has died; it left files: 1,/);
    assert.equal(await without.stop(), 0);

    rmSync(volume, { recursive: true });
    renameSync(away, volume);
    const next = await Gateway.start(start);
    const settled = (await next.ledger()).ledger;
    assert.deepEqual([settled.openSessions, settled.problems], [0, []]);
    assert.equal(settled.workerDeaths, 1);
    assert.deepEqual(settled.sinks[0].delivered, { frames: 1, bytes: 9 });
    assert.equal(next.files(join(volume, 'sensors')).filter((f) => f.endsWith('.txt')).length, 1);
    assert.equal(await next.stop(), 0);
  });
});
