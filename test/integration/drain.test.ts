import assert from 'node:assert/strict';
import { existsSync, renameSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { stringify } from 'yaml';
import type { LedgerReport } from '../../src/ledger/report.js';
import { randomOf, runSeed } from '../ring/fixture.js';
import { d4gw } from '../support/program.js';
import { requireTool } from '../support/tools.js';
import { Gateway } from './gateway.js';
import { checkStored, Load, partsOf } from './load.js';
import { sharedSecret, until, untilLedger, workersOf, write } from './peers.js';
import { dataFiles, filesBySensor, finish, gone, isAlive, readAll, Source } from './traffic.js';

/** Resolves with whether a connection can be had. */
function accepts(to: { port: number; host: string } | { path: string }): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(to);
    socket.once('error', () => resolve(false));
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
  });
}

const host = '127.0.0.1';
const skip = requireTool('tcpdump');

describe('a stop under load', { skip }, () => {
  const whole = (gateway: Gateway) => [gateway.process.pid, ...workersOf(gateway)];
  const cases: [string, NodeJS.Signals, 'inline' | 'pipelined', (gateway: Gateway) => number[]][] =
    [
      ['SIGTERM to the primary', 'SIGTERM', 'pipelined', (gateway) => [gateway.process.pid]],
      ['SIGINT to the primary', 'SIGINT', 'inline', (gateway) => [gateway.process.pid]],
      // As a terminal's Ctrl-C, and an init system's stop of a control group.
      ['SIGINT to all processes', 'SIGINT', 'pipelined', whole],
      ['SIGTERM to all processes, workers first', 'SIGTERM', 'inline', (g) => whole(g).reverse()],
    ];
  for (const [name, signal, threads, receivers] of cases) {
    test(`by ${name}, ${threads}`, async (context) => {
      const seed = runSeed();
      context.diagnostic(`seed ${seed} (D4GW_SEED)`);
      const random = randomOf(seed);
      const gateway = await Gateway.start(sharedSecret({ threads }));
      // Sent whole and taken whole before the stop, with its connection still open.
      const quiet = new Source('lines', random);
      const quietSocket = await gateway.tls();
      const bytes = quiet.cutIntoFrames(quiet.content.next(100_000), () => random(9_000));
      await write(quietSocket, bytes);
      await untilLedger(
        gateway,
        ({ sensors }) =>
          sensors.some((one) => one.sensor === quiet.uuid && one.received.frames === quiet.frames),
        'the quiet sensor is taken',
      );
      const load = new Load(gateway, random);
      await load.more(1_000_000 + random(2_000_000));
      const { tcpPort, tlsPort, unixPath } = gateway;
      const workers = workersOf(gateway);
      load.stop();
      for (const pid of receivers(gateway)) process.kill(pid, signal);
      const { code } = await gateway.process.exit();
      assert.equal(code, 0, gateway.process.output().slice(-3_000));
      await Promise.all([load.over(), gone(quietSocket)]);
      for (const port of [tcpPort, tlsPort]) assert.equal(await accepts({ host, port }), false);
      assert.equal(await accepts({ path: unixPath }), false);
      assert.ok(!existsSync(unixPath), 'its socket file is gone');
      assert.deepEqual(workers.filter(isAlive), []);

      assert.deepEqual(partsOf(gateway), []);
      const { code: balanced, ledger } = await gateway.ledger();
      assert.equal(balanced, 0);
      const all = [...load.feeds, { source: quiet }];
      assert.equal(checkStored(gateway, ledger, all), 0, 'nothing is lost');
      const stored = readAll(dataFiles(filesBySensor(gateway).get(quiet.hex)));
      assert.ok(stored.equals(quiet.payload), 'what came before is there to the last byte');
    });
  }

  test('while a worker is starting: it does not wait for it', async () => {
    const limits = { drainTimeoutMs: 120_000 };
    const gateway = await Gateway.start(sharedSecret({ limits, workers: 1 }));
    process.kill(workersOf(gateway)[0]!, 'SIGKILL');
    await gateway.until(() => gateway.logged('worker restarts').length === 1, 'its restart');
    await until(() => workersOf(gateway).length === 1, 'it comes up');
    assert.equal(await gateway.stop(), 0);
    assert.equal((await gateway.ledger()).code, 0);
  });
});

describe('a stop that takes long', () => {
  /** A gateway whose files sink waits for its directory to come back. */
  async function waiting(context: TestContext) {
    const seed = runSeed();
    context.diagnostic(`seed ${seed} (D4GW_SEED)`);
    const sinks = {
      disk: { kind: 'files', dir: './data/sensors', flushMs: 50, rotateBytes: 50_000 },
    };
    const start = sharedSecret({ limits: { drainTimeoutMs: 120_000 }, sinks });
    const gateway = await Gateway.start(start);
    const load = new Load(gateway, randomOf(seed));
    await load.more(1_000_000);
    const away = join(gateway.dir, 'away');
    renameSync(gateway.sensorsDir, away);
    await gateway.until(
      () => gateway.logged('the files sink takes no more').length > 0,
      'the sink says so',
    );
    load.stop();
    gateway.process.kill('SIGTERM');
    await gateway.until(() => gateway.logged('stopping').length === 1, 'it stops');
    const { tcpPort, tlsPort, unixPath } = gateway;
    for (const port of [tcpPort, tlsPort]) {
      await until(async () => !(await accepts({ host, port })), 'nothing more is accepted');
    }
    await until(async () => !(await accepts({ path: unixPath })), 'nothing more is accepted');
    return { gateway, load, away, start };
  }

  test('finishes when the sink can go on', { skip }, async (context) => {
    const { gateway, load, away } = await waiting(context);
    renameSync(away, gateway.sensorsDir);
    assert.equal((await gateway.process.exit()).code, 0);
    await load.over();
    const { code, ledger } = await gateway.ledger();
    assert.equal(code, 0);
    assert.equal(checkStored(gateway, ledger, load.feeds), 0);
  });

  for (const second of ['SIGTERM', 'SIGINT'] as const) {
    test(`is ended at once by a second signal, ${second}`, async (context) => {
      const { gateway, load, start } = await waiting(context);
      const workers = workersOf(gateway);
      assert.equal(workers.length, 2);
      gateway.process.kill(second);
      const { code, signal } = await gateway.process.exit();
      assert.equal(signal, null);
      assert.equal(code, 1);
      assert.deepEqual(workers.filter(isAlive), [], 'no process is left behind');
      await load.over();
      const next = await Gateway.start(start);
      const { code: balanced, ledger } = await next.ledger();
      assert.equal(balanced, 0);
      assert.equal((ledger as LedgerReport).sessions?.length ?? 0, 0);
      assert.equal(await next.stop(), 0);
    });
  }
});

test('a second gateway on one data directory is refused; the first goes on', async () => {
  const start = sharedSecret();
  const gateway = await Gateway.start(start);
  const second = await d4gw(['serve', '--config', gateway.configFile]);
  assert.equal(second.code, 1);
  assert.equal(second.stdout, '');
  assert.match(second.stderr, /^[^\n]*is a gateway on this data directory[^\n]*\n$/);
  assert.match(second.stderr, new RegExp(`process ${gateway.process.pid} `));
  const source = new Source('lines', randomOf(1));
  const socket = await gateway.unix();
  await write(socket, source.frame(source.content.next(5_000)));
  await finish(socket);
  assert.equal(await gateway.stop(), 0);
  const stored = readAll(dataFiles(filesBySensor(gateway).get(source.hex)));
  assert.ok(stored.equals(source.payload));
  // Neither lock nor socket is in the way of the next.
  const next = await Gateway.start(start);
  assert.equal(await next.stop(), 0);
});

test('a socket file that a killed gateway left is no hindrance, one in use is', async () => {
  const start = sharedSecret();
  const gateway = await Gateway.start(start);
  for (const pid of [gateway.process.pid, ...workersOf(gateway)]) process.kill(pid, 'SIGKILL');
  await gateway.process.exit();
  assert.ok(existsSync(gateway.unixPath));
  const next = await Gateway.start(start);
  assert.ok(await accepts({ path: next.unixPath }));

  const other = sharedSecret({ listen: [{ unix: { path: next.unixPath } }] });
  writeFileSync(
    join(other.dir!, 'config.yaml'),
    stringify({
      dataDir: './data',
      sinks: { nowhere: { kind: 'blackhole' } },
      routes: [{ match: {}, to: ['nowhere'] }],
      ...other.config,
    }),
  );
  const refused = await d4gw(['serve', '--config', join(other.dir!, 'config.yaml')]);
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /^[^\n]*can't listen on unix [^\n]*in use[^\n]*\n$/);
  assert.ok(await accepts({ path: next.unixPath }), 'it still listens');
  assert.equal(await next.stop(), 0);
});
