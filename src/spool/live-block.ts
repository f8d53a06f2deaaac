import { BlockBuilder } from './block-builder.js';
import { type BlockPool, HEADROOM_BYTES } from './block-pool.js';
import { BlockFlag, padded, RECORD_CONTINUED, RecordKind } from './layout.js';
import { encodeOpen } from './session-record.js';
import type { SessionSpan, SpoolBlock, SpoolRecord } from './types.js';

/** OPENs' data in one block of a preface. */
const PREFACE_BYTES_MAX = 8 * 1024 * 1024;

/** A finished block, in memory or read from the disk. */
export class LiveBlock implements SpoolBlock {
  readonly firstSeq: number;
  readonly count: number;
  readonly bytes: Buffer;
  readonly headroom: number;
  readonly sessions: readonly SessionSpan[];
  /** When its first record came, ms of a clock that never goes back. */
  readonly since: number;
  #holders = 0;
  readonly #pooled: { memory: Buffer; pool: BlockPool } | undefined;
  readonly #records: () => Iterable<SpoolRecord>;

  /**
   * @param pooled of memory of a pool: it is used again for another block, once nobody holds it any
   *   more
   */
  constructor(
    block: { firstSeq: number; count: number; bytes: Buffer; sessions: readonly SessionSpan[] },
    since: number,
    records: () => Iterable<SpoolRecord>,
    pooled?: { memory: Buffer; pool: BlockPool },
  ) {
    this.firstSeq = block.firstSeq;
    this.count = block.count;
    this.bytes = block.bytes;
    this.headroom = pooled ? HEADROOM_BYTES : 0;
    this.#pooled = pooled;
    this.sessions = block.sessions;
    this.since = since;
    this.#records = records;
  }

  get lastSeq(): number {
    return this.firstSeq + this.count - 1;
  }

  hold(): this {
    this.#holders += 1;
    return this;
  }

  letGo(): void {
    this.#holders -= 1;
    if (this.#holders === 0) this.#pooled?.pool.give(this.#pooled.memory);
  }

  /** It with zeros up to a whole page, where its memory is made of pages. */
  pages(): Buffer | undefined {
    const { memory, pool } = this.#pooled ?? {};
    if (!memory || !pool?.isPaged(memory)) return undefined;
    const { length } = this.bytes;
    return memory.fill(0, length, padded(length)).subarray(0, padded(length));
  }

  records(): Iterable<SpoolRecord> {
    return this.#records();
  }

  preface(): Buffer | undefined {
    return prefaceOf(
      this.firstSeq,
      this.sessions.filter(({ opens }) => !opens),
    );
  }
}

interface Open {
  ref: number;
  data: Buffer;
}

/**
 * A block of OPENs without sequence numbers, before the record `firstSeq`: several where meta headers
 * fill more than one. Undefined for no sessions.
 */
export function prefaceOf(firstSeq: number, sessions: readonly SessionSpan[]): Buffer | undefined {
  if (sessions.length === 0) return undefined;
  const blocks: Buffer[] = [];
  let opens: Open[] = [];
  let bytes = 0;
  for (const { ref, session, before } of sessions) {
    const data = encodeOpen({ session, before });
    if (bytes + data.length > PREFACE_BYTES_MAX && opens.length > 0) {
      blocks.push(prefaceBlock(firstSeq, opens, bytes));
      opens = [];
      bytes = 0;
    }
    opens.push({ ref, data });
    bytes += data.length;
  }
  blocks.push(prefaceBlock(firstSeq, opens, bytes));
  return blocks.length === 1 ? blocks[0] : Buffer.concat(blocks);
}

function prefaceBlock(firstSeq: number, opens: readonly Open[], bytes: number): Buffer {
  const builder = BlockBuilder.ofRecords(firstSeq, opens.length, bytes, BlockFlag.PREFACE);
  for (const { ref, data } of opens) builder.add(RecordKind.OPEN, RECORD_CONTINUED, ref, data);
  return builder.finish();
}
