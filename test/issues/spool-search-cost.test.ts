import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BlockBuilder } from '../../src/spool/block-builder.js';
import { BLOCK_HEADER_BYTES, RECORD_HEADER_BYTES, RecordKind } from '../../src/spool/layout.js';
import { noDamage, readRecords } from '../../src/spool/records.js';

/** A block of the largest size: the search took hours for it, and takes a moment now. */
const RECORDS = 1_000_000;

/**
 * The search for what is whole behind a bad record went over all records to the end again for each
 * place to begin at, where the last one was bad too. A peer of a link could stop a worker by it.
 */
test('records between two bad ones are gone over once', () => {
  const builder = BlockBuilder.ofRecords(1, RECORDS, 0);
  const nothing = Buffer.alloc(0);
  for (let ref = 1; ref <= RECORDS; ref += 1) builder.add(RecordKind.OPEN, 0, ref, nothing);
  const raw = builder.finish().subarray(BLOCK_HEADER_BYTES);
  for (const at of [0, RECORDS - 1]) raw[at * RECORD_HEADER_BYTES + 4]! ^= 1;
  const damage = noDamage();
  const records = readRecords(raw, RECORDS, 1, damage);
  assert.equal(records.length, RECORDS - 2);
  assert.deepEqual([records[0]!.seq, records.at(-1)!.seq], [2, RECORDS - 1]);
  assert.equal(damage.records, 2);
});
