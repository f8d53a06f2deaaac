import { createHmac, createSecretKey, type KeyObject } from 'node:crypto';
import {
  HEADER_BYTES,
  HMAC_BYTES,
  OFFSET_HMAC,
  OFFSET_SIZE,
  OFFSET_TYPE,
  OFFSET_UUID,
  UUID_BYTES,
} from '../../wire/layout.js';
import { formatUuid, parseUuid } from '../../wire/uuid.js';

/** Byte 6 of a version 4 UUID holds its version, byte 8 its variant (RFC 4122, section 4.4). */
const VERSION_AT = 6;
const VARIANT_AT = 8;

/** How a sensor appears to the server that its stream is relayed to. */
export interface Identity {
  /** Every frame is signed anew; otherwise those alone that the relay makes itself. */
  readonly resigns: boolean;
  /**
   * The header of a frame that the relay makes from another: the same version and time.
   * @param header of 62 bytes, as the sensor sent it
   * @throws NoKeyError
   */
  sign(header: Buffer, type: number, payload: Buffer): Buffer;
}

/** The sensor's key is no longer known, so nothing can be made in its name. */
export class NoKeyError extends Error {}

/** `mode: preserve`: the sensor itself, with the key that the registry has of it now. */
export class OwnIdentity implements Identity {
  readonly resigns = false;
  readonly #sensor: string;
  readonly #keyOf: (sensor: string) => Buffer | undefined;
  #bytes: Buffer | undefined;
  #key: KeyObject | undefined;

  constructor(sensor: string, keyOf: (sensor: string) => Buffer | undefined) {
    this.#sensor = sensor;
    this.#keyOf = keyOf;
  }

  sign(header: Buffer, type: number, payload: Buffer): Buffer {
    const bytes = this.#keyOf(this.#sensor);
    if (!bytes) throw new NoKeyError(`no key of sensor ${this.#sensor} is known any more`);
    if (!this.#key || !this.#bytes?.equals(bytes)) {
      this.#bytes = bytes;
      this.#key = createSecretKey(bytes);
    }
    return signed(Buffer.from(header), type, payload, this.#key);
  }
}

/** `mode: resign`: a pseudonym, and the relay's own key. */
export class Pseudonym implements Identity {
  readonly resigns = true;
  readonly #uuid: Buffer;
  readonly #key: KeyObject;

  constructor(sensor: string, secret: Buffer, key: KeyObject) {
    this.#uuid = pseudonymBytes(sensor, secret);
    this.#key = key;
  }

  sign(header: Buffer, type: number, payload: Buffer): Buffer {
    const copy = Buffer.from(header);
    this.#uuid.copy(copy, OFFSET_UUID);
    return signed(copy, type, payload, this.#key);
  }
}

/**
 * A sensor's pseudonym: the first 16 bytes of HMAC-SHA-256(secret, the UUID's bytes), shaped as a
 * version 4 UUID. Stable, and without the secret nobody can tell which sensor it is.
 */
export function pseudonymOf(sensor: string, secret: Buffer): string {
  return formatUuid(pseudonymBytes(sensor, secret));
}

function pseudonymBytes(sensor: string, secret: Buffer): Buffer {
  const uuid = parseUuid(sensor);
  if (!uuid) throw new RangeError(`not a UUID: ${sensor}`);
  const digest = createHmac('sha256', secret).update(uuid).digest();
  const bytes = Buffer.from(digest.subarray(0, UUID_BYTES));
  bytes[VERSION_AT] = (bytes[VERSION_AT]! & 0x0f) | 0x40;
  bytes[VARIANT_AT] = (bytes[VARIANT_AT]! & 0x3f) | 0x80;
  return bytes;
}

/** Completes `header` in place. */
function signed(header: Buffer, type: number, payload: Buffer, key: KeyObject): Buffer {
  header[OFFSET_TYPE] = type;
  header.writeUInt32LE(payload.length, OFFSET_SIZE);
  header.fill(0, OFFSET_HMAC, OFFSET_HMAC + HMAC_BYTES);
  const digest = createHmac('sha256', key).update(header.subarray(0, HEADER_BYTES));
  digest.update(payload).digest().copy(header, OFFSET_HMAC);
  return header;
}
