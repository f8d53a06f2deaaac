import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Overview } from '../../../../src/control/ui/data/types.js';
import { POINTS_MAX, Recent } from '../../../../src/control/ui/lib/recent.js';

const START = Date.UTC(2026, 0, 31);

/** What is of interest here of an overview, so many seconds after the start. */
function overviewAt(seconds: number, received: Record<string, number>): Overview {
  const amounts = Object.entries(received).map(([type, bytes]) => [
    type,
    { frames: bytes / 100, bytes },
  ]);
  const at = new Date(START + seconds * 1000).toISOString();
  return { at, received: Object.fromEntries(amounts) } as unknown as Overview;
}

const bytesOf = (type: string) => (one: Overview) => one.received[type]?.bytes ?? 0;

test('a tab that is open for a week holds an hour', () => {
  const recent = new Recent();
  const seconds = 7 * 86_400;
  for (let second = 0; second <= seconds; second += 1) {
    // Another type comes later: it has been silent before.
    const late = second > seconds - 1_000 ? { 8: second - seconds + 1_000 } : {};
    recent.take(overviewAt(second, { 1: second * 500, ...late }));
  }
  assert.equal(recent.times.length, POINTS_MAX);
  assert.equal(recent.times.at(-1), START / 1000 + seconds);
  assert.equal(recent.times[0], START / 1000 + seconds - (POINTS_MAX - 1) * 5);
  assert.deepEqual([...recent.types.keys()].sort(), ['1', '8']);
  for (const { bytes, frames } of recent.types.values()) {
    assert.deepEqual([bytes.length, frames.length], [POINTS_MAX, POINTS_MAX]);
  }
  assert.ok(recent.types.get('1')!.bytes.every((rate) => rate === 500));
  assert.ok(recent.types.get('1')!.frames.every((rate) => rate === 5));
  const late = recent.types.get('8')!.bytes;
  assert.deepEqual([late[0], late.at(-1)], [0, 1]);
});

test('it goes on from the hour that the gateway told', () => {
  const recent = new Recent();
  const times = [5, 10].map((second) => new Date(START + second * 1000).toISOString());
  const rates = { bytesPerSecond: [1, 2], framesPerSecond: [3, 4] };
  recent.load({ stepSeconds: 5, times, types: { 3: rates } });
  for (const second of [11, 13, 16]) recent.take(overviewAt(second, { 3: second * 10 }));
  assert.deepEqual(recent.types.get('3')!.bytes, [1, 2, 10]);
  assert.equal(recent.times.length, 3);
});

test('a rate is that of the last seconds, and never negative', () => {
  const recent = new Recent();
  assert.equal(recent.rate(bytesOf('1')), 0);
  recent.take(overviewAt(0, { 1: 1_000 }));
  assert.equal(recent.rate(bytesOf('1')), 0);
  for (const second of [1, 2, 3, 4, 5, 6, 7]) recent.take(overviewAt(second, { 1: second ** 2 }));
  assert.equal(recent.rate(bytesOf('1')), (49 - 4) / 5);
  recent.take(overviewAt(8, {}));
  assert.equal(recent.rate(bytesOf('1')), 0, 'another gateway counts from nothing');
  recent.reset();
  assert.equal(recent.rate(bytesOf('1')), 0);
});
