import assert from 'node:assert/strict';
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import fc from 'fast-check';
import { pino } from 'pino';
import { ALL_SENSORS, LAYOUTS, type UNITS } from '../../src/history/layout.js';
import { HistoryStore } from '../../src/history/store.js';
import { UNVERIFIED_SENSOR } from '../../src/ledger/totals.js';
import type { Flow } from '../../src/stats/messages.js';
import { tempDir } from '../support/tmp.js';

const log = pino({ level: 'silent' });
const root = tempDir('history');
const MINUTE = 60_000;
const DAY = 86_400_000;
const START = Date.UTC(2026, 1, 27, 22, 30);

let dir: string;
let store: HistoryStore;
beforeEach(() => {
  dir = mkdtempSync(join(root, 'data-'));
  store = HistoryStore.open(dir, log);
});
afterEach(() => store.close());

const flow = (sensor: string, type: number, frames: number, bytes: number): Flow => [
  '',
  sensor,
  type,
  frames,
  bytes,
  0,
];

test('every unit comes to what was taken, over hours, days, a month and a restart', async () => {
  const acts = fc.array(
    fc.record({
      sensor: fc.constantFrom('a', 'b', UNVERIFIED_SENSOR),
      type: fc.constantFrom(1, 254),
      bytes: fc.integer({ min: 1, max: 1_000 }),
      afterMs: fc.constantFrom(0, 5_000, MINUTE, 47 * MINUTE, DAY / 2),
    }),
    { minLength: 1, maxLength: 40 },
  );
  await fc.assert(
    fc.asyncProperty(acts, async (given) => {
      const own = mkdtempSync(join(root, 'data-'));
      let history = HistoryStore.open(own, log);
      let at = START;
      const expected = new Map<string, number>();
      const stepOf = (unit: (typeof UNITS)[number]) => Math.floor(at / LAYOUTS[unit].stepMs);
      for (const [index, { sensor, type, bytes, afterMs }] of given.entries()) {
        at += afterMs;
        history.take([flow(sensor, type, 1, bytes)], at);
        for (const who of sensor === UNVERIFIED_SENSOR ? [ALL_SENSORS] : [sensor, ALL_SENSORS]) {
          for (const unit of ['hour', 'day'] as const) {
            const key = `${who} ${type} ${unit} ${stepOf(unit)}`;
            expected.set(key, (expected.get(key) ?? 0) + bytes);
          }
        }
        if (index % 7 === 3) {
          await history.close();
          history = HistoryStore.open(own, log);
        }
      }
      await history.flush();
      const found = new Map<string, number>();
      for (const who of ['a', 'b', ALL_SENSORS]) {
        for (const unit of ['hour', 'day'] as const) {
          for (const [type, points] of history.read(who, unit, START - DAY, at + DAY)) {
            for (const point of points) {
              const step = Math.floor(point.at / LAYOUTS[unit].stepMs);
              found.set(`${who} ${type} ${unit} ${step}`, point.bytes);
              assert.equal(point.at % LAYOUTS[unit].stepMs, 0);
            }
          }
        }
      }
      assert.deepEqual([...found].sort(), [...expected].sort());
      await history.close();
    }),
    { numRuns: 25, interruptAfterTimeLimit: 15_000 },
  );
});

test('minutes are told within what was asked for, and go after two days', async () => {
  for (let minute = 0; minute < 5; minute += 1) {
    store.take([flow('a', 3, 1, 10)], START + minute * MINUTE);
  }
  await store.flush();
  const read = (from: number, to: number) =>
    (store.read('a', 'minute', from, to).get(3) ?? []).map(({ at }) => (at - START) / MINUTE);
  assert.deepEqual(read(START, START + 10 * MINUTE), [0, 1, 2, 3, 4]);
  assert.deepEqual(read(START + MINUTE, START + 3 * MINUTE), [1, 2]);
  store.take([flow('a', 3, 1, 10)], START + 3 * DAY);
  await store.flush();
  assert.deepEqual(read(START, START + 10 * MINUTE), []);
  const hours = store.read('a', 'hour', START - DAY, START + DAY).get(3)!;
  assert.deepEqual(
    hours.map(({ frames, bytes }) => [frames, bytes]),
    [[5, 50]],
  );
  store.take([flow('a', 3, 1, 10)], START + 70 * DAY);
  await store.flush();
  assert.equal(store.read('a', 'hour', START - DAY, START + DAY).size, 0);
  const days = store.read('a', 'day', START - DAY, START + 71 * DAY).get(3)!;
  assert.deepEqual(
    days.map(({ at, frames }) => [new Date(at).toISOString().slice(0, 10), frames]),
    [
      ['2026-02-27', 5],
      ['2026-03-02', 1],
      ['2026-05-08', 1],
    ],
  );
});

test('no more records are kept than there may be: the older minutes go first', async () => {
  await store.close();
  store = HistoryStore.open(dir, log, 60);
  const sensors = ['a', 'b', 'c'];
  for (let hour = 0; hour < 40; hour += 1) {
    const at = START + hour * 3_600_000;
    store.take(
      sensors.map((sensor) => flow(sensor, 3, 1, 1)),
      at,
    );
    await store.flush();
  }
  const minutes = store.read('a', 'minute', START, START + 40 * 3_600_000).get(3)!;
  assert.ok(minutes.length > 0 && minutes.length <= 25, `${minutes.length}`);
  const hours = store.read('a', 'hour', START - DAY, START + 40 * 3_600_000).get(3)!;
  assert.equal(hours.length, 40);
});
