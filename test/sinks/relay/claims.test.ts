import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Claims, LOOP_MS } from '../../../src/sinks/relay/claims.js';
import { openEnvironment } from '../../../src/storage/environment.js';
import { start } from '../../support/process.js';
import { tempDir } from '../../support/tmp.js';

/** Puts a claim there as another process would have. */
async function claimedBy(dir: string, pid: number, startTicks: string, bootId: string) {
  const settings = { readOnly: false, format: 1, mapBytes: 2 ** 28, isLateToDisk: true };
  const db = openEnvironment(dir, settings);
  await db.put('claim/a/1', { pid, startTicks, bootId });
  await db.close();
}

describe('what the workers of a relay agree on', () => {
  it('a claim of a process that runs is respected, one of a dead process is not', async () => {
    const { bootId, startTicks } = await import('../../../src/ledger/process.js');
    const other = start('sleep', ['60']);
    const dir = tempDir('claims');
    await claimedBy(dir, other.pid, startTicks(other.pid)!, bootId());
    const claims = new Claims(dir);
    assert.equal(claims.take('a/1'), false);
    assert.equal(claims.take('b/1'), true, 'another sensor is free');
    claims.release('a/1');
    assert.equal(claims.take('a/1'), false, 'what another has can not be let go of');
    await other.stop();
    assert.equal(claims.take('a/1'), true);
    assert.equal(claims.take('a/1'), true, 'its own, again');
    await claims.close();
  });

  it('a stream that left is known when it comes back, for a while', async () => {
    const claims = new Claims(tempDir('claims'));
    const leaves = (session: string, address: string, now: number) =>
      claims.leaves('mark', { session, address }, now);
    assert.equal(leaves('first', 'sensor', 1_000), undefined);
    assert.equal(leaves('first', 'sensor', 2_000), undefined, 'the same session');
    assert.equal(leaves('second', 'partner', 3_000), 'first');
    claims.ended('mark', 'first');
    assert.equal(leaves('second', 'partner', 3_000), 'first', 'over or not');
    assert.equal(claims.hasLeft('mark', 3_000), true);
    assert.equal(claims.hasLeft('other', 3_000), false);
    assert.equal(leaves('second', 'partner', 2_000 + LOOP_MS), undefined, 'long ago');
    await claims.close();
  });

  it('a sensor that sends the same again makes no loop, but one address over and over does', async () => {
    const claims = new Claims(tempDir('claims'));
    let now = 1_000;
    /** How often it may come back, so many ms apart. */
    const returns = (mark: string, apart: number, isEnded: boolean) => {
      for (let count = 0; count <= 100; count += 1, now += apart) {
        const session = `${mark} ${count}`;
        if (claims.leaves(mark, { session, address: '::1' }, now) !== undefined) return count - 1;
        if (isEnded) claims.ended(mark, session);
      }
      return Number.POSITIVE_INFINITY;
    };
    assert.equal(returns('replay', 5_000, true), Number.POSITIVE_INFINITY);
    assert.equal(returns('short', 100, true), 32);
    assert.equal(returns('cut', 100, false), 4);
    assert.equal(returns('cut now and then', 30_000, false), Number.POSITIVE_INFINITY);
    await claims.close();
  });
});
