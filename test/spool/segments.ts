import { BlockBuilder, compressBlock } from '../../src/spool/block-builder.js';
import { decodeBlockHeader } from '../../src/spool/block-header.js';
import { BLOCK_HEADER_BYTES, RecordKind } from '../../src/spool/layout.js';
import { noDamage, type RawRecord } from '../../src/spool/records.js';
import { BufferSource, readSegment } from '../../src/spool/segment-reader.js';
import type { Random } from '../assembly/harness.js';

/** A record as it was put in, and where it lies in the segment. */
export interface Placed {
  seq: number;
  kind: number;
  data: Buffer;
  /** Of its block's header. */
  block: number;
  start: number;
  end: number;
}

/** A small segment: some blocks of some records, from sequence number `firstSeq` on. */
export async function smallSegment(
  random: Random,
  options: { firstSeq: number; blocks: number; lz4: boolean },
): Promise<{ bytes: Buffer; records: Placed[] }> {
  const blocks: Buffer[] = [];
  const records: Placed[] = [];
  let seq = options.firstSeq;
  let at = 0;
  for (let index = 0; index < options.blocks; index += 1) {
    const builder = new BlockBuilder(seq, BlockBuilder.memoryFor(0));
    const block = at;
    for (let count = 1 + random.below(5); count > 0; count -= 1) {
      const data = random.bytes(random.below(40));
      // Compressed blocks need something to compress.
      const long = options.lz4 ? Buffer.concat(Array<Buffer>(8).fill(data)) : data;
      const start = at + builder.usedBytes;
      const kind = random.pick(Object.values(RecordKind));
      builder.add(kind, 0, random.below(3), long);
      records.push({ seq, kind, data: long, block, start, end: at + builder.usedBytes });
      seq += 1;
    }
    const plain = builder.finish();
    const header = { flags: 0, records: builder.records, firstSeq: builder.firstSeq };
    const stored = options.lz4 ? await compressBlock(plain, header) : plain;
    blocks.push(stored);
    at += stored.length;
  }
  return { bytes: Buffer.concat(blocks), records };
}

/** Reads a segment whole; copies of its records, and what was skipped. */
export async function readAll(bytes: Buffer, from = 0, expected?: number) {
  const damage = noDamage();
  const records: RawRecord[] = [];
  for await (const block of readSegment(new BufferSource(bytes), 'test', damage, from, expected)) {
    for (const record of block.records) {
      records.push({ ...record, data: Buffer.from(record.data) });
    }
  }
  return { records, damage };
}

/** Where the blocks of a sound segment begin. */
export function blockStarts(bytes: Buffer): number[] {
  const starts: number[] = [];
  for (let at = 0; at < bytes.length; ) {
    starts.push(at);
    const header = decodeBlockHeader(bytes, at);
    if (typeof header === 'string') throw new Error(`no header at ${at}`);
    at += BLOCK_HEADER_BYTES + header.storedBytes;
  }
  return starts;
}
