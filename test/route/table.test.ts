import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RouteTable } from '../../src/route/table.js';

const A = '3a9f1c52-6d0e-4b7a-9c41-5e2f8b7d0a13';
const B = '8c5e27d4-1f3b-4e90-a6d2-7b94c03e5f61';
const NAMES = ['disk', 'partner', 'nowhere'];

test('an empty match takes every stream', () => {
  const table = new RouteTable([{ match: {}, to: ['disk'] }], NAMES);
  assert.equal(table.sinksFor({ sensor: A, type: 1 }), 0b001);
  assert.equal(table.sinksFor({ sensor: B, type: 254, metaType: 'ja3-jl' }), 0b001);
});

test('all keys of a match must hold, and all routes that match count', () => {
  const table = new RouteTable(
    [
      { match: { types: [1, 3], sensors: [A.toUpperCase()] }, to: ['partner'] },
      { match: { types: [3] }, to: ['disk', 'partner'] },
      { match: { metaTypes: ['fascia'] }, to: ['nowhere'] },
      { match: { types: [8], sensors: ['*'] }, to: ['nowhere'] },
    ],
    NAMES,
  );
  assert.equal(table.sinksFor({ sensor: A, type: 1 }), 0b010);
  assert.equal(table.sinksFor({ sensor: B, type: 1 }), 0, 'no route takes it');
  assert.equal(table.sinksFor({ sensor: B, type: 3 }), 0b011);
  assert.equal(table.sinksFor({ sensor: A, type: 3 }), 0b011);
  assert.equal(table.sinksFor({ sensor: B, type: 254, metaType: 'fascia' }), 0b100);
  assert.equal(table.sinksFor({ sensor: B, type: 254, metaType: 'ja3-jl' }), 0);
  assert.equal(table.sinksFor({ sensor: B, type: 8 }), 0b100);
});

test('a star among meta types takes them all', () => {
  const table = new RouteTable([{ match: { metaTypes: ['*'] }, to: ['disk'] }], NAMES);
  assert.equal(table.sinksFor({ sensor: A, type: 254, metaType: 'anything' }), 0b001);
});

test('groups: a sensor that is in one of them', () => {
  const table = new RouteTable([{ match: { groups: ['alpha', 'beta'] }, to: ['disk'] }], NAMES);
  assert.equal(table.sinksFor({ sensor: A, type: 1, groups: ['gamma', 'beta'] }), 0b001);
  assert.equal(table.sinksFor({ sensor: A, type: 1, groups: ['gamma'] }), 0);
  assert.equal(table.sinksFor({ sensor: A, type: 1, groups: [] }), 0);
  assert.equal(table.sinksFor({ sensor: A, type: 1 }), 0);
});
