import crypto from 'node:crypto';
import { GUARD_BYTES } from '../ring/layout.js';
import type { WasmInstance } from '../wasm/bindings.js';
import { HEADER_BYTES, HMAC_BYTES } from '../wire/layout.js';

/** Hashes bytes in one call; the digest comes as a string, which costs less to make than a Buffer. */
export type OneShotHash = (algorithm: 'sha256', bytes: Uint8Array, encoding: 'binary') => string;

/** `crypto.hash`: Node has it from 20.12 on. */
export const oneShotHash: OneShotHash | null = crypto.hash ?? null;

/**
 * Whether the frame at `address` holds its HMAC under the key of a session slot; constant time.
 * The inner hash runs over the memory itself, the key's pad laid in front of the frame meanwhile:
 * one call of `node:crypto` and no copy.
 *
 * What is changed for that is put back before this returns or throws, and nothing else runs on this
 * thread in between. So it does not matter that the bytes in front may be an earlier frame of the
 * same batch, which no sink has taken yet; and the other thread writes to none of them (GUARD_BYTES).
 *
 * @param size payload bytes
 * @throws what `hash` throws
 */
export function holdsInPlace(
  bindings: WasmInstance,
  memory: Buffer,
  slot: number,
  address: number,
  size: number,
  hash: OneShotHash,
): boolean {
  let holds = false;
  bindings.layPad(slot, address);
  try {
    const message = memory.subarray(address - GUARD_BYTES, address + HEADER_BYTES + size);
    memory.write(hash('sha256', message, 'binary'), bindings.innerDigest, HMAC_BYTES, 'latin1');
  } finally {
    holds = bindings.liftPad(slot, address);
  }
  return holds;
}
