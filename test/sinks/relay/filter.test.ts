import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DEFAULT_TLP } from '../../../src/config/schema.js';
import { filterReason, tlpTags } from '../../../src/sinks/relay/filter.js';

const SENSOR = '5e2f8b7d-0a13-4b7a-9c41-000000000001';
const OTHER = '5e2f8b7d-0a13-4b7a-9c41-000000000002';

function metaOf(header: object) {
  const bytes = Buffer.from(JSON.stringify(header));
  return { type: 'ja3-jl', bytes, frames: 1, wire: Buffer.alloc(0) };
}

const lines = { sensor: SENSOR, type: 3 };
const extended = (tags?: unknown) => ({
  sensor: SENSOR,
  type: 254,
  meta: metaOf({ type: 'ja3-jl', ...(tags === undefined ? {} : { tags }) }),
});
const open = { tlp: DEFAULT_TLP };

describe('what a relay lets leave', () => {
  it('by type, sensor and meta type', () => {
    assert.equal(filterReason(lines, open), undefined);
    assert.equal(filterReason(lines, { ...open, types: [1, 254] }), 'type');
    assert.equal(filterReason(lines, { ...open, sensors: [OTHER] }), 'sensor');
    assert.equal(filterReason(lines, { ...open, sensors: [OTHER, '*'] }), undefined);
    assert.equal(filterReason(extended(), { ...open, metaTypes: ['fascia'] }), 'meta-type');
    assert.equal(filterReason(extended(), { ...open, metaTypes: ['ja3-jl'] }), undefined);
    assert.equal(filterReason(lines, { ...open, metaTypes: ['fascia'] }), undefined);
  });

  it('by TLP: every tag has to be allowed, and red is not', () => {
    const cases: [unknown, string | undefined][] = [
      [undefined, undefined],
      [[], undefined],
      [['tlp:white', 'misp:event'], undefined],
      [['tlp:amber', 'tlp:green'], undefined],
      [['tlp:red'], 'tlp-red'],
      [['tlp:green', 'tlp:red'], 'tlp-red'],
      [['TLP:RED'], 'tlp-red'],
      [[' tlp: red '], 'tlp-red'],
      ['tlp:red', 'tlp-red'],
      [[{ name: 'tlp:red', colour: '#f00' }], 'tlp-red'],
      [['tlp:amber+strict'], 'tlp-amber+strict'],
      [['tlp:\u001b[31m'], 'tlp-__31m'],
      [[null, 7, { name: 7 }, ['tlp:red']], undefined],
    ];
    for (const [tags, reason] of cases) {
      assert.equal(filterReason(extended(tags), open), reason, JSON.stringify(tags));
    }
    assert.equal(filterReason(extended(['tlp:red']), { tlp: ['tlp:red'] }), undefined);
    assert.equal(filterReason(extended(['tlp:white']), { tlp: [] }), 'tlp-white');
  });

  it('reads the tags alone', () => {
    assert.deepEqual(tlpTags(Buffer.from('{"type":"x","tlp":"tlp:red"}')), []);
    assert.deepEqual(tlpTags(Buffer.from(' {"tags":["tlp:Green"]}\n')), ['tlp:green']);
  });
});
