import { HEADER_BYTES } from '../wire/layout.js';
import { BUDDY_BLOCK_BYTES_MIN } from './buddy.js';
import { GUARD_BYTES } from './layout.js';

/** Bytes of the largest block that a frame under assembly needs, the guard in front of it included. */
export function assemblyBlockBytes(maxPayloadBytes: number): number {
  const bytes = Math.max(BUDDY_BLOCK_BYTES_MIN, GUARD_BYTES + HEADER_BYTES + maxPayloadBytes);
  return 2 ** Math.ceil(Math.log2(bytes));
}
