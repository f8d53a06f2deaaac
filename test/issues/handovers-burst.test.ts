import assert from 'node:assert/strict';
import type { Worker } from 'node:cluster';
import { test } from 'node:test';
import { HANDOVER_TIMEOUT_MS, Handovers } from '../../src/cluster/handovers.js';

// Of 2,000 connections at once those were closed that had not been sent after 5 s, though the worker,
// busy with the sessions of the others, took one after the other all the time.

test('what waits for its turn is closed only when the worker takes nothing', (context) => {
  let now = 1_000_000;
  context.mock.method(performance, 'now', () => now);
  const sent: (() => void)[] = [];
  const send = (_message: unknown, _handle: unknown, _options: unknown, done: () => void) =>
    sent.push(done);
  const worker = { send, isConnected: () => true } as unknown as Worker;
  const closed: number[] = [];
  const handovers = new Handovers();
  for (const connection of [1, 2, 3]) {
    const message = { t: 'socket', connection, source: 0, address: '127.0.0.1' } as const;
    handovers.begin(worker, message, { close: () => closed.push(connection) });
  }
  sent[0]!();
  now += HANDOVER_TIMEOUT_MS - 1;
  handovers.taken(1);
  assert.deepEqual(closed, [1], 'our end of what it has is closed');
  now += HANDOVER_TIMEOUT_MS - 1;
  assert.equal(handovers.stalled(), false);
  assert.deepEqual(handovers.expire(worker), []);
  now += 1;
  assert.equal(handovers.stalled(), true);
  assert.deepEqual(handovers.expire(worker), [2, 3]);
  assert.deepEqual(closed, [1, 2, 3]);
});
