import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Overview } from '../../../../src/control/ui/data/types.js';
import { advance, retryMs } from '../../../../src/control/ui/lib/live-state.js';

const overview = { sessions: 1, connections: 2 } as Overview;

test('a delta replaces members; one that is missing means to begin anew', () => {
  const full = advance(undefined, { kind: 'full', seq: 7, overview });
  assert.deepEqual(full, { seq: 7, overview });
  const next = advance(full, { kind: 'delta', seq: 8, changed: { sessions: 5 } });
  assert.deepEqual(next, { seq: 8, overview: { sessions: 5, connections: 2 } });
  assert.equal(advance(next, { kind: 'delta', seq: 10, changed: {} }), undefined);
  assert.equal(advance(undefined, { kind: 'delta', seq: 1, changed: {} }), undefined);
  assert.deepEqual(advance(next, { kind: 'full', seq: 1, overview }), { seq: 1, overview });
});

test('attempts are ever further apart, up to half a minute, and never all at once', () => {
  assert.deepEqual(
    [0, 1, 2, 5, 500].map((attempt) => retryMs(attempt, 1)),
    [1_000, 2_000, 4_000, 30_000, 30_000],
  );
  assert.equal(retryMs(1, 0), 1_500);
});
