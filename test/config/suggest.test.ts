import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { didYouMean, editDistance, nearest } from '../../src/config/suggest.js';

it('finds a name with one typing error, and says nothing of a name that is far', () => {
  const known = ['maxPayloadBytes', 'maxConnections', 'maxConnectionsPerIp', 'ringBytes'];
  assert.equal(nearest('maxPayloadByte', known), 'maxPayloadBytes');
  assert.equal(nearest('maxconections', known), 'maxConnections');
  assert.equal(nearest('rignBytes', known), 'ringBytes');
  assert.equal(nearest('colour', known), undefined);
  assert.equal(nearest('ringBytes'.repeat(100), known), undefined);
  assert.equal(didYouMean('ringByte', known), '; did you mean ringBytes?');
  assert.equal(didYouMean('colour', known), '');
});

/** The definition, without tables: exponential, so for short words alone. */
function slowDistance(a: string, b: string): number {
  if (!a || !b) return a.length + b.length;
  const [x, y] = [a.slice(1), b.slice(1)];
  let best = Math.min(
    slowDistance(x, b) + 1,
    slowDistance(a, y) + 1,
    slowDistance(x, y) + (a[0] === b[0] ? 0 : 1),
  );
  if (a.length > 1 && b.length > 1 && a[0] === b[1] && a[1] === b[0]) {
    best = Math.min(best, slowDistance(a.slice(2), b.slice(2)) + 1);
  }
  return best;
}

it('editDistance is what its definition says', () => {
  const word = fc.stringMatching(/^[abc]{0,5}$/);
  fc.assert(
    fc.property(word, word, (a, b) => assert.equal(editDistance(a, b), slowDistance(a, b))),
  );
});
