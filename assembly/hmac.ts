// HMAC-SHA-256 (RFC 2104) with keys kept as midstates: the two states after the key's padded block,
// so that a message costs no key block.
import { copy32 } from './bytes';
import { HMAC_BYTES, KEY_BYTES, KEY_INNER, KEY_OUTER, KEY_PAD } from './layout';
import {
  SCRATCH_STAGES, SCRATCH_STATE, STAGE_BYTES, STAGE_HEAD, STAGE_OUTER, STAGE_TAIL, keyBase, scratch,
} from './instance';
import { BLOCK_BYTES, bodyBlocks, stageFrame, stageOuter, stageTail } from './message';
import { hashBlocks, startHash, storeDigest } from './sha256';

const INNER_PAD: u64 = 0x3636363636363636;
const OUTER_PAD: u64 = 0x5c5c5c5c5c5c5c5c;

/** SHA-256 of `bytes` bytes; the 32 bytes go to `out`. */
export function sha256(message: usize, bytes: u32, out: usize): void {
  const state = scratch + SCRATCH_STATE;
  startHash(state);
  hashMessage(state, message, bytes, bytes);
  storeDigest(state, out);
}

/** Keeps a key for a slot. Keys over one block are hashed first, as RFC 2104 says. */
export function setKey(slot: u32, key: usize, keyBytes: u32): void {
  const stage = scratch + SCRATCH_STAGES;
  const block = stage + STAGE_OUTER;
  memory.fill(block, 0, BLOCK_BYTES);
  if (keyBytes > BLOCK_BYTES) sha256(key, keyBytes, block);
  else memory.copy(block, key, keyBytes);
  const at = keyBase + <usize>slot * KEY_BYTES;
  padKey(block, INNER_PAD, at + KEY_INNER);
  memory.copy(at + KEY_PAD, block, BLOCK_BYTES);
  padKey(block, INNER_PAD ^ OUTER_PAD, at + KEY_OUTER);
  // Nothing of the key stays elsewhere: not its block, nor a long key's padded end and its hash.
  memory.fill(stage, 0, STAGE_BYTES);
  memory.fill(scratch + SCRATCH_STATE, 0, HMAC_BYTES);
}

function padKey(block: usize, pad: u64, midstate: usize): void {
  for (let i: usize = 0; i != BLOCK_BYTES; i += 8) store<u64>(block + i, load<u64>(block + i) ^ pad);
  startHash(midstate);
  hashBlocks(midstate, block, 1);
}

/** HMAC of a contiguous message; the 32 bytes go to `out`. */
export function hmac(slot: u32, message: usize, bytes: u32, out: usize): void {
  const key = keyBase + <usize>slot * KEY_BYTES;
  const state = scratch + SCRATCH_STATE;
  copy32(state, key + KEY_INNER);
  hashMessage(state, message, bytes, BLOCK_BYTES + bytes);
  finish(state, key, out);
}

/** HMAC of a frame as the sender made it: over the header with a zero HMAC field, and payload. */
export function hmacFrame(slot: u32, frame: usize, size: u32, out: usize): void {
  const key = keyBase + <usize>slot * KEY_BYTES;
  const state = scratch + SCRATCH_STATE;
  const stage = scratch + SCRATCH_STAGES;
  copy32(state, key + KEY_INNER);
  const tailBlocks = stageFrame(stage, frame, size);
  hashBlocks(state, stage + STAGE_HEAD, 1);
  hashBlocks(state, frame + BLOCK_BYTES, bodyBlocks(size));
  hashBlocks(state, stage + STAGE_TAIL, tailBlocks);
  finish(state, key, out);
}

/** Whether 32 bytes are equal, in a time that does not depend on where they differ. */
export function equal32(a: usize, b: usize): bool {
  let difference: u64 = 0;
  for (let i: usize = 0; i != 32; i += 8) difference |= load<u64>(a + i) ^ load<u64>(b + i);
  return difference == 0;
}

/** Hashes the rest of a message; `total` counts what the state has seen before it as well. */
function hashMessage(state: usize, message: usize, bytes: u32, total: u32): void {
  const tail = scratch + SCRATCH_STAGES + STAGE_TAIL;
  const rest = bytes % BLOCK_BYTES;
  hashBlocks(state, message, bytes / BLOCK_BYTES);
  hashBlocks(state, tail, stageTail(tail, message + (bytes - rest), rest, total));
}

/** The outer hash, over the inner hash's digest. */
function finish(state: usize, key: usize, out: usize): void {
  const block = scratch + SCRATCH_STAGES + STAGE_OUTER;
  storeDigest(state, block);
  hashOuter(block, key, out);
}

/** The outer hash, over a digest at the start of a block that is the module's; `out` may be it. */
export function hashOuter(block: usize, key: usize, out: usize): void {
  const state = scratch + SCRATCH_STATE;
  stageOuter(block);
  copy32(state, key + KEY_OUTER);
  hashBlocks(state, block, 1);
  storeDigest(state, out);
}
