import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { LedgerJournal } from '../../src/ledger/journal.js';
import { UNVERIFIED_SENSOR } from '../../src/ledger/totals.js';
import { Counters } from '../../src/stats/counters.js';
import { FlowMeter, WINDOWS } from '../../src/stats/flow-meter.js';
import { GatewayStats } from '../../src/stats/gateway-stats.js';
import { FLOW_MS, type WorkerStats } from '../../src/stats/messages.js';
import { RejectLog } from '../../src/stats/reject-log.js';
import { ThreadMonitor } from '../../src/stats/thread-monitor.js';
import { Reject } from '../../src/wire/reject.js';
import { tempDir } from '../support/tmp.js';

const SENSORS = ['3a9f1c52-6d0e-4b7a-9c41-5e2f8b7d0a13', '5e2f8b7d-0a13-4b7a-9c41-000000000001'];

describe('counters', () => {
  const dir = tempDir('counters');

  test('come to what the rows came to, however often and whenever they are taken', () => {
    const act = fc.record({
      session: fc.nat({ max: 5 }),
      what: fc.constantFrom('received', 'delivered', 'rejected', 'take', 'flow'),
      frames: fc.nat({ max: 9 }),
      bytes: fc.nat({ max: 999 }),
      sink: fc.nat({ max: 1 }),
      code: fc.constantFrom(...Object.values(Reject)),
    });
    let run = 0;
    fc.assert(
      fc.property(fc.array(act, { maxLength: 80 }), (acts) => {
        run += 1;
        const path = join(dir, `worker-${run}.journal`);
        const journal = new LedgerJournal(path, { sinks: ['a', 'b'], sessions: 8 });
        const counters = new Counters(['a', 'b']);
        const sessions = Array.from({ length: 6 }, (_, slot) => {
          const sensor = SENSORS[slot % 2]!;
          const type = slot % 3 === 0 ? 1 : 3;
          const id = `s${slot}`;
          const row = journal.openSession({ id, slot, sensor, type, openedAt: 0 });
          return { id, sensor, type, verified: slot !== 5, row, frames: 0, bytes: 0 };
        });
        const expected: Record<string, number> = {};
        const count = (key: string, more: number) => {
          expected[key] = (expected[key] ?? 0) + more;
        };
        const flowed: Record<string, number> = {};
        const takeFlow = () => {
          for (const [id, , , frames, bytes, rejected] of counters.takeFlow()) {
            flowed[id] = (flowed[id] ?? 0) + frames + bytes + rejected;
          }
        };
        const inFlow: Record<string, number> = {};
        for (const { session: index, what, frames, bytes, sink, code } of acts) {
          const session = sessions[index]!;
          const { row, type } = session;
          const id = session.verified ? session.id : '';
          if (what === 'take') counters.take(session);
          else if (what === 'flow') takeFlow();
          else if (what === 'received') {
            session.frames += frames;
            session.bytes += bytes;
            row.received(session.frames, session.bytes);
            count(`received ${type} frames`, frames);
            count(`received ${type} bytes`, bytes);
            inFlow[id] = (inFlow[id] ?? 0) + frames + bytes;
          } else if (what === 'delivered') {
            row.delivered(sink, frames, bytes);
            count(`delivered ${'ab'[sink]} frames`, frames);
            count(`delivered ${'ab'[sink]} bytes`, bytes);
          } else {
            row.reject(code, frames, bytes);
            count('rejected frames', frames);
            count('rejected bytes', bytes);
            inFlow[id] = (inFlow[id] ?? 0) + frames;
          }
        }
        for (const session of sessions) counters.take(session);
        takeFlow();
        const { received, delivered, rejected } = counters.tallies;
        const found: Record<string, number> = {};
        const put = (key: string, value: number) => {
          if (value > 0) found[key] = (found[key] ?? 0) + value;
        };
        for (const [type, amount] of Object.entries(received)) {
          put(`received ${type} frames`, amount.frames);
          put(`received ${type} bytes`, amount.bytes);
        }
        for (const [sink, amount] of Object.entries(delivered)) {
          put(`delivered ${sink} frames`, amount.frames);
          put(`delivered ${sink} bytes`, amount.bytes);
        }
        for (const amount of Object.values(rejected)) {
          put('rejected frames', amount.frames);
          put('rejected bytes', amount.bytes);
        }
        const nonZero = (record: Record<string, number>) =>
          Object.fromEntries(Object.entries(record).filter(([, value]) => value > 0));
        assert.deepEqual(found, nonZero(expected));
        assert.deepEqual(nonZero(flowed), nonZero(inFlow));
        for (const { row } of sessions) row.release();
        journal.close();
      }),
      { numRuns: 300, interruptAfterTimeLimit: 10_000 },
    );
  });
});

describe('the flow meter', () => {
  const flow = (sensor: string, bytes: number) => [['', sensor, 3, 1, bytes, 0]] as never;

  test('tells rates of the last window, and forgets what is long ago', () => {
    const meter = new FlowMeter();
    const start = 1_000_000 * FLOW_MS;
    for (let window = 0; window < 60; window += 1) {
      meter.take(flow(SENSORS[0]!, 5_000), start + window * FLOW_MS);
    }
    const now = start + 59 * FLOW_MS;
    const rate = meter.rateOf(SENSORS[0]!, now)!;
    assert.equal(rate.bytesPerSecond, 1_000);
    assert.deepEqual(rate.recent, Array(WINDOWS).fill(1_000));
    assert.deepEqual(rate.types, [3]);
    const later = meter.rateOf(SENSORS[0]!, now + 2 * FLOW_MS)!;
    assert.equal(later.bytesPerSecond, 0);
    assert.deepEqual(later.recent.slice(-3), [1_000, 0, 0]);
    assert.equal(later.lastAt, now);
    meter.take(flow(SENSORS[0]!, 10), now + 100 * FLOW_MS);
    const after = meter.rateOf(SENSORS[0]!, now + 100 * FLOW_MS)!;
    assert.deepEqual(after.recent, [...Array(WINDOWS - 1).fill(0), 2]);
    meter.take(flow(UNVERIFIED_SENSOR, 10), now);
    assert.equal(meter.rateOf(UNVERIFIED_SENSOR, now), undefined);
  });

  test('keeps no more sensors than it may: the quietest goes', () => {
    const meter = new FlowMeter(2);
    meter.take(flow('a', 1), 0);
    meter.take(flow('b', 1), 0);
    meter.take(flow('a', 1), 1);
    meter.take(flow('c', 1), 2);
    assert.deepEqual(
      ['a', 'b', 'c'].map((sensor) => meter.rateOf(sensor, 2) !== undefined),
      [true, false, true],
    );
  });
});

test('the log of rejects counts by address and reason, and lets the quietest go', () => {
  const log = new RejectLog(2);
  const add = (address: string, at: number, sensor?: string) =>
    log.add({ address, reason: 'bad-hmac', detail: `at ${at}`, sensor }, at);
  add('a', 1, 'one');
  add('b', 2);
  add('a', 3);
  add('c', 4);
  assert.deepEqual(log.list(), [
    {
      address: 'c',
      reason: 'bad-hmac',
      count: 1,
      firstAt: 4,
      lastAt: 4,
      detail: 'at 4',
      sensor: undefined,
    },
    {
      address: 'a',
      reason: 'bad-hmac',
      count: 2,
      firstAt: 1,
      lastAt: 3,
      detail: 'at 3',
      sensor: 'one',
    },
  ]);
});

test('the gateway keeps what workers that died had counted, and puts their sinks together', () => {
  const held = new Set<string>();
  const stats = new GatewayStats(2, new Map([['disk', 'files']]), held);
  const told = (frames: number, more: object = {}, pid = 1): WorkerStats =>
    ({
      pid,
      tallies: {
        received: { 3: { frames, bytes: 10 * frames } },
        rejected: { 'bad-hmac': { frames: 1, bytes: 0 } },
        delivered: { disk: { frames, bytes: 10 * frames } },
      },
      sinks: [{ name: 'disk', kind: 'files', full: false, held: false, state: 'ok', ...more }],
    }) as unknown as WorkerStats;
  stats.told(0, told(5, { spool: { bytes: 1, maxBytes: 10 }, lagSeconds: 3 }), 1);
  stats.told(1, told(7, { spool: { bytes: 2, maxBytes: 10 }, figures: { openFiles: 2 } }), 1);
  assert.deepEqual(stats.totals().received, { 3: { frames: 12, bytes: 120 } });
  assert.deepEqual(stats.sinks()[0]!.spool, { bytes: 3, maxBytes: 20 });
  assert.equal(stats.sinks()[0]!.lagSeconds, 3);
  stats.workerGone(0, true);
  stats.told(0, told(6), 2);
  assert.equal(stats.totals().received[3]!.frames, 12, 'its last words count nothing twice');
  stats.told(0, told(1, { state: 'failing', lastError: { text: 'full', at: 9 } }, 2), 2);
  assert.deepEqual(stats.totals().received, { 3: { frames: 13, bytes: 130 } });
  assert.deepEqual(stats.totals().rejected, { 'bad-hmac': { frames: 3, bytes: 0 } });
  assert.equal(stats.workers[0]!.deaths, 1);
  const [disk] = stats.sinks();
  assert.deepEqual(
    [disk!.state, disk!.lastError, disk!.figures],
    ['failing', { text: 'full', at: 9 }, { openFiles: 2 }],
  );
  held.add('disk');
  assert.equal(stats.sinks()[0]!.state, 'stopped');
});

test('the thread monitor sees collections and a loop that was held up', async () => {
  const monitor = new ThreadMonitor();
  await new Promise((resolve) => setTimeout(resolve, 50));
  const until = performance.now() + 100;
  let garbage: object[] = [];
  while (performance.now() < until) garbage = [...garbage.slice(-50_000), { garbage: until }];
  await new Promise((resolve) => setTimeout(resolve, 100));
  const { loopDelayMs, utilization, gc } = monitor.sample();
  monitor.close();
  assert.ok(loopDelayMs.max >= 50, `${loopDelayMs.max}`);
  assert.ok(utilization > 0.1 && utilization <= 1, `${utilization}`);
  assert.ok(gc.minor!.count > 0 && gc.minor!.seconds > 0);
});
