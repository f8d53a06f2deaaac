import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { addSession, noTotals } from '../../src/ledger/amounts.js';
import { balance, balanceCustody, inFlightOf } from '../../src/ledger/balance.js';
import { type Custody, waitingOf } from '../../src/ledger/custody.js';
import type { Totals } from '../../src/ledger/totals.js';
import { sensorUuid } from './simulation.js';

const of = (frames: number, bytes = frames * 10) => ({ frames, bytes });

function session(changes: Partial<Totals>): Totals {
  return {
    sensor: sensorUuid(1),
    type: 1,
    received: of(10),
    delivered: { disk: of(7), relay: of(5) },
    rejected: { 'bad-hmac': of(2), 'meta-too-long': of(1) },
    lost: { relay: of(2) },
    truncated: { count: 1, bytes: 30 },
    ...changes,
  };
}

test('an ended session balances for each sink of its route, in frames and in bytes', () => {
  assert.deepEqual(balance(session({})), []);
  const [missing, ...rest] = balance(session({ delivered: { disk: of(6, 70), relay: of(5) } }));
  assert.deepEqual(rest, []);
  assert.deepEqual(missing, {
    sensor: sensorUuid(1),
    type: 1,
    sink: 'disk',
    unit: 'frames',
    received: 10,
    delivered: 6,
    rejected: 3,
    lost: 0,
    dropped: 0,
    inFlight: 0,
    difference: 1,
  });
  const twice = balance(session({ delivered: { disk: of(8), relay: of(5) } }));
  assert.deepEqual(
    twice.map(({ unit, difference }) => [unit, difference]),
    [
      ['frames', -1],
      ['bytes', -10],
    ],
  );
});

test('nothing may be in flight below zero', () => {
  const live = session({ delivered: { disk: of(5), relay: of(6) } });
  const flying = inFlightOf(live);
  assert.deepEqual(flying, { disk: of(2), relay: of(-1) });
  const found = balance(live, flying);
  assert.deepEqual(
    found.map(({ sink, unit, difference }) => [sink, unit, difference]),
    [
      ['relay', 'frames', -1],
      ['relay', 'bytes', -10],
    ],
  );
});

test('a route that changes between sessions leaves the totals in balance', () => {
  const total = noTotals(sensorUuid(1), 1);
  addSession(total, session({}), 'closed');
  addSession(total, session({ delivered: { other: of(7) }, lost: {} }), 'reset');
  addSession(total, session({ delivered: {}, lost: {} }), 'reset');
  assert.deepEqual(balance(total), []);
  assert.deepEqual(total.received, of(30));
  assert.deepEqual(total.rejected, { 'bad-hmac': of(6), 'meta-too-long': of(3) });
  assert.deepEqual(total.ends, { closed: 1, reset: 2 });
  assert.deepEqual(total.truncated, { count: 3, bytes: 90 });
  // One sink's surplus is not another's deficit.
  addSession(total, session({ delivered: { disk: of(8), other: of(6) }, lost: {} }), 'closed');
  assert.deepEqual(
    balance(total).map(({ sink, unit, difference }) => [sink, unit, difference]),
    [
      ['disk', 'frames', -1],
      ['disk', 'bytes', -10],
      ['other', 'frames', 1],
      ['other', 'bytes', 10],
    ],
  );
});

describe('a relay', () => {
  const custody = (changes: Partial<Custody> = {}): Custody => ({
    sink: 'partner',
    sensor: sensorUuid(1),
    type: 1,
    accepted: of(10),
    sent: of(6),
    dropped: { full: of(1) },
    resent: of(2),
    recut: of(1),
    filtered: {},
    ...changes,
  });
  const sink = { received: of(12), delivered: of(10), rejected: of(2), lost: of(0) };

  test('balances where its spool accepted what the sessions say', () => {
    assert.deepEqual(balanceCustody(sink, custody(), false), []);
    assert.deepEqual(waitingOf(custody()), of(3));
  });

  test('is out of balance where any of its figures is tampered with', () => {
    const forged: Partial<Custody>[] = [
      { accepted: of(9) },
      { accepted: of(11) },
      { accepted: of(10, 101) },
      { sent: of(10) },
      { dropped: { full: of(5) } },
    ];
    for (const changes of forged) {
      const found = balanceCustody(sink, custody(changes), false);
      assert.ok(found.length > 0, JSON.stringify(changes));
      assert.equal(found[0]!.accepted, custody(changes).accepted[found[0]!.unit]);
    }
  });

  test('while sessions are open, their rows and its account may be apart, but nothing is below zero', () => {
    assert.deepEqual(balanceCustody(sink, custody({ accepted: of(9) }), true), []);
    assert.deepEqual(balanceCustody(sink, custody({ accepted: of(11) }), true), []);
    assert.equal(balanceCustody(sink, custody({ sent: of(10) }), true).length, 2);
  });
});
