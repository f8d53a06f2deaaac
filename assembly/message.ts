// The blocks of a message that cannot be hashed where they lie, made in a stage (instance.ts).
//
//   frame     ┌ 62 bytes of header, HMAC zeroed ┬ payload ───────────────────────────────┐
//   blocks    │ HEAD (staged)    │ body: whole blocks, in place  │ TAIL (staged), 1 or 2 │
//
// A message of HMAC's inner hash is preceded by one block, the key's, which the midstate stands for.
import { HEADER_BYTES, OFFSET_HMAC, OFFSET_SIZE } from './layout';
import { STAGE_HEAD, STAGE_TAIL } from './instance';

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
  store<u64>(head, load<u64>(frame));
  store<u64>(head, load<u64>(frame, 8), 8);
  store<u64>(head, load<u64>(frame, 16), 16);
  store<u16>(head, load<u16>(frame, 24), 24);
  store<u64>(head, 0, OFFSET_HMAC);
  store<u64>(head, 0, OFFSET_HMAC + 8);
  store<u64>(head, 0, OFFSET_HMAC + 16);
  store<u64>(head, 0, OFFSET_HMAC + 24);
  store<u32>(head, load<u32>(frame, OFFSET_SIZE), OFFSET_SIZE);

  const bytes = HEADER_BYTES + size;
  const tail = stage + STAGE_TAIL;
  if (size >= 2) {
    store<u16>(head, load<u16>(frame, HEADER_BYTES), HEADER_BYTES);
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

/**
 * Pads the last `rest` (0 to 63) bytes of a message of `bytes` bytes in all, at `from`; returns the
 * blocks written.
 */
export function stageTail(tail: usize, from: usize, rest: u32, bytes: u32): u32 {
  const blocks: u32 = rest < TAIL_ROOM ? 1 : 2;
  clear(tail, blocks * BLOCK_BYTES);
  let i: u32 = 0;
  for (; i + 8 <= rest; i += 8) store<u64>(tail + i, load<u64>(from + i));
  if (rest & 4) { store<u32>(tail + i, load<u32>(from + i)); i += 4; }
  if (rest & 2) { store<u16>(tail + i, load<u16>(from + i)); i += 2; }
  if (rest & 1) store<u8>(tail + i, load<u8>(from + i));
  store<u8>(tail + rest, 0x80);
  storeLength(tail + (blocks - 1) * BLOCK_BYTES, bytes);
  return blocks;
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
  for (let end = at + bytes; at != end; at += 16) {
    store<u64>(at, 0);
    store<u64>(at, 0, 8);
  }
}

/** SHA-256 counts bits, big-endian, in a block's last 8 bytes. */
@inline
function storeLength(block: usize, bytes: u32): void {
  store<u64>(block, bswap<u64>((<u64>bytes) << 3), TAIL_ROOM);
}
