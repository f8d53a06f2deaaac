import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type LinkClaim, LinkClaims } from '../../src/cluster/link-claims.js';

function rig() {
  const said: string[] = [];
  const name = ({ worker, claim }: LinkClaim) => `${worker}.${claim}`;
  const claims = new LinkClaims({
    granted: (link, to) => said.push(`${link} to ${name(to)}`),
    release: (link, by) => said.push(`${link} from ${name(by)}`),
  });
  return { claims, said: () => said.splice(0) };
}

const A: LinkClaim = { worker: 0, claim: 1 };
const B: LinkClaim = { worker: 1, claim: 1 };
const C: LinkClaim = { worker: 1, claim: 2 };

describe('a link is served by one connection at a time', () => {
  test('the next has it once the holder has settled', () => {
    const { claims, said } = rig();
    claims.claim('x', A);
    assert.deepEqual(said(), ['x to 0.1']);
    claims.claim('x', B);
    assert.deepEqual(said(), ['x from 0.1']);
    claims.claim('x', C);
    assert.deepEqual(said(), []);
    claims.free('x', B); // it has gone meanwhile
    claims.free('x', A);
    assert.deepEqual(said(), ['x to 1.2']);
    claims.free('x', C);
    claims.claim('x', A);
    assert.deepEqual(said(), ['x to 0.1']);
  });

  test('links are apart from each other', () => {
    const { claims, said } = rig();
    claims.claim('x', A);
    claims.claim('y', B);
    assert.deepEqual(said(), ['x to 0.1', 'y to 1.1']);
  });

  test("a dead worker's link waits for its journal", () => {
    const { claims, said } = rig();
    claims.claim('x', B);
    said();
    const held = claims.workerDied(1);
    claims.claim('x', A);
    assert.deepEqual(said(), [], 'nobody is asked, nobody has it yet');
    claims.settled(held);
    assert.deepEqual(said(), ['x to 0.1']);
    claims.settled(held);
    assert.deepEqual(said(), [], 'it is not taken away again');
  });

  test('one that waits in a worker that dies has it no more', () => {
    const { claims, said } = rig();
    claims.claim('x', A);
    claims.claim('x', B);
    said();
    assert.deepEqual(claims.workerDied(1), []);
    claims.free('x', A);
    assert.deepEqual(said(), []);
    claims.claim('x', A);
    assert.deepEqual(said(), ['x to 0.1']);
  });
});
