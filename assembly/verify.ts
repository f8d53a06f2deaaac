import {
  DESCRIPTOR_ADDRESS, DESCRIPTOR_BYTES, DESCRIPTOR_KIND, DESCRIPTOR_SESSION, DESCRIPTOR_SIZE,
  DESCRIPTOR_STATUS, FRAME_STATUS_PENDING, FRAME_STATUS_VERIFIED, KIND_FRAME, OFFSET_HMAC,
  REJECT_BAD_HMAC,
} from './layout';
import { SCRATCH_DIGEST, descriptorBase, descriptorMask, scratch } from './instance';
import { equal32, hmacFrame } from './hmac';
import { LANES, verifyLanes } from './lanes';

/**
 * Verifies the pending frames of `count` descriptors from `seq` on: each gets VERIFIED or BAD_HMAC,
 * in place, so their order is kept whatever order they are hashed in. Frames with more than
 * `maxSize` bytes of payload are left, and their number is returned.
 */
export function verify(seq: u32, count: u32, maxSize: u32): u32 {
  if (ASC_FEATURE_SIMD) return verifyLanes(seq, count, maxSize);
  return verifyEach(seq, count, maxSize);
}

/** How many frames `verify` hashes at once. */
export function lanes(): u32 {
  return ASC_FEATURE_SIMD ? LANES : 1;
}

function verifyEach(seq: u32, count: u32, maxSize: u32): u32 {
  const digest = scratch + SCRATCH_DIGEST;
  let left: u32 = 0;
  for (; count != 0; --count, ++seq) {
    const descriptor = descriptorAt(seq);
    if (!isPending(descriptor)) continue;
    const size = load<u32>(descriptor, DESCRIPTOR_SIZE);
    if (size > maxSize) {
      left += 1;
      continue;
    }
    const frame = <usize>load<u32>(descriptor, DESCRIPTOR_ADDRESS);
    hmacFrame(load<u32>(descriptor, DESCRIPTOR_SESSION), frame, size, digest);
    settle(descriptor, equal32(digest, frame + OFFSET_HMAC));
  }
  return left;
}

@inline
export function descriptorAt(seq: u32): usize {
  return descriptorBase + <usize>(seq & descriptorMask) * DESCRIPTOR_BYTES;
}

@inline
export function isPending(descriptor: usize): bool {
  return <u32>load<u8>(descriptor, DESCRIPTOR_KIND) == KIND_FRAME
    && <u32>load<u8>(descriptor, DESCRIPTOR_STATUS) == FRAME_STATUS_PENDING;
}

@inline
export function settle(descriptor: usize, valid: bool): void {
  store<u8>(descriptor, valid ? FRAME_STATUS_VERIFIED : REJECT_BAD_HMAC, DESCRIPTOR_STATUS);
}
