import { createHmac, type KeyObject, timingSafeEqual } from 'node:crypto';
import {
  HEADER_BYTES,
  HMAC_BYTES,
  OFFSET_HMAC,
  OFFSET_SIZE,
  OFFSET_TIMESTAMP,
  OFFSET_TYPE,
  OFFSET_UUID,
  OFFSET_VERSION,
  PROTOCOL_VERSION,
  UUID_BYTES,
} from './layout.js';
import { Reject, type RejectCode } from './reject.js';
import { KNOWN_TYPES } from './types.js';
import { parseUuid, uuidOfHeader } from './uuid.js';

/**
 * The reference codec of the frame drawn in `layout.ts`: plain TypeScript over `node:crypto`. The
 * client and `decode` use it; the data path's `assembly/` is tested against it.
 */

/** HMAC keys are bytes of any length; a KeyObject spares their import on each frame. */
export type FrameKey = KeyObject | Uint8Array;

export interface Header {
  version: number;
  type: number;
  /** The sensor, lower case with hyphens. */
  uuid: string;
  /** Seconds since the epoch. */
  timestamp: bigint;
  /** A copy of the 32 bytes. */
  hmac: Buffer;
  /** Payload bytes that follow the header. */
  size: number;
}

/** What a receiver takes. */
export interface HeaderLimits {
  maxPayloadBytes: number;
  /** Types taken; every known one when left out. */
  types?: readonly number[];
}

/**
 * Reads the header that starts at `offset`, whatever its fields hold.
 * @throws RangeError when fewer than 62 bytes are there
 */
export function decodeHeader(bytes: Uint8Array, offset = 0): Header {
  if (offset < 0 || bytes.length - offset < HEADER_BYTES) {
    throw new RangeError(
      `a frame header has ${HEADER_BYTES} bytes, ${bytes.length - offset} given`,
    );
  }
  const view = viewOf(bytes, offset);
  return {
    version: view.getUint8(OFFSET_VERSION),
    type: view.getUint8(OFFSET_TYPE),
    uuid: uuidOfHeader(bytes, offset),
    timestamp: view.getBigUint64(OFFSET_TIMESTAMP, true),
    hmac: Buffer.from(bytes.subarray(offset + OFFSET_HMAC, offset + OFFSET_HMAC + HMAC_BYTES)),
    size: view.getUint32(OFFSET_SIZE, true),
  };
}

/**
 * The first thing that is wrong with the header at `offset`, in the order of its fields: version,
 * type, UUID (version 4, RFC 4122 variant), size. Undefined when a receiver takes it.
 */
export function headerReject(
  bytes: Uint8Array,
  offset: number,
  limits: HeaderLimits,
): RejectCode | undefined {
  const view = viewOf(bytes, offset);
  if (view.getUint8(OFFSET_VERSION) !== PROTOCOL_VERSION) return Reject.BAD_VERSION;
  const types = limits.types ?? KNOWN_TYPES;
  if (!types.includes(view.getUint8(OFFSET_TYPE))) return Reject.BAD_TYPE;
  const isVersion4 = view.getUint8(OFFSET_UUID + 6) >> 4 === 4;
  const isRfc4122 = view.getUint8(OFFSET_UUID + 8) >> 6 === 2;
  if (!isVersion4 || !isRfc4122) return Reject.BAD_UUID;
  if (view.getUint32(OFFSET_SIZE, true) > limits.maxPayloadBytes) return Reject.TOO_LARGE;
  return undefined;
}

/**
 * HMAC-SHA-256(key, header with its HMAC field zero ‖ payload). The field is zeroed by its offset,
 * in a copy: nothing given is modified.
 * @param header at least 62 bytes that begin with the header
 */
export function frameHmac(header: Uint8Array, payload: Uint8Array, key: FrameKey): Buffer {
  const signed = Buffer.from(header.subarray(0, HEADER_BYTES));
  signed.fill(0, OFFSET_HMAC, OFFSET_HMAC + HMAC_BYTES);
  return createHmac('sha256', key).update(signed).update(payload).digest();
}

/** Whether the frame's HMAC holds under `key`; the comparison takes constant time. */
export function verifyFrame(header: Uint8Array, payload: Uint8Array, key: FrameKey): boolean {
  const given = header.subarray(OFFSET_HMAC, OFFSET_HMAC + HMAC_BYTES);
  return timingSafeEqual(frameHmac(header, payload, key), given);
}

/** Signs the frames of one stream: sensor, type and key are fixed, the rest differs by frame. */
export class FrameEncoder {
  readonly #header = Buffer.alloc(HEADER_BYTES);
  readonly #key: FrameKey;

  /**
   * @param stream.uuid the sensor, with or without hyphens
   * @throws RangeError when the UUID does not parse or a field is out of its range
   */
  constructor(stream: { type: number; uuid: string; key: FrameKey; version?: number }) {
    const uuid = parseUuid(stream.uuid);
    if (uuid?.length !== UUID_BYTES) throw new RangeError(`not a UUID: ${stream.uuid}`);
    this.#header.writeUInt8(stream.version ?? PROTOCOL_VERSION, OFFSET_VERSION);
    this.#header.writeUInt8(stream.type, OFFSET_TYPE);
    uuid.copy(this.#header, OFFSET_UUID);
    this.#key = stream.key;
  }

  /**
   * A whole frame, header and payload, in memory of its own.
   * @param timestamp seconds since the epoch
   */
  encode(payload: Uint8Array, timestamp: bigint | number): Buffer {
    const frame = Buffer.allocUnsafe(HEADER_BYTES + payload.length);
    this.#header.copy(frame);
    frame.set(payload, HEADER_BYTES);
    frame.writeBigUInt64LE(BigInt(timestamp), OFFSET_TIMESTAMP);
    frame.writeUInt32LE(payload.length, OFFSET_SIZE);
    // The field is still zero from the template: this is the text that is signed.
    createHmac('sha256', this.#key).update(frame).digest().copy(frame, OFFSET_HMAC);
    return frame;
  }
}

/** One frame at once; `FrameEncoder` for many. `timestamp` in seconds since the epoch. */
export function encodeFrame(frame: {
  type: number;
  uuid: string;
  timestamp: bigint | number;
  key: FrameKey;
  payload: Uint8Array;
  version?: number;
}): Buffer {
  return new FrameEncoder(frame).encode(frame.payload, frame.timestamp);
}

function viewOf(bytes: Uint8Array, offset: number): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset + offset, HEADER_BYTES);
}
