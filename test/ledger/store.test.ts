import assert from 'node:assert/strict';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { balance } from '../../src/ledger/balance.js';
import { FOLDED_KEPT, hasLedger, openLedger, RECOVERIES_KEPT } from '../../src/ledger/store.js';
import type { SessionTotals } from '../../src/ledger/totals.js';
import { tempDir } from '../support/tmp.js';
import { sensorUuid } from './simulation.js';

function session(id: string, sensor: number, changes: Partial<SessionTotals> = {}): SessionTotals {
  const amount = { frames: 3, bytes: 30 };
  return {
    id,
    sensor: sensorUuid(sensor),
    type: 1,
    openedAt: 1,
    endedAt: 2,
    end: 'closed',
    received: amount,
    delivered: { disk: amount },
    rejected: {},
    lost: {},
    truncated: { count: 0, bytes: 0 },
    ...changes,
  };
}

test('5,000 sessions fold once, however often and however mixed they are reported', async () => {
  const dataDir = tempDir('ledger');
  let store = openLedger(dataDir);
  const sessions = Array.from({ length: 5_000 }, (_, index) => session(`s${index}`, index % 700));
  await Promise.all([
    store.fold(sessions),
    store.fold(sessions.slice(0, 10)),
    store.fold([sessions[1]!, sessions[1]!]),
    ...sessions.slice(4_900).map((one) => store.fold([one])),
  ]);
  await store.close();
  store = openLedger(dataDir);
  await store.fold(sessions.slice(2_000));
  const { totals } = store.read();
  assert.equal(totals.length, 700);
  assert.equal(
    totals.reduce((sum, total) => sum + total.sessions, 0),
    5_000,
  );
  assert.equal(
    totals.reduce((sum, total) => sum + total.received.bytes, 0),
    150_000,
  );
  assert.deepEqual(
    totals.flatMap((total) => balance(total)),
    [],
  );
  assert.deepEqual(store.read(['s0', 's4999', 'none']).folded, new Set(['s0', 's4999']));
  await store.close();
});

test('only the last sessions are remembered as folded', async () => {
  const store = openLedger(tempDir('ledger'));
  const count = FOLDED_KEPT + 2_000;
  for (let first = 0; first < count; first += 10_000) {
    const length = Math.min(10_000, count - first);
    await store.fold(Array.from({ length }, (_, index) => session(`s${first + index}`, 1)));
  }
  const ids = Array.from({ length: count }, (_, index) => `s${index}`);
  const { folded, totals } = store.read(ids);
  assert.equal(totals[0]!.sessions, count);
  assert.ok(folded.size >= FOLDED_KEPT && folded.size < FOLDED_KEPT + 1_000, `${folded.size}`);
  assert.ok(ids.slice(-FOLDED_KEPT).every((id) => folded.has(id)));
  await store.close();
});

test('refusals, deaths and recoveries survive a restart, and stay few', async () => {
  const dataDir = tempDir('ledger');
  let store = openLedger(dataDir);
  store.refuse('handshake-failed');
  store.refuse('handshake-failed', 4);
  for (let reason = 0; reason < 200; reason += 1) store.refuse(`made-up-${reason}`);
  for (let death = 0; death < RECOVERIES_KEPT + 5; death += 1) {
    const lost = { frames: death, bytes: 0 };
    const event = { id: `j${death}`, at: death, worker: '0', sessions: 1, lost };
    await store.fold([], event);
    await store.fold([], event);
  }
  await store.close();
  store = openLedger(dataDir, { readOnly: true });
  const { refusals, workerDeaths, recoveries } = store.read();
  assert.equal(refusals['handshake-failed'], 5);
  assert.ok(Object.keys(refusals).length <= 65, 'reasons are bounded');
  assert.equal(
    Object.values(refusals).reduce((sum, count) => sum + count, 0),
    205,
  );
  assert.equal(workerDeaths, RECOVERIES_KEPT + 5);
  assert.equal(recoveries.length, RECOVERIES_KEPT);
  assert.equal(recoveries.at(-1)!.id, `j${RECOVERIES_KEPT + 4}`);
  await store.close();
});

test('a session whose figures are none is noted and spoils nothing', async () => {
  const store = openLedger(tempDir('ledger'));
  const half = { frames: 0.5, bytes: 1 };
  await store.fold([
    session('good', 1),
    session('half', 1, { received: half }),
    session('below', 1, { lost: { disk: { frames: -1, bytes: 0 } } }),
    session('unknown', 1, { truncated: { count: Number.NaN, bytes: 0 } }),
    session('nobody', 1, { sensor: 'nobody' }),
  ]);
  const { totals, spoiled } = store.read();
  assert.deepEqual(
    totals.map(({ sessions, received }) => [sessions, received]),
    [[1, { frames: 3, bytes: 30 }]],
  );
  assert.equal(spoiled.sessions, 4);
  assert.match(spoiled.reasons.join('\n'), /half counts 0\.5.*\n.*below counts -1.*\n.*unknown/);
  await store.close();
});

test('the ledger is for its owner alone, and is looked for before it is read', async () => {
  const dataDir = tempDir('ledger');
  assert.equal(hasLedger(dataDir), false);
  assert.throws(() => openLedger(dataDir, { readOnly: true }), /no ledger in .*start the gateway/);
  const store = openLedger(dataDir);
  const directory = join(dataDir, 'ledger');
  const modes = readdirSync(directory).map((name) => statSync(join(directory, name)).mode & 0o777);
  assert.deepEqual(modes, [0o600, 0o600]);
  assert.equal(statSync(directory).mode & 0o777, 0o700);
  assert.equal(hasLedger(dataDir), true);
  await store.close();
});
