import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { describe, test } from 'node:test';
import type { LedgerReport } from '../../src/ledger/report.js';
import { randomOf, runSeed } from '../ring/fixture.js';
import { startD4gw } from '../support/program.js';
import { requireTool } from '../support/tools.js';
import { Gateway } from './gateway.js';
import { checkStored, Load, partsOf, SENSORS } from './load.js';
import { sharedSecret, until, untilLedger, workersOf } from './peers.js';
import { childrenOf, Feed, filesBySensor, isAlive } from './traffic.js';

type Compress = 'none' | 'lz4' | 'gzip';

function options(compress: Compress) {
  const disk = { kind: 'files', dir: './data/sensors', flushMs: 50, rotateBytes: 300_000 };
  return sharedSecret({ workers: 3, sinks: { disk: { ...disk, compress } } });
}

/** What tells whether a file was touched. */
function marksOf(gateway: Gateway): Map<string, string> {
  const marks = new Map<string, string>();
  for (const path of [...filesBySensor(gateway).values()].flat()) {
    if (path.endsWith('.part')) continue;
    const { ino, size, mtimeNs, ctimeNs } = statSync(path, { bigint: true });
    marks.set(path, `${ino} ${size} ${mtimeNs} ${ctimeNs}`);
  }
  return marks;
}

function untouched(before: Map<string, string>, gateway: Gateway): void {
  const after = marksOf(gateway);
  for (const [path, mark] of before) assert.equal(after.get(path), mark, path);
}

const skip = requireTool('tcpdump', 'lz4');

describe('kill -9', { skip }, () => {
  test('of workers under load', async (context) => {
    const seed = runSeed();
    context.diagnostic(`seed ${seed} (D4GW_SEED)`);
    const random = randomOf(seed);
    const gateway = await Gateway.start(options('none'));
    const load = new Load(gateway, random);
    const died = () => gateway.logged('worker died').length;
    const killed: number[] = [];
    let before = new Map<string, string>();
    // A worker that has died twice comes back after a longer time.
    for (let round = 0; round < 4; round += 1) {
      await load.more(500_000 + random(2_000_000));
      before = marksOf(gateway);
      const serving = new Set(gateway.logged('session opened').map(({ pid }) => pid as number));
      const workers = workersOf(gateway).filter((pid) => serving.has(pid));
      const pid = workers[random(workers.length)]!;
      killed.push(pid);
      process.kill(pid, 'SIGKILL');
      await gateway.until(() => died() === round + 1, 'the death is logged');
      await until(() => workersOf(gateway).length === 3, 'the worker is back');
    }
    await load.more(2_000_000);
    await load.end();
    assert.equal(await gateway.stop(), 0);
    untouched(before, gateway);

    assert.deepEqual(
      gateway.logged('worker died').map(({ pid, signal }) => `${pid} ${signal}`),
      killed.map((pid) => `${pid} SIGKILL`),
      gateway.process.output().slice(-8000),
    );
    const delays = new Map<unknown, number[]>();
    for (const { worker, delayMs } of gateway.logged('worker restarts')) {
      delays.set(worker, [...(delays.get(worker) ?? []), delayMs as number]);
    }
    for (const own of delays.values()) {
      assert.deepEqual(
        own,
        own.map((_, index) => 500 * 2 ** index),
        'backoff',
      );
    }
    const { code, ledger } = await gateway.ledger();
    assert.equal(code, 0);
    assert.equal(ledger.workerDeaths, killed.length, gateway.process.output());
    checkStored(gateway, ledger, load.feeds);
    // What other workers served is there to the last byte.
    const wholes = load.feeds.filter((feed) => !feed.cut);
    assert.equal(wholes.length, SENSORS);
    for (const { source } of wholes) {
      const { uuid, frames, bytes } = source;
      const entry = (ledger as LedgerReport).sensors.find(({ sensor }) => sensor === uuid)!;
      assert.deepEqual(entry.sinks[0]!.delivered, { frames, bytes });
      assert.deepEqual(entry.ends, { closed: 1 });
    }
    const serving = new Map(
      gateway.logged('session opened').map(({ sensor, pid }) => [sensor, pid]),
    );
    for (const { sensor, sinks, ends } of (ledger as LedgerReport).sensors) {
      if (killed.includes(serving.get(sensor) as number)) continue;
      if (!serving.has(sensor)) continue;
      assert.equal(sinks[0]!.lost.frames, 0, sensor);
      assert.equal(ends['process-died'], undefined, sensor);
    }
  });

  for (const compress of ['none', 'lz4', 'gzip'] as const) {
    test(`of the whole gateway at once, compression ${compress}`, async (context) => {
      const seed = runSeed();
      context.diagnostic(`seed ${seed} (D4GW_SEED)`);
      const random = randomOf(seed);
      const start = options(compress);
      const gateway = await Gateway.start(start);
      const load = new Load(gateway, random);
      await load.more(2_000_000 + random(4_000_000));
      const before = marksOf(gateway);
      load.stop();
      for (const pid of [gateway.process.pid, ...workersOf(gateway)]) process.kill(pid, 'SIGKILL');
      await gateway.process.exit();
      await load.over();
      assert.ok(partsOf(gateway).length > 0, 'files were open');
      const dead = await gateway.ledger();
      assert.equal(dead.code, 0, `balances before the next start: ${dead.stderr}`);

      const next = await Gateway.start(start);
      const { code, ledger } = await next.ledger();
      assert.equal(code, 0);
      assert.equal(ledger.workerDeaths, 3);
      untouched(before, next);
      const lost = checkStored(next, ledger, load.feeds);
      const told = next.logged('recovered').map(({ lostBytes }) => lostBytes as number);
      assert.equal(
        told.reduce((sum, bytes) => sum + bytes, 0),
        lost,
        'the log says what was lost',
      );
      // It serves as before.
      const late = new Feed(await next.unix(), 'pcap', random);
      await until(() => late.source.bytes > 200_000, 'it sends');
      await late.end();
      assert.equal(await next.stop(), 0);
      const last = await next.ledger();
      assert.equal(last.code, 0);
      assert.equal(checkStored(next, last.ledger, [...load.feeds, late]), lost);
    });
  }

  test('of the primary alone: its workers finish what they have, and end', async (context) => {
    const seed = runSeed();
    context.diagnostic(`seed ${seed} (D4GW_SEED)`);
    const random = randomOf(seed);
    const start = options('none');
    const gateway = await Gateway.start(start);
    const load = new Load(gateway, random);
    await load.more(2_000_000 + random(3_000_000));
    const workers = workersOf(gateway);
    load.stop();
    process.kill(gateway.process.pid, 'SIGKILL');
    // At once: the new one waits for the old one's workers.
    const next = await Gateway.start(start);
    await load.over();
    assert.deepEqual(workers.filter(isAlive), []);
    await gateway.process.exit();
    const { code, ledger } = await next.ledger();
    assert.equal(code, 0);
    assert.equal(checkStored(next, ledger, load.feeds), 0, 'nothing is lost');
    for (const { ends } of (ledger as LedgerReport).sensors) {
      for (const end of Object.keys(ends)) assert.match(end, /^(drained|closed)$/);
    }
    assert.equal(childrenOf(next.process.pid).length, 3);
    assert.equal(await next.stop(), 0);
  });

  test('again and again while it starts', async (context) => {
    const seed = runSeed();
    context.diagnostic(`seed ${seed} (D4GW_SEED)`);
    const random = randomOf(seed);
    const start = options('gzip');
    const gateway = await Gateway.start(start);
    const load = new Load(gateway, random);
    await load.more(4_000_000);
    load.stop();
    const pids = [gateway.process.pid, ...workersOf(gateway)];
    for (const pid of pids) process.kill(pid, 'SIGKILL');
    await gateway.process.exit();
    await load.over();
    for (let round = 0; round < 3; round += 1) {
      const running = startD4gw(['serve', '--config', gateway.configFile]);
      await new Promise((resolve) => setTimeout(resolve, 200 + random(500)));
      for (const pid of [...childrenOf(running.pid), running.pid]) {
        if (isAlive(pid)) process.kill(pid, 'SIGKILL');
      }
      await running.exit();
    }
    const next = await Gateway.start(start);
    await untilLedger(next, ({ sessions }) => sessions.length === 0, 'all is settled');
    const { code, ledger } = await next.ledger();
    assert.equal(code, 0);
    checkStored(next, ledger, load.feeds);
    assert.equal(await next.stop(), 0);
  });
});
