import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { SessionTotals } from '../../src/ledger/totals.js';
import { countAsHeld, heldAfter, leastDelivered, skipOf } from '../../src/link/held.js';
import type { Attempt, HeldSession } from '../../src/link/store.js';
import type { StreamPart } from '../../src/sinks/sink.js';

const bytesOf = (text: string) => Buffer.from(text);

function attemptAt(frames: number, bytes: number, counted = 0): Attempt {
  return { link: 'l', session: 's', base: { frames, bytes }, counted, owner: '' };
}

function totalsOf(
  received: [number, number],
  delivered: Record<string, [number, number]>,
  rejected: Record<string, [number, number]> = {},
): SessionTotals {
  const amounts = (of: Record<string, [number, number]>) =>
    Object.fromEntries(
      Object.entries(of).map(([key, [frames, bytes]]) => [key, { frames, bytes }]),
    );
  return {
    id: 'ours',
    sensor: '5e2f8b7d-0a13-4b7a-9c41-000000000001',
    type: 3,
    openedAt: 0,
    endedAt: 0,
    end: '',
    received: { frames: received[0], bytes: received[1] },
    delivered: amounts(delivered),
    rejected: amounts(rejected),
    lost: {},
    truncated: { count: 0, bytes: 0 },
  };
}

function part(at: number, tail: string, more: Partial<StreamPart> = {}): StreamPart {
  return { at, preamble: bytesOf('p'), tail: bytesOf(tail), raw: false, ...more };
}

const textOf = (held: HeldSession, sink = 'disk') =>
  Buffer.from(held.sinks[sink]!.part?.tail ?? []).toString();

describe('what is held of a session after one of ours', () => {
  test('counts from the place where ours began, the bytes counted before included', () => {
    const totals = totalsOf([5, 480], { disk: [5, 480] });
    const attempt = attemptAt(10, 1_000, 20);
    const held = heldAfter({
      totals,
      attempt,
      before: undefined,
      parts: new Map(),
      over: undefined,
    });
    assert.deepEqual(held.counted, { frames: 15, bytes: 1_500 });
    assert.deepEqual(held.sinks.disk, { frames: 15, bytes: 1_500 });
    assert.deepEqual(skipOf(held.sinks.disk, attemptAt(15, 1_490, 10)), {
      frames: 0,
      bytes: 10,
      counted: 10,
    });
  });

  test('frames without bytes leave the end of the last file where it is', () => {
    const before: HeldSession = {
      counted: { frames: 10, bytes: 1_020 },
      sinks: {
        disk: {
          frames: 10,
          bytes: 1_020,
          part: { preamble: bytesOf('p'), tail: bytesOf('tail'), raw: false },
        },
      },
    };
    const attempt = attemptAt(10, 1_000, 20);
    for (const frames of [0, 1, 2]) {
      const totals = totalsOf([frames, 0], { disk: [frames, 0] });
      const held = heldAfter({ totals, attempt, before, parts: new Map(), over: undefined });
      assert.equal(held.sinks.disk!.frames, 10 + frames);
      assert.equal(textOf(held), 'tail', `${frames} frames`);
    }
    const totals = totalsOf([2, 100], { disk: [2, 100] });
    const held = heldAfter({ totals, attempt, before, parts: new Map(), over: undefined });
    assert.equal(textOf(held), '', 'it is in a file by now');
  });

  test('a part that later files left behind them has no tail any more', () => {
    const totals = totalsOf([5, 500], { disk: [5, 500] });
    const attempt = attemptAt(0, 0);
    const rest = { at: 500, frames: 1, bytes: bytesOf('rest'), known: 0 };
    const at = (parts: StreamPart) => {
      const found = new Map([['disk', parts]]);
      return textOf(
        heldAfter({ totals, attempt, before: undefined, parts: found, over: undefined }),
      );
    };
    assert.equal(at(part(500, 'tail')), 'tail');
    assert.equal(at(part(400, 'tail')), '');
    assert.equal(at(part(496, 'tail', { rest })), 'tailrest');
  });

  test('a sink that was given nothing new holds what it held', () => {
    const before: HeldSession = {
      counted: { frames: 10, bytes: 1_000 },
      sinks: { disk: { frames: 10, bytes: 1_000 }, other: { frames: 14, bytes: 1_400 } },
    };
    const totals = totalsOf([2, 200], { disk: [2, 200], other: [2, 200] });
    const attempt = attemptAt(10, 1_000);
    const held = heldAfter({ totals, attempt, before, parts: new Map(), over: undefined });
    assert.deepEqual(held.sinks.other, { frames: 14, bytes: 1_400 });
    assert.deepEqual(held.counted, { frames: 12, bytes: 1_200 });
  });
});

describe('what a process that died had received', () => {
  test('counts as far as every sink holds it, and nothing of it is lost', () => {
    const totals = totalsOf([20, 2_000], { disk: [8, 800], other: [12, 1_200] });
    totals.lost = { disk: { frames: 12, bytes: 1_200 } };
    countAsHeld(totals, new Map(), new Map());
    assert.deepEqual(totals.received, { frames: 8, bytes: 800 });
    assert.deepEqual(totals.lost, {});
    assert.deepEqual(leastDelivered(totals).delivered.other, { frames: 8, bytes: 800 });
  });

  test('what was acknowledged in memory alone is held, where it follows on what the file has', () => {
    const rest = { at: 800, frames: 1, bytes: bytesOf('0123456789'), known: 4 };
    for (const [bytes, expected] of [
      [800, { frames: 9, bytes: 806 }],
      [810, { frames: 8, bytes: 810 }],
    ] as const) {
      const totals = totalsOf([20, 2_000], { disk: [8, bytes] });
      const parts = new Map<string, StreamPart>();
      countAsHeld(totals, parts, new Map([['disk', rest]]));
      assert.deepEqual(totals.delivered.disk, expected);
      assert.equal(parts.size, bytes === 800 ? 1 : 0);
    }
  });
});
