import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { d4gw } from '../support/program.js';
import { recordedStreams, sharedPath, skipWithoutShared } from '../support/shared.js';
import { Gateway } from './gateway.js';
import {
  Sensor,
  sharedSecret,
  socatFile,
  until,
  untilLedger,
  uuidOf,
  workersOf,
  write,
} from './peers.js';
import { childrenOf, isAlive } from './traffic.js';

/** Those that no server takes. */
const REFUSED = ['c-k1-t254-nometa.d4', 'c-k1-t3-niluuid.d4', 'c-k1-t3-version2.d4'];
const streams = recordedStreams().filter(({ file }) => !REFUSED.includes(file));

/** Of each sensor, at most; it is killed before they are all sent. */
const FRAMES = 4_000;

function options(archive: object = {}) {
  return sharedSecret({
    workers: 2,
    sinks: {
      disk: { kind: 'files', dir: './data/sensors', flushMs: 50 },
      old: { kind: 'archive', dir: './data/archive', ...archive },
    },
    routes: [{ match: {}, to: ['disk', 'old'] }],
  });
}

/** Each stored file as its sensor, type and content: the time of its arrival aside. */
function stored(gateway: Gateway): string[] {
  return gateway
    .files()
    .map((name) => {
      const place = name.split('/').slice(0, 2).join('/');
      const ext = name.slice(name.indexOf('.', name.lastIndexOf('/')));
      const sha256 = createHash('sha256').update(gateway.read(name)).digest('hex');
      return `${place} ${ext} ${sha256}`;
    })
    .sort();
}

interface Summary {
  frames: number;
  bytes: number;
  hmac: { verified: number; failed: number; unknown: number };
}

async function summaryOf(gateway: Gateway): Promise<Summary> {
  const { code, stdout, stderr } = await d4gw([
    'decode',
    '--summary',
    '--key-file',
    join(gateway.dir, 'secret'),
    join(gateway.dir, 'data', 'archive'),
  ]);
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout) as Summary;
}

describe('the archive', () => {
  test('keeps recorded streams so that they verify at rest, and replay to the same files', {
    skip: skipWithoutShared(),
  }, async () => {
    assert.ok(streams.length > 20);
    const gateway = await Gateway.start(options({ segmentBytes: '1MiB' }));
    const frames = streams.reduce((sum, stream) => sum + stream.frames, 0);
    // One after the other: a second of one sensor and type would take the first one's place.
    let sent = 0;
    for (const { file, frames: own } of streams) {
      await socatFile(gateway, 'tcp', sharedPath('streams', file));
      sent += own;
      await untilLedger(
        gateway,
        ({ sinks, sessions }) =>
          sessions.length === 0 && sinks.every(({ delivered }) => delivered.frames === sent),
        `${file} is delivered`,
      );
    }
    assert.equal(await gateway.stop(), 0);
    const summary = await summaryOf(gateway);
    assert.equal(summary.frames, frames);
    assert.deepEqual(summary.hmac, { verified: frames, failed: 0, unknown: 0 });
    const archive = join(gateway.dir, 'data', 'archive');
    const checked = await d4gw(['spool', 'check', archive]);
    assert.equal(checked.code, 0, checked.stdout);

    const other = await Gateway.start(options());
    const to = `tcp://127.0.0.1:${other.tcpPort}`;
    const replayed = await d4gw(['replay', archive, '--to', to]);
    assert.equal(replayed.code, 0, replayed.stderr);
    assert.match(
      replayed.stderr,
      new RegExp(`^d4gw replay: ${frames} frames .* sent to ${to}`, 'm'),
    );
    await untilLedger(
      other,
      ({ sinks, sessions }) => sessions.length === 0 && sinks[0]?.delivered.frames === frames,
      'all is delivered again',
    );
    assert.equal(await other.stop(), 0);
    assert.deepEqual(stored(other), stored(gateway));
    assert.deepEqual((await summaryOf(other)).hmac, summary.hmac);
  });

  for (const whom of ['a worker', 'the gateway'] as const) {
    test(`after kill -9 of ${whom} it holds what the ledger says`, async () => {
      const start = options({ segmentBytes: '256KiB' });
      let gateway = await Gateway.start(start);
      const sensors = [1, 2, 3, 4].map((number) => new Sensor(uuidOf(number)));
      let isOver = false;
      let told = () => {};
      const killed = new Promise<void>((resolve) => {
        told = resolve;
      });
      const sending = sensors.map(async (sensor) => {
        const socket = await gateway.tcp();
        socket.on('error', () => {});
        const gone = new Promise((resolve) => socket.once('close', resolve));
        for (let frame = 0; frame < FRAMES && !isOver; frame += 1) {
          const payload = Buffer.alloc(1 + ((frame * 997) % 9_000), frame);
          await Promise.race([write(socket, sensor.frame(payload)), gone]);
        }
        // It stays open until then: a session that goes on is what is killed.
        await killed;
        socket.end();
      });
      await untilLedger(
        gateway,
        ({ sinks }) =>
          sinks.some(({ sink, delivered }) => sink === 'old' && delivered.frames > 500),
        'some is archived',
      );
      const pids =
        whom === 'a worker'
          ? workersOf(gateway).slice(0, 1)
          : [gateway.process.pid, ...childrenOf(gateway.process.pid)];
      for (const pid of pids) process.kill(pid, 'SIGKILL');
      await until(() => !pids.some(isAlive), 'they have ended');
      isOver = true;
      told();
      await Promise.all(sending);
      if (whom === 'the gateway') gateway = await Gateway.start(start);
      await untilLedger(gateway, ({ sessions }) => sessions.length === 0, 'all is settled');
      assert.equal(await gateway.stop(), 0);
      const { code, ledger } = await gateway.ledger();
      assert.equal(code, 0);
      const sink = ledger.sinks.find(({ sink }: { sink: string }) => sink === 'old');
      const summary = await summaryOf(gateway);
      assert.deepEqual(
        { frames: summary.frames, bytes: summary.bytes },
        { frames: sink.delivered.frames, bytes: sink.delivered.bytes },
      );
      assert.equal(summary.hmac.verified, summary.frames);
      const checked = await d4gw(['spool', 'check', join(gateway.dir, 'data', 'archive')]);
      assert.equal(checked.code, 0, checked.stdout);
      assert.ok(existsSync(join(gateway.dir, 'data', 'archive', '0')));
    });
  }
});
