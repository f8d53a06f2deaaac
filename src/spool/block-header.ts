import { headerCrc } from './checksum.js';
import {
  BLOCK_CRC,
  BLOCK_FIRST_SEQ,
  BLOCK_FLAGS,
  BLOCK_FLAGS_KNOWN,
  BLOCK_HEADER_BYTES,
  BLOCK_MAGIC,
  BLOCK_RAW_BYTES,
  BLOCK_RAW_BYTES_MAX,
  BLOCK_RECORDS,
  BLOCK_STORED_BYTES,
  BLOCK_STORED_BYTES_MAX,
  BLOCK_VERSION,
  BLOCK_ZERO,
  BlockFlag,
  FORMAT_VERSION,
  RECORD_HEADER_BYTES,
} from './layout.js';

export interface BlockHeader {
  /** `BlockFlag`s. */
  flags: number;
  /** Bytes that follow the header. */
  storedBytes: number;
  /** The same before compression. */
  rawBytes: number;
  records: number;
  /** Sequence number of the first record; of a preface, that of the record after it. */
  firstSeq: number;
}

/** Writes the 32 bytes of a header to the start of `target`. */
export function encodeBlockHeader(target: Buffer, header: BlockHeader): void {
  target.writeUInt32LE(BLOCK_MAGIC, 0);
  target.writeUInt8(FORMAT_VERSION, BLOCK_VERSION);
  target.writeUInt8(header.flags, BLOCK_FLAGS);
  target.writeUInt16LE(0, BLOCK_ZERO);
  target.writeUInt32LE(header.storedBytes, BLOCK_STORED_BYTES);
  target.writeUInt32LE(header.rawBytes, BLOCK_RAW_BYTES);
  target.writeUInt32LE(header.records, BLOCK_RECORDS);
  target.writeBigUInt64LE(BigInt(header.firstSeq), BLOCK_FIRST_SEQ);
  target.writeUInt32LE(headerCrc(target, 0), BLOCK_CRC);
}

/**
 * The header that begins at `at`.
 * @returns `'damaged'` where there is none; `'newer'` where it holds, but is of another version or
 *   has flags that this release does not know
 */
export function decodeBlockHeader(bytes: Buffer, at = 0): BlockHeader | 'damaged' | 'newer' {
  if (at < 0 || bytes.length - at < BLOCK_HEADER_BYTES) return 'damaged';
  if (bytes.readUInt32LE(at) !== BLOCK_MAGIC) return 'damaged';
  if (bytes.readUInt32LE(at + BLOCK_CRC) !== headerCrc(bytes, at)) return 'damaged';
  const flags = bytes[at + BLOCK_FLAGS]!;
  if (bytes[at + BLOCK_VERSION] !== FORMAT_VERSION) return 'newer';
  if ((flags & ~BLOCK_FLAGS_KNOWN) !== 0 || bytes.readUInt16LE(at + BLOCK_ZERO) !== 0) {
    return 'newer';
  }
  const header = {
    flags,
    storedBytes: bytes.readUInt32LE(at + BLOCK_STORED_BYTES),
    rawBytes: bytes.readUInt32LE(at + BLOCK_RAW_BYTES),
    records: bytes.readUInt32LE(at + BLOCK_RECORDS),
    firstSeq: Number(bytes.readBigUInt64LE(at + BLOCK_FIRST_SEQ)),
  };
  return isSound(header) ? header : 'damaged';
}

/** A checksum proves no good will: what a peer or a sensor made up must not cost memory. */
function isSound({ flags, storedBytes, rawBytes, records, firstSeq }: BlockHeader): boolean {
  return (
    storedBytes <= BLOCK_STORED_BYTES_MAX &&
    rawBytes <= BLOCK_RAW_BYTES_MAX &&
    records * RECORD_HEADER_BYTES <= rawBytes &&
    ((flags & BlockFlag.LZ4) !== 0 || storedBytes === rawBytes) &&
    Number.isSafeInteger(firstSeq + records)
  );
}
