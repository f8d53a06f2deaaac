import { PAYLOAD_BYTES_MAX } from '../config/schema.js';
import { HEADER_BYTES } from '../wire/layout.js';

/**
 * Blocks and records, as `FORMAT.md` beside this describes them. All integers are little-endian.
 *
 *     block   ┌ magic ┬ ver ┬ flags ┬ 0 ┬ crc ┬ stored ┬ raw ┬ records ┬ first seq ┐ stored bytes …
 *             0       4     5       6   8     12       16    20        24          32
 *     record  ┌ data bytes ┬ crc ┬ kind ┬ flags ┬ 0 ┬ ref ┐ data …
 *             0            4     8      9       10  12    16
 */
export const BLOCK_MAGIC = 0x4b423444; // "D4BK"
export const FORMAT_VERSION = 1;

export const BLOCK_VERSION = 4;
export const BLOCK_FLAGS = 5;
export const BLOCK_ZERO = 6;
export const BLOCK_CRC = 8;
export const BLOCK_STORED_BYTES = 12;
export const BLOCK_RAW_BYTES = 16;
export const BLOCK_RECORDS = 20;
export const BLOCK_FIRST_SEQ = 24;
export const BLOCK_HEADER_BYTES = 32;

export const RECORD_DATA_BYTES = 0;
export const RECORD_CRC = 4;
export const RECORD_KIND = 8;
export const RECORD_FLAGS = 9;
export const RECORD_ZERO = 10;
export const RECORD_REF = 12;
export const RECORD_HEADER_BYTES = 16;

/** Flags of a block. */
export const BlockFlag = {
  /** The stored bytes are the raw length (u32) and one LZ4 block. */
  LZ4: 1,
  /** Its OPEN records have no sequence numbers: they repeat what a reader may not have seen. */
  PREFACE: 2,
} as const;
export const BLOCK_FLAGS_KNOWN = BlockFlag.LZ4 | BlockFlag.PREFACE;

export const RecordKind = { OPEN: 1, FRAME: 2, END: 3 } as const;
export type RecordKind = (typeof RecordKind)[keyof typeof RecordKind];

/** Flag of an OPEN: the session goes on from what came before. */
export const RECORD_CONTINUED = 1;

/** A block may be preceded by zeros, from the end of the one before to the next multiple of this. */
export const PADDING_BYTES = 4096;

/** Where the next such place is, at `at` or behind. */
export function padded(at: number): number {
  return Math.ceil(at / PADDING_BYTES) * PADDING_BYTES;
}

/** Raw bytes at which a block is finished, at least; one record alone may be longer. */
export const BLOCK_BYTES = 256 * 1024;
/** No block holds more: the longest record behind as much as fits a block before it. */
export const BLOCK_RAW_BYTES_MAX =
  BLOCK_BYTES + RECORD_HEADER_BYTES + HEADER_BYTES + PAYLOAD_BYTES_MAX;
/** LZ4 makes what does not shrink this much longer at most. */
export const BLOCK_STORED_BYTES_MAX =
  BLOCK_RAW_BYTES_MAX + Math.ceil(BLOCK_RAW_BYTES_MAX / 255) + 32;
