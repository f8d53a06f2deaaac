import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32 } from '../../src/ledger/crc32.js';
import { decodeBlockHeader, encodeBlockHeader } from '../../src/spool/block-header.js';
import * as checksum from '../../src/spool/checksum.js';
import { BLOCK_HEADER_BYTES, BLOCK_RAW_BYTES_MAX } from '../../src/spool/layout.js';
import { Random, seedOfRun } from '../assembly/harness.js';

const HEADER = { flags: 0, storedBytes: 320, rawBytes: 320, records: 20, firstSeq: 2 ** 40 };

function encoded(changes: Partial<typeof HEADER> = {}): Buffer {
  const bytes = Buffer.alloc(BLOCK_HEADER_BYTES + 3);
  encodeBlockHeader(bytes, { ...HEADER, ...changes });
  return bytes;
}

test('a header says what it was made of, wherever it lies', () => {
  const shifted = Buffer.concat([Buffer.alloc(5), encoded()]);
  assert.deepEqual(decodeBlockHeader(shifted, 5), HEADER);
  assert.equal(decodeBlockHeader(shifted, 4), 'damaged');
  assert.equal(decodeBlockHeader(encoded().subarray(0, BLOCK_HEADER_BYTES - 1)), 'damaged');
});

test('a header whose checksum holds is refused where it promises what no block is', () => {
  for (const changes of [
    { rawBytes: 319 },
    { flags: 1, rawBytes: BLOCK_RAW_BYTES_MAX + 1 },
    { flags: 1, storedBytes: 2 ** 31 },
    { records: 21 },
    { firstSeq: Number.MAX_SAFE_INTEGER - 3 },
  ]) {
    assert.equal(decodeBlockHeader(encoded(changes)), 'damaged', JSON.stringify(changes));
  }
});

test('the checksum is the same by the table and by zlib', () => {
  const seed = seedOfRun();
  console.log(`seed ${seed}`);
  const random = new Random(seed);
  const bytes = random.bytes(5_000);
  for (let round = 0; round < 200; round += 1) {
    const start = random.below(bytes.length);
    const end = start + random.below(bytes.length - start);
    const crc = random.below(2 ** 32) >>> 0;
    assert.equal(checksum.crc32(bytes, start, end, crc), crc32(bytes, start, end, crc));
  }
});
