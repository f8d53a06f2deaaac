import { BlockBuilder, compressBlock, rawOf } from '../../../spool/block-builder.js';
import { decodeBlockHeader } from '../../../spool/block-header.js';
import { BLOCK_HEADER_BYTES, BlockFlag } from '../../../spool/layout.js';
import { noDamage, type RawRecord, readRecords } from '../../../spool/records.js';
import type { Spool } from '../../../spool/spool.js';
import type { SpoolBlock } from '../../../spool/types.js';
import type { Batch, SendLog, SendReader } from './sender.js';

/** A spool as a link reads it. */
export class SpoolLog implements SendLog<SpoolBlock> {
  readonly #spool: Spool;
  readonly #compress: 'none' | 'lz4';

  constructor(spool: Spool, compress: 'none' | 'lz4') {
    this.#spool = spool;
    this.#compress = compress;
  }

  get firstSeq(): number {
    return this.#spool.cursor + 1;
  }

  /** Numbers that a run reserved and did not come to use are never given out. */
  get nextSeq(): number {
    const { lastSeq, account } = this.#spool;
    return Math.max(lastSeq, account.found.reservedSeq) + 1;
  }

  /** The receiver checks every record; after it found damage, so does the next connection. */
  blocks(fromSeq: number, isSuspect: boolean): SendReader<SpoolBlock> {
    return this.#spool.blocks(fromSeq, isSuspect);
  }

  async prepare(block: SpoolBlock, isSuspect: boolean): Promise<Batch[]> {
    const { bytes, headroom } = block;
    const header = decodeBlockHeader(bytes);
    if (typeof header === 'string') return [];
    if (isSuspect) {
      const raw = await rawOf(bytes.subarray(BLOCK_HEADER_BYTES), header);
      const damage = noDamage();
      const records = raw ? readRecords(raw, header.records, header.firstSeq, damage) : [];
      if (!raw || damage.records > 0) return rebuilt(records);
    }
    const isPacked = (header.flags & BlockFlag.LZ4) !== 0;
    if (this.#compress === 'none' || isPacked) return [{ bytes, headroom }];
    const packed = await compressBlock(bytes, header);
    return [{ bytes: packed, headroom: packed === bytes ? headroom : 0 }];
  }
}

/** Blocks of the records that hold: a block's are consecutive. */
function rebuilt(records: readonly RawRecord[]): Batch[] {
  const blocks: Batch[] = [];
  const add = (bytes: Buffer) => blocks.push({ bytes, headroom: 0 });
  let builder: BlockBuilder | undefined;
  let next = 0;
  for (const { seq, kind, flags, ref, data } of records) {
    if (!builder || seq !== next || !builder.fits(data.length)) {
      if (builder) add(builder.finish());
      builder = new BlockBuilder(seq, BlockBuilder.memoryFor(data.length));
    }
    builder.add(kind, flags, ref, data);
    next = seq + 1;
  }
  if (builder) add(builder.finish());
  return blocks;
}
