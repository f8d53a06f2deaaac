import { createHmac, createSecretKey, type KeyObject, timingSafeEqual } from 'node:crypto';
import { HEADER_BYTES, HMAC_BYTES, OFFSET_HMAC } from '../wire/layout.js';
import type { AcceptedKeys } from './admission.js';

const header = Buffer.alloc(HEADER_BYTES);

/** The keys of one session, ready for use outside the module's own hashing. */
export class SessionKey {
  #current: Buffer;
  /** Made when it is asked for: few sessions ever need it. */
  #object: KeyObject | undefined;
  #previous: { object: KeyObject; validUntil: number } | undefined;

  constructor(keys: AcceptedKeys) {
    this.#current = keys.current;
    this.#previous = SessionKey.#previousOf(keys);
  }

  get bytes(): Buffer {
    return this.#current;
  }

  /** Takes the sensor's keys as they are now; true when the current one changed. */
  update(keys: AcceptedKeys): boolean {
    this.#previous = SessionKey.#previousOf(keys);
    if (keys.current.equals(this.#current)) return false;
    this.#current = keys.current;
    this.#object = undefined;
    return true;
  }

  /** Whether the frame at `address` holds its HMAC under the current key. Constant time. */
  verify(memory: Buffer, address: number, size: number): boolean {
    this.#object ??= createSecretKey(this.#current);
    return holds(memory, address, size, this.#object);
  }

  /** The same under the key before the last rotation, while its grace lasts. */
  verifyPrevious(memory: Buffer, address: number, size: number, now: number): boolean {
    if (!this.#previous || now >= this.#previous.validUntil) return false;
    return holds(memory, address, size, this.#previous.object);
  }

  static #previousOf(keys: AcceptedKeys) {
    const { previous } = keys;
    return previous && { object: createSecretKey(previous.key), validUntil: previous.validUntil };
  }
}

/** The HMAC covers the header with its HMAC field zero, then the payload (WIRE.md, "The frame"). */
function holds(memory: Buffer, address: number, size: number, key: KeyObject): boolean {
  memory.copy(header, 0, address, address + HEADER_BYTES);
  header.fill(0, OFFSET_HMAC, OFFSET_HMAC + HMAC_BYTES);
  const payload = address + HEADER_BYTES;
  const digest = createHmac('sha256', key)
    .update(header)
    .update(memory.subarray(payload, payload + size))
    .digest();
  const sent = memory.subarray(address + OFFSET_HMAC, address + OFFSET_HMAC + HMAC_BYTES);
  return timingSafeEqual(digest, sent);
}
