import assert from 'node:assert/strict';
import { test } from 'node:test';
import { beginOf, pastOf } from '../../../../src/control/ui/lib/past.js';

const NOW = Date.UTC(2026, 0, 31, 14, 5, 9);
const point = (at: number, bytes: number) => ({ at: new Date(at).toISOString(), frames: 1, bytes });

test('every step is there, those in which nothing came too', () => {
  const minute = 60_000;
  const newest = Date.UTC(2026, 0, 31, 14, 3);
  const types = { 8: [point(newest, 80)], 1: [point(newest - 1_439 * minute, 10)] };
  const begin = beginOf('day', NOW);
  assert.equal(begin, newest - 1_439 * minute);
  const from = new Date(begin).toISOString();
  const past = pastOf({ unit: 'minute', from, to: '', types }, 'day');
  assert.deepEqual([past.times.length, past.times[0]], [1_440, begin / 1000]);
  assert.deepEqual(
    past.types.map(({ type, bytes }) => [type, bytes[0], bytes.at(-1), bytes.length]),
    [
      ['1', 10, 0, 1_440],
      ['8', 0, 80, 1_440],
    ],
  );
});

test('of days, today counts; what is out of the span does not', () => {
  const today = Date.UTC(2026, 0, 31);
  const types = { 3: [point(today - 400 * 86_400_000, 5), point(today, 7)] };
  const from = new Date(beginOf('quarter', NOW)).toISOString();
  const past = pastOf({ unit: 'day', from, to: '', types }, 'quarter');
  const { bytes } = past.types[0]!;
  assert.equal(past.times.at(-1), today / 1000);
  assert.deepEqual([bytes.at(-1), bytes.reduce((sum, one) => sum + one, 0)], [7, 7]);
});
