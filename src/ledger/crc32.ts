const TABLE = new Uint32Array(256);
for (let byte = 0; byte < 256; byte += 1) {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  TABLE[byte] = value >>> 0;
}

/**
 * CRC-32 (IEEE 802.3) of `bytes[start, end)`, going on from `crc`. `zlib.crc32` is not in all of
 * Node 20, and would need a view, so an allocation, for each range.
 */
export function crc32(bytes: Uint8Array, start: number, end: number, crc = 0): number {
  let value = ~crc;
  for (let index = start; index < end; index += 1) {
    value = TABLE[(value ^ bytes[index]!) & 0xff]! ^ (value >>> 8);
  }
  return ~value >>> 0;
}
