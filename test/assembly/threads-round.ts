import {
  DESCRIPTOR_BYTES,
  DESCRIPTOR_STATUS,
  FrameStatus,
  type MemoryMap,
  ScanStatus,
} from '../../src/ring/layout.js';
import type { WasmInstance } from '../../src/wasm/bindings.js';
import { Reject } from '../../src/wire/reject.js';
import { TIME } from './harness.js';

/** One thread's part of a memory that several work on. */
export interface Share {
  scratch: number;
  session: number;
  /** Where its stream lies, and its frames' number. */
  address: number;
  length: number;
  frames: number;
  /** The frames whose HMAC is wrong. */
  bad: readonly number[];
  /** Its first descriptor. */
  seq: number;
}

/** Scans and verifies a thread's stream; returns what is wrong with the result. */
export function checkRound(wasm: WasmInstance, map: MemoryMap, share: Share): string | undefined {
  const { session, address, length, seq, frames } = share;
  const status = wasm.scan(address, length, session, seq, frames, 0, TIME, 0);
  if (status !== ScanStatus.DONE) return `scan returned ${status}`;
  if (wasm.count !== frames || wasm.consumed !== length) {
    return `scan found ${wasm.count} frames in ${wasm.consumed} bytes`;
  }
  const left = wasm.verify(seq, frames, 2 ** 32 - 1);
  if (left !== 0) return `verify left ${left}`;
  const bytes = new Uint8Array(wasm.memory.buffer);
  for (let index = 0; index < frames; index++) {
    const at = map.descriptorBase + (seq + index) * DESCRIPTOR_BYTES + DESCRIPTOR_STATUS;
    const expected = share.bad.includes(index) ? Reject.BAD_HMAC : FrameStatus.VERIFIED;
    if (bytes[at] !== expected) return `frame ${index} is ${bytes[at]}, not ${expected}`;
  }
  return undefined;
}
