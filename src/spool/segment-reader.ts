import type { FileHandle } from 'node:fs/promises';
import { rawOf } from './block-builder.js';
import { BLOCK_HEADER_BYTES, BlockFlag } from './layout.js';
import { type Damage, type RawRecord, readRecords } from './records.js';
import { type ByteSource, type FoundBlock, scanBlocks } from './scan.js';

/** Read at once, so that the blocks of a segment cost few reads. */
const READ_BYTES = 1024 * 1024;

export interface SegmentBlock extends FoundBlock {
  /** Those that hold; their data are views that live until the next block is asked for. */
  records: RawRecord[];
}

/**
 * All that can be read of a segment, block by block, from `from` on. What can't is skipped and added
 * to `damage`; nothing of it repeats.
 * @param name of the file, for errors
 * @param expectedSeq of the first record, where it is known
 * @throws NewerFormatError
 */
export async function* readSegment(
  source: ByteSource,
  name: string,
  damage: Damage,
  from = 0,
  expectedSeq?: number,
): AsyncGenerator<SegmentBlock> {
  for await (const found of scanBlocks(source, name, damage, from, expectedSeq)) {
    const records = await recordsOf(found, damage);
    if (records !== undefined) yield { ...found, records };
  }
}

async function recordsOf(
  { header, bytes }: FoundBlock,
  damage: Damage,
): Promise<RawRecord[] | undefined> {
  const raw = await rawOf(bytes.subarray(BLOCK_HEADER_BYTES), header);
  if (raw === undefined) {
    damage.blocks += 1;
    damage.records += header.records;
    damage.bytes += bytes.length;
    return undefined;
  }
  const isNumbered = (header.flags & BlockFlag.PREFACE) === 0;
  return readRecords(raw, header.records, header.firstSeq, damage, isNumbered);
}

export class BufferSource implements ByteSource {
  readonly #bytes: Buffer;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get size(): number {
    return this.#bytes.length;
  }

  async read(at: number, length: number): Promise<Buffer> {
    return this.#bytes.subarray(at, at + length);
  }
}

/** An open file, through a window of about `READ_BYTES`. It stays its caller's to close. */
export class FileSource implements ByteSource {
  readonly #handle: FileHandle;
  readonly size: number;
  #window = Buffer.alloc(0);
  #at = 0;

  /** @param size of the file, or how much of it is to be read */
  constructor(handle: FileHandle, size: number) {
    this.#handle = handle;
    this.size = size;
  }

  async read(at: number, length: number): Promise<Buffer> {
    const end = Math.min(this.size, at + length);
    if (at < this.#at || end > this.#at + this.#window.length) await this.#fill(at, end - at);
    return this.#window.subarray(at - this.#at, end - this.#at);
  }

  async #fill(at: number, length: number): Promise<void> {
    const wanted = Math.min(this.size - at, Math.max(length, READ_BYTES));
    const window = Buffer.allocUnsafeSlow(Math.max(0, wanted));
    let filled = 0;
    while (filled < window.length) {
      const left = window.length - filled;
      const { bytesRead } = await this.#handle.read(window, filled, left, at + filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    this.#window = window.subarray(0, filled);
    this.#at = at;
  }
}
