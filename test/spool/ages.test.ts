import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Ages } from '../../src/spool/ages.js';

test("a record's age is known to a thousandth of how far back they go", () => {
  const ages = new Ages();
  assert.equal(ages.ageOf(1, 5_000), 0);
  // Ten records a second, told of in blocks of five, for a day.
  const seconds = 86_400;
  for (let half = 0; half < 2 * seconds; half += 1) ages.add(1 + half * 5, half * 500);
  const now = seconds * 1000;
  for (const second of [0, 7, 1_000, 40_000, 86_000, 86_399]) {
    const age = ages.ageOf(1 + second * 10 + 3, now);
    const expected = seconds - second;
    assert.ok(age >= expected - 1 && age - expected <= 64, `${age} for ${expected}`);
  }
  ages.forget(1 + 40_000 * 10);
  const oldest = ages.ageOf(1, now);
  assert.ok(Math.abs(oldest - (seconds - 40_000)) <= 64, `${oldest}`);
  ages.forget(Number.MAX_SAFE_INTEGER);
  assert.ok(ages.ageOf(1, now) <= 64);
});
