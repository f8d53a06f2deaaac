import { compress, uncompress } from 'lz4-napi';
import { encodeBlockHeader } from './block-header.js';
import { recordCrc } from './checksum.js';
import {
  BLOCK_BYTES,
  BLOCK_HEADER_BYTES,
  BlockFlag,
  RECORD_CRC,
  RECORD_DATA_BYTES,
  RECORD_FLAGS,
  RECORD_HEADER_BYTES,
  RECORD_KIND,
  RECORD_REF,
  RECORD_ZERO,
} from './layout.js';

/** A block with less in it than this share of its memory is moved to memory of its size. */
const TIGHT_SHARE = 1 / 2;
/** What compression has to save, of the raw bytes, to be worth undoing it. */
const LZ4_GAIN_MIN = 1 / 16;

/** Puts records together to one block. */
export class BlockBuilder {
  readonly firstSeq: number;
  readonly #flags: number;
  #bytes: Buffer;
  #used = BLOCK_HEADER_BYTES;
  #records = 0;

  /**
   * @param firstSeq sequence number of its first record
   * @param memory what it may fill: nobody else's
   */
  constructor(firstSeq: number, memory: Buffer, flags = 0) {
    this.firstSeq = firstSeq;
    this.#flags = flags;
    this.#bytes = memory;
  }

  /** A block of so many records, which have so many bytes of data together. */
  static ofRecords(firstSeq: number, records: number, dataBytes: number, flags = 0): BlockBuilder {
    const bytes = BLOCK_HEADER_BYTES + records * RECORD_HEADER_BYTES + dataBytes;
    return new BlockBuilder(firstSeq, Buffer.allocUnsafeSlow(bytes), flags);
  }

  /** Bytes of a block whose first record has that much data, at least. */
  static bytesFor(recordBytes: number): number {
    return BLOCK_HEADER_BYTES + RECORD_HEADER_BYTES + recordBytes;
  }

  /** Memory of such a block. */
  static memoryFor(recordBytes: number): Buffer {
    return Buffer.allocUnsafeSlow(Math.max(BLOCK_BYTES, BlockBuilder.bytesFor(recordBytes)));
  }

  /** What it fills. */
  get memory(): Buffer {
    return this.#bytes;
  }

  get records(): number {
    return this.#records;
  }

  /** Bytes so far, the block's header included. */
  get usedBytes(): number {
    return this.#used;
  }

  /** Whether a record with that much data has room; the first one always has what was asked for. */
  fits(dataBytes: number): boolean {
    return this.#used + RECORD_HEADER_BYTES + dataBytes <= this.#bytes.length;
  }

  /**
   * Adds one record, for which there must be room.
   * @param source where its data lies, `dataBytes` from `at`; copied
   * @returns its sequence number
   */
  add(
    kind: number,
    flags: number,
    ref: number,
    source: Uint8Array,
    at = 0,
    dataBytes = source.length,
  ): number {
    const bytes = this.#bytes;
    const start = this.#used;
    const data = start + RECORD_HEADER_BYTES;
    const end = data + dataBytes;
    if (end > bytes.length) throw new RangeError(`no room for a record of ${dataBytes} bytes`);
    bytes.writeUInt32LE(dataBytes, start + RECORD_DATA_BYTES);
    bytes[start + RECORD_KIND] = kind;
    bytes[start + RECORD_FLAGS] = flags;
    bytes.writeUInt16LE(0, start + RECORD_ZERO);
    bytes.writeUInt32LE(ref, start + RECORD_REF);
    bytes.set(source.subarray(at, at + dataBytes), data);
    bytes.writeUInt32LE(recordCrc(bytes, start, end), start + RECORD_CRC);
    this.#used = end;
    this.#records += 1;
    return this.firstSeq + this.#records - 1;
  }

  /** Whether `finish` leaves its memory unused: it filled too little of it. */
  get isLoose(): boolean {
    return this.#used < this.#bytes.length * TIGHT_SHARE;
  }

  /** The whole block, uncompressed; nothing may be added after. */
  finish(): Buffer {
    const used = this.#bytes.subarray(0, this.#used);
    const block = this.isLoose ? Buffer.from(new Uint8Array(used).buffer) : used;
    const rawBytes = this.#used - BLOCK_HEADER_BYTES;
    encodeBlockHeader(block, {
      flags: this.#flags,
      storedBytes: rawBytes,
      rawBytes,
      records: this.#records,
      firstSeq: this.firstSeq,
    });
    return block;
  }
}

/**
 * The block with its records compressed, in libuv's pool; the block itself where that does not pay.
 * @param block uncompressed, as `BlockBuilder.finish` gives it; not changed
 */
export async function compressBlock(
  block: Buffer,
  header: { flags: number; records: number; firstSeq: number },
): Promise<Buffer> {
  const raw = block.subarray(BLOCK_HEADER_BYTES);
  const packed = await compress(raw);
  if (packed.length > raw.length * (1 - LZ4_GAIN_MIN)) return block;
  const stored = Buffer.allocUnsafeSlow(BLOCK_HEADER_BYTES + packed.length);
  packed.copy(stored, BLOCK_HEADER_BYTES);
  encodeBlockHeader(stored, {
    flags: header.flags | BlockFlag.LZ4,
    storedBytes: packed.length,
    rawBytes: raw.length,
    records: header.records,
    firstSeq: header.firstSeq,
  });
  return stored;
}

/**
 * The records of a block as they were before compression.
 * @param stored the bytes behind its header
 * @returns undefined where they do not come to `rawBytes` bytes
 */
export async function rawOf(
  stored: Buffer,
  header: { flags: number; rawBytes: number },
): Promise<Buffer | undefined> {
  if ((header.flags & BlockFlag.LZ4) === 0) return stored;
  // The length in front decides how much memory is taken: it must be what the header says.
  if (stored.length < 4 || stored.readUInt32LE(0) !== header.rawBytes) return undefined;
  try {
    const raw = await uncompress(stored);
    return raw.length === header.rawBytes ? raw : undefined;
  } catch {
    return undefined;
  }
}
