// HMAC of a frame whose inner hash the host computes, in one call over contiguous bytes: its SHA-256
// uses the processor's own instructions, which WebAssembly has not.
//
//   before    … whatever is there    │ header … HMAC … │ payload
//   laid      the key's inner pad    │ header …  0  …  │ payload       hashed by the host
//   lifted    … whatever was there   │ header … HMAC … │ payload
//             └───── GUARD_BYTES ────┘
//
// Between the two calls the frame and the bytes in front of it are in no state for others to see.
import { GUARD_BYTES, KEY_BYTES, KEY_PAD, OFFSET_HMAC } from './layout';
import { copy32, copy64, zero16 } from './bytes';
import { SCRATCH_INNER, SCRATCH_SAVED, keyBase, scratch } from './instance';
import { equal32, hashOuter } from './hmac';

const SAVED_FRONT: usize = 0;
const SAVED_HMAC: usize = 64;

/** Saves the HMAC field and what is in front of a frame, and lays zeros and the inner pad there. */
export function layPad(slot: u32, frame: usize): void {
  const saved = scratch + SCRATCH_SAVED;
  const front = frame - GUARD_BYTES;
  copy64(saved + SAVED_FRONT, front);
  copy32(saved + SAVED_HMAC, frame + OFFSET_HMAC);
  copy64(front, keyBase + <usize>slot * KEY_BYTES + KEY_PAD);
  zero16(frame + OFFSET_HMAC);
  zero16(frame + OFFSET_HMAC + 16);
}

/**
 * Puts back what `layPad` saved. Returns whether the frame's HMAC is that of the inner digest which
 * the host has put at SCRATCH_INNER.
 */
export function liftPad(slot: u32, frame: usize): bool {
  const saved = scratch + SCRATCH_SAVED;
  const inner = scratch + SCRATCH_INNER;
  copy64(frame - GUARD_BYTES, saved + SAVED_FRONT);
  copy32(frame + OFFSET_HMAC, saved + SAVED_HMAC);
  hashOuter(inner, keyBase + <usize>slot * KEY_BYTES, inner);
  return equal32(inner, saved + SAVED_HMAC);
}
