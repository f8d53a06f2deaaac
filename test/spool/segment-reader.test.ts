import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BlockBuilder } from '../../src/spool/block-builder.js';
import { headerCrc } from '../../src/spool/checksum.js';
import {
  BLOCK_CRC,
  BLOCK_HEADER_BYTES,
  BLOCK_VERSION,
  BlockFlag,
  padded,
  RecordKind,
} from '../../src/spool/layout.js';
import { NewerFormatError } from '../../src/spool/scan.js';
import { Random, seedOfRun } from '../assembly/harness.js';
import { blockStarts, type Placed, readAll, smallSegment } from './segments.js';

const seed = seedOfRun();
console.log(`seed ${seed}`);
const random = new Random(seed);

/** What was read must be what was written, in order; returns what is missing. */
function missing(written: readonly Placed[], read: Awaited<ReturnType<typeof readAll>>): Placed[] {
  const bySeq = new Map(written.map((record) => [record.seq, record]));
  let last = -1;
  for (const { seq, kind, data } of read.records) {
    const original = bySeq.get(seq);
    assert.ok(original, `record ${seq} was never written, or came twice`);
    assert.ok(seq > last && kind === original.kind && data.equals(original.data), `record ${seq}`);
    bySeq.delete(seq);
    last = seq;
  }
  return [...bySeq.values()];
}

test('a segment is read as it was written', async () => {
  for (const lz4 of [false, true]) {
    const { bytes, records } = await smallSegment(random, { firstSeq: 7, blocks: 5, lz4 });
    const read = await readAll(bytes, 0, 7);
    assert.deepEqual(missing(records, read), []);
    assert.deepEqual(read.damage, { blocks: 0, records: 0, bytes: 0 });
  }
});

test('blocks may stand at pages, behind zeros; other bytes between them are damage', async () => {
  for (const lz4 of [false, true]) {
    const { bytes, records } = await smallSegment(random, { firstSeq: 7, blocks: 5, lz4 });
    const parts: Buffer[] = [];
    let end = 0;
    const starts = blockStarts(bytes);
    for (const [index, start] of starts.entries()) {
      const block = bytes.subarray(start, starts[index + 1] ?? bytes.length);
      const zeros = random.below(2) === 0 ? Buffer.alloc(padded(end) - end) : Buffer.alloc(0);
      parts.push(zeros, block);
      end += zeros.length + block.length;
    }
    const spread = Buffer.concat([...parts, Buffer.alloc(random.below(padded(end) - end))]);
    const read = await readAll(spread, 0, 7);
    assert.deepEqual(missing(records, read), []);
    assert.deepEqual(read.damage, { blocks: 0, records: 0, bytes: 0 });
    const gap = Buffer.alloc(100, 1);
    const torn = await readAll(Buffer.concat([...parts.slice(0, 2), gap, ...parts.slice(2)]), 0, 7);
    assert.deepEqual(missing(records, torn), []);
    assert.ok(torn.damage.bytes >= gap.length);
  }
});

test('each flipped bit is noticed, and costs the record or the block that it hits', async () => {
  const { bytes, records } = await smallSegment(random, { firstSeq: 1, blocks: 4, lz4: false });
  const starts = blockStarts(bytes);
  for (let bit = 0; bit < bytes.length * 8; bit += 1) {
    const at = bit >> 3;
    const flipped = Buffer.from(bytes);
    flipped[at]! ^= 1 << (bit & 7);
    const block = starts.findLast((start) => start <= at)!;
    const inHeader = at < block + BLOCK_HEADER_BYTES;
    const read = await readAll(flipped, 0, 1);
    const lost = missing(records, read);
    const hit = records.filter((record) =>
      inHeader ? record.block === block : record.start <= at && at < record.end,
    );
    assert.deepEqual(lost, hit, `bit ${bit}`);
    const { damage } = read;
    assert.ok(damage.bytes > 0, `bit ${bit} went unnoticed`);
    // Nothing follows on the last block: how many records it had, its header alone could tell.
    const isLastHeader = inHeader && block === starts.at(-1);
    assert.equal(damage.records, isLastHeader ? 0 : hit.length, `bit ${bit}`);
  }
});

test('a damaged length that leads to the end by chance costs its record alone', async () => {
  const builder = new BlockBuilder(3, BlockBuilder.memoryFor(0));
  builder.add(RecordKind.FRAME, 0, 1, Buffer.alloc(36, 7));
  // Eight bytes on in its header a length of 1 can be read: its kind.
  builder.add(RecordKind.OPEN, 0, 1, Buffer.alloc(9, 7));
  const bytes = builder.finish();
  bytes[BLOCK_HEADER_BYTES]! ^= 8;
  const { records, damage } = await readAll(bytes, 0, 3);
  assert.deepEqual(
    records.map(({ seq, kind }) => [seq, kind]),
    [[4, RecordKind.OPEN]],
  );
  assert.deepEqual([damage.records, damage.bytes], [1, 16 + 36]);
});

test('a flipped bit in a compressed segment costs one block', async () => {
  const { bytes, records } = await smallSegment(random, { firstSeq: 1, blocks: 4, lz4: true });
  const starts = blockStarts(bytes);
  for (let bit = 0; bit < bytes.length * 8; bit += 1) {
    const at = bit >> 3;
    const flipped = Buffer.from(bytes);
    flipped[at]! ^= 1 << (bit & 7);
    const block = starts.findLast((start) => start <= at)!;
    const read = await readAll(flipped, 0, 1);
    const lost = missing(records, read);
    assert.ok(
      lost.every((record) => record.block === block),
      `bit ${bit}`,
    );
    // LZ4 may say one thing in several ways: a bit that changes no record is no damage.
    if (lost.length > 0) assert.ok(read.damage.bytes > 0, `bit ${bit}`);
  }
});

test('a cut anywhere costs what is behind it, and no whole record', async () => {
  const { bytes, records } = await smallSegment(random, { firstSeq: 1, blocks: 4, lz4: false });
  const starts = new Set(blockStarts(bytes));
  for (let cut = 0; cut < bytes.length; cut += 1) {
    const read = await readAll(bytes.subarray(0, cut), 0, 1);
    const lost = missing(records, read);
    assert.deepEqual(
      lost,
      records.filter((record) => record.end > cut),
      `cut at ${cut}`,
    );
    const { damage } = read;
    assert.equal(damage.bytes > 0 || damage.records > 0, !starts.has(cut), `cut at ${cut}`);
  }
});

test('damage in several places never makes up a record', async () => {
  for (let round = 0; round < 300; round += 1) {
    const lz4 = random.below(2) === 1;
    const { bytes, records } = await smallSegment(random, { firstSeq: 1, blocks: 6, lz4 });
    for (let hits = 1 + random.below(6); hits > 0; hits -= 1) {
      const from = random.below(bytes.length);
      random.bytes(1 + random.below(30)).copy(bytes, from);
    }
    missing(records, await readAll(bytes, 0, 1));
  }
});

test('a block in a payload is not taken for one of the segment', async () => {
  const inner = new BlockBuilder(1_000_000, BlockBuilder.memoryFor(0));
  inner.add(RecordKind.FRAME, 0, 1, Buffer.from('made up by a sensor'));
  const newer = Buffer.from(inner.finish());
  newer[BLOCK_VERSION] = 9;
  newer.writeUInt32LE(headerCrc(newer, 0), BLOCK_CRC);
  const outer = new BlockBuilder(1, BlockBuilder.memoryFor(0));
  outer.add(RecordKind.FRAME, 0, 1, newer);
  outer.add(RecordKind.FRAME, 0, 1, inner.finish());
  const next = new BlockBuilder(3, BlockBuilder.memoryFor(0));
  next.add(RecordKind.FRAME, 0, 1, Buffer.from('good'));
  const bytes = Buffer.concat([outer.finish(), next.finish()]);
  bytes[0]! ^= 1;
  const { records, damage } = await readAll(bytes, 0, 1);
  assert.deepEqual(
    records.map(({ seq, data }) => [seq, data.toString()]),
    [[3, 'good']],
  );
  assert.deepEqual([damage.blocks, damage.records], [1, 2]);
});

test('what a newer release wrote is refused, not skipped', async () => {
  const builder = new BlockBuilder(1, BlockBuilder.memoryFor(0));
  builder.add(RecordKind.END, 0, 1, Buffer.from('{}'));
  const block = builder.finish();
  for (const [at, value] of [
    [BLOCK_VERSION, 2],
    [BLOCK_VERSION + 1, 0x80],
  ] as const) {
    const newer = Buffer.from(block);
    newer[at] = value;
    newer.writeUInt32LE(headerCrc(newer, 0), BLOCK_CRC);
    await assert.rejects(readAll(Buffer.concat([block, newer])), NewerFormatError);
  }
});

test('the records of a preface take no sequence numbers', async () => {
  const preface = new BlockBuilder(41, BlockBuilder.memoryFor(0), BlockFlag.PREFACE);
  for (const ref of [1, 2]) preface.add(RecordKind.OPEN, 1, ref, Buffer.from('{}'));
  const block = new BlockBuilder(41, BlockBuilder.memoryFor(0));
  block.add(RecordKind.FRAME, 0, 2, Buffer.alloc(62));
  const { records, damage } = await readAll(Buffer.concat([preface.finish(), block.finish()]));
  assert.deepEqual(
    records.map(({ seq, kind, ref }) => [seq, kind, ref]),
    [
      [41, RecordKind.OPEN, 1],
      [41, RecordKind.OPEN, 2],
      [41, RecordKind.FRAME, 2],
    ],
  );
  assert.equal(damage.bytes, 0);
});
