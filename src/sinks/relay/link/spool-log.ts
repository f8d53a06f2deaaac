import { BlockBuilder, compressBlock, rawOf } from '../../../spool/block-builder.js';
import { decodeBlockHeader } from '../../../spool/block-header.js';
import { BLOCK_HEADER_BYTES, BlockFlag, RecordKind } from '../../../spool/layout.js';
import { noDamage, type RawRecord, readRecords } from '../../../spool/records.js';
import type { Amount } from '../../../spool/session-record.js';
import type { Spool } from '../../../spool/spool.js';
import type { SpoolBlock } from '../../../spool/types.js';
import { HEADER_BYTES } from '../../../wire/layout.js';
import type { Batch, SendLog, SendReader } from './sender.js';

const NOTHING: Readonly<Amount> = { frames: 0, bytes: 0 };

/** A spool as a link reads it. */
export class SpoolLog implements SendLog<SpoolBlock> {
  readonly #spool: Spool;
  readonly #compress: 'none' | 'lz4';
  /** What of a block was damaged and is not sent, by ref. */
  readonly #lost = new WeakMap<SpoolBlock, ReadonlyMap<number, Amount>>();

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

  /** What of a block's session could not be sent, for it is damaged. */
  lostOf(block: SpoolBlock, ref: number): Readonly<Amount> {
    return this.#lost.get(block)?.get(ref) ?? NOTHING;
  }

  async prepare(block: SpoolBlock, isSuspect: boolean): Promise<Batch[]> {
    const { bytes, headroom } = block;
    const header = decodeBlockHeader(bytes);
    if (typeof header === 'string') {
      this.#lost.set(block, leftOut(block, []));
      return [];
    }
    if (isSuspect) {
      const raw = await rawOf(bytes.subarray(BLOCK_HEADER_BYTES), header);
      const damage = noDamage();
      const records = raw ? readRecords(raw, header.records, header.firstSeq, damage) : [];
      if (!raw || damage.records > 0) {
        this.#lost.set(block, leftOut(block, records));
        return rebuilt(records);
      }
    }
    const isPacked = (header.flags & BlockFlag.LZ4) !== 0;
    if (this.#compress === 'none' || isPacked) return [{ bytes, headroom }];
    const packed = await compressBlock(bytes, header);
    return [{ bytes: packed, headroom: packed === bytes ? headroom : 0 }];
  }
}

/** What a block should hold, but for the records that do. */
function leftOut(block: SpoolBlock, records: readonly RawRecord[]): Map<number, Amount> {
  const lost = new Map<number, Amount>();
  for (const { ref, frames, bytes } of block.sessions) lost.set(ref, { frames, bytes });
  const metas = new Map(block.sessions.map(({ ref, session }) => [ref, session.meta]));
  for (const { kind, ref, data } of records) {
    const left = lost.get(ref);
    if (!left) continue;
    const meta = kind === RecordKind.OPEN ? metas.get(ref) : undefined;
    if (kind === RecordKind.FRAME) {
      left.frames -= 1;
      left.bytes -= data.length - HEADER_BYTES;
    } else if (meta) {
      left.frames -= meta.frames;
      left.bytes -= meta.bytes.length;
    }
  }
  return lost;
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
