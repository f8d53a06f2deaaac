import * as zlib from 'node:zlib';
import { crc32 as tableCrc32 } from '../ledger/crc32.js';
import { BLOCK_CRC, BLOCK_HEADER_BYTES, RECORD_CRC, RECORD_KIND } from './layout.js';

/** `zlib.crc32` is in Node 20.15 and later; the types of the oldest Node supported miss it. */
const native = (zlib as { crc32?: (data: Uint8Array, crc?: number) => number }).crc32;
/** Below this the call costs more than the table does. */
const NATIVE_BYTES_MIN = 64;

/** CRC-32 (IEEE 802.3) of `bytes[start, end)`, going on from `crc`. */
export function crc32(bytes: Uint8Array, start: number, end: number, crc = 0): number {
  if (native === undefined || end - start < NATIVE_BYTES_MIN) {
    return tableCrc32(bytes, start, end, crc);
  }
  return native(bytes.subarray(start, end), crc);
}

/** Of a block's header at `at`, as if its own field were zero. */
export function headerCrc(bytes: Uint8Array, at: number): number {
  const before = tableCrc32(bytes, at, at + BLOCK_CRC);
  const skipped = tableCrc32(NONE, 0, NONE.length, before);
  return tableCrc32(bytes, at + BLOCK_CRC + NONE.length, at + BLOCK_HEADER_BYTES, skipped);
}

const NONE = new Uint8Array(4);

/** Of a record that lies in `bytes[start, end)`: its header without the checksum, then its data. */
export function recordCrc(bytes: Uint8Array, start: number, end: number): number {
  return crc32(bytes, start + RECORD_KIND, end, tableCrc32(bytes, start, start + RECORD_CRC));
}
