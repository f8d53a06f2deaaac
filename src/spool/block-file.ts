import type { FileHandle } from 'node:fs/promises';
import { HEADER_BYTES } from '../wire/layout.js';
import { decodeBlockHeader } from './block-header.js';
import type { BlockPool } from './block-pool.js';
import { count, open, type ReadSessions, spanOf } from './disk-blocks.js';
import { BLOCK_HEADER_BYTES, RECORD_HEADER_BYTES, RecordKind } from './layout.js';
import { LiveBlock } from './live-block.js';
import { endOf, headIn, holds, isPlausible, recordAt, walkRecords } from './records.js';
import { secondsOf } from './stream-totals.js';
import type { SessionSpan, SpoolRecord } from './types.js';

export interface BlockFileOptions {
  pool: BlockPool;
  /** Brought up to date with each block. */
  sessions: ReadSessions;
  /** False: whoever gets the blocks checks their records. */
  isChecked: boolean;
}

/**
 * Reads blocks of a segment that are as they were written, uncompressed, each by one read straight
 * into memory that is used again. All others are `diskBlocks`' to read.
 */
export class BlockFile {
  readonly #handle: FileHandle;
  readonly #options: BlockFileOptions;
  /** The header that lies at `#headAt`, read together with the block before it. */
  #head = Buffer.alloc(BLOCK_HEADER_BYTES);
  #headAt = -1;

  constructor(handle: FileHandle, options: BlockFileOptions) {
    this.#handle = handle;
    this.#options = options;
  }

  /**
   * The block at `at` of a file of which `limit` bytes count, where it begins with record
   * `expectedSeq` and is sound.
   */
  async read(at: number, limit: number, expectedSeq: number): Promise<LiveBlock | undefined> {
    if (this.#headAt !== at && !(await this.#fill([this.#head], at, limit))) return undefined;
    const header = decodeBlockHeader(this.#head);
    this.#headAt = -1;
    if (typeof header === 'string' || header.flags !== 0) return undefined;
    if (header.firstSeq !== expectedSeq) return undefined;
    const { pool } = this.#options;
    const length = BLOCK_HEADER_BYTES + header.storedBytes;
    const memory = pool.take(length);
    const bytes = memory.subarray(0, length);
    const isLast = at + length + BLOCK_HEADER_BYTES > limit;
    const isRead = await this.#fill(isLast ? [bytes] : [bytes, this.#head], at, limit);
    const sessions = isRead && decodeBlockHeader(bytes) !== 'damaged' && this.#spans(bytes, header);
    if (!sessions) {
      pool.give(memory);
      return undefined;
    }
    if (!isLast) this.#headAt = at + length;
    const { firstSeq, records: recordCount } = header;
    const sessionOf = new Map(sessions.map(({ ref, session }) => [ref, session]));
    const records = function* (): Generator<SpoolRecord> {
      const raw = bytes.subarray(BLOCK_HEADER_BYTES);
      for (const record of walkRecords(raw, recordCount, firstSeq)) {
        yield { ...record, session: sessionOf.get(record.ref) };
      }
    };
    const block = { firstSeq, count: recordCount, bytes, sessions };
    return new LiveBlock(block, 0, records, () => pool.give(memory));
  }

  /** Reads what lies one behind the other; false where the file does not have it all. */
  async #fill(parts: Buffer[], at: number, limit: number): Promise<boolean> {
    const wanted = parts.reduce((sum, { length }) => sum + length, 0);
    if (at + wanted > limit) return false;
    return (await this.#handle.readv(parts, at)).bytesRead === wanted;
  }

  /** What a block holds of each session; undefined where a record of it does not hold. */
  #spans(bytes: Buffer, { records }: { records: number }): SessionSpan[] | undefined {
    const raw = bytes.subarray(BLOCK_HEADER_BYTES);
    return this.#isSound(raw, records) ? this.#walk(raw) : undefined;
  }

  #isSound(raw: Buffer, records: number): boolean {
    let at = 0;
    for (let index = 0; index < records; index += 1) {
      if (!isPlausible(raw, at)) return false;
      const end = endOf(raw, at);
      if (this.#options.isChecked && !holds(raw, at, end)) return false;
      at = end;
    }
    return at === raw.length;
  }

  #walk(raw: Buffer): SessionSpan[] {
    const { sessions } = this.#options;
    const spans = new Map<number, SessionSpan>();
    for (let at = 0; at < raw.length; at = endOf(raw, at)) {
      const { kind, ref } = headIn(raw, at);
      const isOpen = kind === RecordKind.OPEN;
      const state = isOpen ? open(sessions, recordAt(raw, at, 0)) : sessions.get(ref);
      if (state === undefined) continue;
      let span = spans.get(ref);
      if (span === undefined) {
        span = spanOf(ref, state);
        spans.set(ref, span);
      }
      if (kind === RecordKind.FRAME) {
        const payload = endOf(raw, at) - at - RECORD_HEADER_BYTES - HEADER_BYTES;
        if (payload < 0) continue;
        count(state, span, 1, payload);
        const seconds = secondsOf(raw, at + RECORD_HEADER_BYTES);
        span.firstTime = Math.min(span.firstTime, seconds);
        span.lastTime = Math.max(span.lastTime, seconds);
      } else if (isOpen) {
        const { meta } = state.session;
        span.opens = true;
        if (meta) count(state, span, meta.frames, meta.bytes.length);
      } else {
        span.ends = true;
        state.isEnded = true;
      }
    }
    return [...spans.values()];
  }
}
