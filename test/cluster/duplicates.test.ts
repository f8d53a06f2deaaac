import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Duplicates } from '../../src/cluster/duplicates.js';
import { End, Reject } from '../../src/wire/reject.js';

const SENSOR = '3a9f1c52-6d0e-4b7a-9c41-5e2f8b7d0a13';
const place = (id: string, worker = 0) => ({ id, worker, slot: 1, generation: 1 });

test('replace: the newer session stays, and the end of the older changes nothing', () => {
  const duplicates = new Duplicates('replace');
  assert.equal(duplicates.verified(place('a'), SENSOR, 1), undefined);
  const order = duplicates.verified(place('b', 1), SENSOR, 1);
  assert.equal(order?.place.id, 'a');
  assert.equal(order?.code, End.REPLACED);
  duplicates.over('a');
  assert.equal(duplicates.verified(place('c'), SENSOR, 1)?.place.id, 'b');
});

test('reject: the older session stays until it is over', () => {
  const duplicates = new Duplicates('reject');
  duplicates.verified(place('a'), SENSOR, 1);
  const order = duplicates.verified(place('b', 1), SENSOR, 1);
  assert.equal(order?.place.id, 'b');
  assert.equal(order?.code, Reject.DUPLICATE_SESSION);
  duplicates.over('b');
  assert.equal(duplicates.verified(place('c'), SENSOR, 1)?.place.id, 'c', 'a is still there');
  duplicates.over('a');
  assert.equal(duplicates.verified(place('d'), SENSOR, 1), undefined);
});

test('another type, another sensor, and types 2 and 254 are no duplicates', () => {
  const duplicates = new Duplicates('replace');
  duplicates.verified(place('a'), SENSOR, 1);
  assert.equal(duplicates.verified(place('b'), SENSOR, 3), undefined);
  assert.equal(duplicates.verified(place('c'), SENSOR.replace('3a', '3b'), 1), undefined);
  for (const id of ['d', 'e']) {
    assert.equal(duplicates.verified(place(id), SENSOR, 2), undefined);
    assert.equal(duplicates.verified(place(`${id}x`), SENSOR, 254), undefined);
  }
});

test('the sessions of a worker that is gone are forgotten, those of others not', () => {
  const duplicates = new Duplicates('reject');
  duplicates.verified(place('a', 0), SENSOR, 1);
  duplicates.verified(place('b', 1), SENSOR, 3);
  duplicates.workerGone(0);
  assert.equal(duplicates.verified(place('c', 1), SENSOR, 1), undefined);
  assert.equal(duplicates.verified(place('d', 1), SENSOR, 3)?.place.id, 'd');
});
