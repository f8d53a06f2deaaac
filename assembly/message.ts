// The blocks of a message that cannot be hashed where they lie, made in a stage (instance.ts).
//
//   frame     ┌ 62 bytes of header, HMAC zeroed ┬ payload ───────────────────────────────┐
//   blocks    │ HEAD (staged)    │ body: whole blocks, in place  │ TAIL (staged), 1 or 2 │
//
// A message of HMAC's inner hash is preceded by one block, the key's, which the midstate stands for.
import { copy16, zero16 } from './bytes';
import { HEADER_BYTES, OFFSET_SIZE } from './layout';
import { STAGE_HEAD, STAGE_TAIL, vectorsEnd } from './instance';

export const BLOCK_BYTES: u32 = 64;
/** Bytes of a block that can hold message when the length must follow, with the byte 0x80. */
const TAIL_ROOM: u32 = 56;

/** Whole blocks between the head's and the tail's. */
@inline
export function bodyBlocks(size: u32): u32 {
  const blocks = (HEADER_BYTES + size) / BLOCK_BYTES;
  return blocks == 0 ? 0 : blocks - 1;
}

/** Makes head and tail of a frame, side by side; returns the tail's blocks. Reads the frame only. */
export function stageFrame(stage: usize, frame: usize, size: u32): u32 {
  const head = stage + STAGE_HEAD;
  stageHead(head, frame, size);
  const bytes = HEADER_BYTES + size;
  const tail = stage + STAGE_TAIL;
  if (size >= 2) {
    const rest = bytes % BLOCK_BYTES;
    return stageTail(tail, frame + (bytes - rest), rest, BLOCK_BYTES + bytes);
  }
  // The message ends in the head; what follows it is the mark, zeros and the length.
  store<u16>(head, 0x80, HEADER_BYTES);
  if (size == 1) store<u16>(head, 0x8000 | <u16>load<u8>(frame, HEADER_BYTES), HEADER_BYTES);
  clear(tail, BLOCK_BYTES);
  storeLength(tail, BLOCK_BYTES + bytes);
  return 1;
}

/** The first 64 bytes of a frame, its HMAC field (26 to 57) zero. */
@inline
function stageHead(head: usize, frame: usize, size: u32): void {
  copy16(head, frame);
  if (ASC_FEATURE_SIMD && frame + 48 <= vectorsEnd) {
    // In whole vectors, as they are read again: a read across two stores would wait for both.
    v128.store(head, v128.and(v128.load(frame, 16), i64x2(-1, 0xffff)), 16);
    zero16(head + 32);
    // The size, and the payload's first bytes where there are any.
    const kept = i64x2(0, 0xffffffffffff0000);
    v128.store(head, v128.and(v128.load(frame, 48), kept), 48);
  } else {
    store<u64>(head, load<u64>(frame, 16), 16);
    store<u64>(head, <u64>load<u16>(frame, 24), 24);
    zero16(head + 32);
    store<u64>(head, 0, 48);
    store<u64>(head, (<u64>load<u32>(frame, OFFSET_SIZE)) << 16, 56);
    if (size >= 2) store<u16>(head, load<u16>(frame, HEADER_BYTES), HEADER_BYTES);
  }
}

/**
 * Pads the last `rest` (0 to 63) bytes of a message of `bytes` bytes in all, at `from`; returns the
 * blocks written. With SIMD it reads up to 15 bytes beyond them, and leaves those out.
 */
export function stageTail(tail: usize, from: usize, rest: u32, bytes: u32): u32 {
  const blocks: u32 = rest < TAIL_ROOM ? 1 : 2;
  if (ASC_FEATURE_SIMD && from + BLOCK_BYTES <= vectorsEnd) {
    let i: u32 = 0;
    for (; i < rest; i += 16) v128.store(tail + i, padded(v128.load(from + i), rest - i));
    if (rest % 16 == 0) {
      v128.store(tail + i, i64x2(0x80, 0));
      i += 16;
    }
    for (; i < blocks * BLOCK_BYTES; i += 16) zero16(tail + i);
  } else {
    clear(tail, blocks * BLOCK_BYTES);
    let i: u32 = 0;
    for (; i + 8 <= rest; i += 8) store<u64>(tail + i, load<u64>(from + i));
    if (rest & 4) { store<u32>(tail + i, load<u32>(from + i)); i += 4; }
    if (rest & 2) { store<u16>(tail + i, load<u16>(from + i)); i += 2; }
    if (rest & 1) store<u8>(tail + i, load<u8>(from + i));
    store<u8>(tail + rest, 0x80);
  }
  storeLength(tail + (blocks - 1) * BLOCK_BYTES, bytes);
  return blocks;
}

/** The first `count` bytes (1 and up) of a vector, then the mark that ends a message, then zeros. */
@inline
function padded(bytes: v128, count: u32): v128 {
  const index = i8x16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const end = i8x16.splat(<i8>min<u32>(count, 16));
  const mark = v128.and(i8x16.eq(index, end), i8x16.splat(<i8>0x80));
  return v128.or(v128.and(bytes, i8x16.lt_u(index, end)), mark);
}

/** Makes the outer hash's block of a digest whose 32 bytes are in place. */
export function stageOuter(block: usize): void {
  store<u64>(block, 0x80, 32);
  store<u64>(block, 0, 40);
  store<u64>(block, 0, 48);
  storeLength(block, BLOCK_BYTES + 32);
}

@inline
function clear(at: usize, bytes: u32): void {
  for (let end = at + bytes; at != end; at += 16) zero16(at);
}

/** SHA-256 counts bits, big-endian, in a block's last 8 bytes. */
@inline
function storeLength(block: usize, bytes: u32): void {
  store<u64>(block, bswap<u64>((<u64>bytes) << 3), TAIL_ROOM);
}
