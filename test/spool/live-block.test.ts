import assert from 'node:assert/strict';
import { test } from 'node:test';
import { spanOf } from '../../src/spool/disk-blocks.js';
import { prefaceOf } from '../../src/spool/live-block.js';
import { decodeOpen } from '../../src/spool/session-record.js';
import { frameOf, sensorOf } from './model.js';
import { readAll } from './segments.js';

test('a preface introduces every session, in as many blocks as its meta headers need', async () => {
  assert.equal(prefaceOf(9, []), undefined);
  const wire = frameOf(sensorOf(1), 2, Buffer.alloc(90_000, ' '));
  const meta = { type: 'x', bytes: wire.subarray(62), frames: 1, wire };
  const spans = Array.from({ length: 150 }, (_, ref) => {
    const openedAt = new Date(1e12);
    const session = { id: `s${ref}`, sensor: sensorOf(1), type: 254, openedAt, meta };
    return spanOf(ref, { session, total: { frames: ref + 1, bytes: 2 * ref } });
  });
  const { records, damage } = await readAll(prefaceOf(9, spans)!, 0, 9);
  assert.equal(damage.bytes, 0);
  assert.deepEqual(
    records.map(({ ref, seq }) => [ref, seq]),
    spans.map(({ ref }) => [ref, 9]),
  );
  for (const [ref, { data }] of records.entries()) {
    const { session, before } = spans[ref]!;
    assert.deepEqual(decodeOpen(data), { session, before });
  }
});
