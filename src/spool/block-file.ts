import type { FileHandle } from 'node:fs/promises';
import { HEADER_BYTES } from '../wire/layout.js';
import { decodeBlockHeader } from './block-header.js';
import type { BlockPool } from './block-pool.js';
import { count, open, type ReadSessions, spanOf } from './disk-blocks.js';
import {
  BLOCK_HEADER_BYTES,
  PADDING_BYTES,
  padded,
  RECORD_HEADER_BYTES,
  RecordKind,
} from './layout.js';
import { LiveBlock } from './live-block.js';
import { endOf, headIn, holds, isPlausible, recordAt, walkRecords } from './records.js';
import { secondsOf } from './stream-totals.js';
import type { SessionSpan } from './types.js';

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
  /** What lies from `#nextAt` on, read together with the block before it: zeros and a header. */
  readonly #next = Buffer.alloc(PADDING_BYTES + BLOCK_HEADER_BYTES);
  #nextAt = -1;
  #nextBytes = 0;

  constructor(handle: FileHandle, options: BlockFileOptions) {
    this.#handle = handle;
    this.#options = options;
  }

  /**
   * The block at `from` of a file of which `limit` bytes count, or behind zeros there, where it begins
   * with record `expectedSeq` and is sound.
   * @returns it, and where it ends
   */
  async read(
    from: number,
    limit: number,
    expectedSeq: number,
  ): Promise<{ block: LiveBlock; end: number } | undefined> {
    if (this.#nextAt !== from) await this.#look(from, limit);
    const at = this.#blockAt();
    const header = decodeBlockHeader(this.#next.subarray(0, this.#nextBytes), at - from);
    this.#nextAt = -1;
    if (typeof header === 'string' || header.flags !== 0) return undefined;
    const length = BLOCK_HEADER_BYTES + header.storedBytes;
    const end = at + length;
    if (header.firstSeq !== expectedSeq || end > limit) return undefined;
    const { pool } = this.#options;
    const memory = pool.take(length);
    const bytes = memory.subarray(0, length);
    const { bytesRead } = await this.#handle.readv([bytes, this.#next], at);
    this.#nextAt = end;
    this.#nextBytes = Math.min(Math.max(0, bytesRead - length), limit - end);
    const isRead = bytesRead >= length && typeof decodeBlockHeader(bytes) !== 'string';
    const sessions = isRead ? this.#spans(bytes, header) : undefined;
    if (!sessions) {
      pool.give(memory);
      return undefined;
    }
    const { firstSeq, records: recordCount } = header;
    const records = () =>
      walkRecords(bytes.subarray(BLOCK_HEADER_BYTES), recordCount, firstSeq, sessions);
    const block = { firstSeq, count: recordCount, bytes, sessions };
    return { block: new LiveBlock(block, 0, records, { memory, pool }), end };
  }

  async #look(at: number, limit: number): Promise<void> {
    const wanted = Math.min(this.#next.length, limit - at);
    const { bytesRead } = await this.#handle.read(this.#next, 0, wanted, at);
    this.#nextAt = at;
    this.#nextBytes = bytesRead;
  }

  /** Where the next block begins: here, or behind zeros. */
  #blockAt(): number {
    const end = Math.min(padded(this.#nextAt) - this.#nextAt, this.#nextBytes);
    let zeros = 0;
    while (zeros < end && this.#next[zeros] === 0) zeros += 1;
    return this.#nextAt + (zeros === end ? zeros : 0);
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
