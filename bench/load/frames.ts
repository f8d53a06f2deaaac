import { createHash, type KeyObject } from 'node:crypto';
import { FrameEncoder } from '../../src/wire/header.js';
import { HEADER_BYTES } from '../../src/wire/layout.js';
import { formatUuid } from '../../src/wire/uuid.js';
import { type Format, makePayload, type Payload } from './payload.js';

/** The frames of one sensor, built and signed once, to be written over and over. */
export interface Stream {
  uuid: string;
  /** Signed before all others; empty where the format has no prologue. */
  prologue: Buffer;
  prologuePayloadBytes: number;
  /** Whole frames, one behind the other, all of one size. */
  cycle: Buffer;
  frameBytes: number;
  payloadBytes: number;
}

const MIB = 1024 * 1024;
/** Cycles of all streams together, as far as the least length allows. */
const CYCLES_BYTES = 16 * MIB;
const CYCLE_BYTES_MAX = 4 * MIB;
const CYCLE_BYTES_MIN = 256 * 1024;
/** The timestamp of every frame, seconds since the epoch. */
const FRAME_TIME = 1_795_000_000;

/** How many frames a stream's cycle has when so many streams are sent side by side. */
export function cycleFrames(payloadBytes: number, streams: number): number {
  const share = Math.floor(CYCLES_BYTES / Math.max(streams, 1));
  const bytes = Math.min(CYCLE_BYTES_MAX, Math.max(CYCLE_BYTES_MIN, share));
  return Math.max(1, Math.floor(bytes / (HEADER_BYTES + payloadBytes)));
}

/** The payload that every sensor of a load sends: the same, so that it is made and kept once. */
export function payloadOf(format: Format, payloadBytes: number, streams: number): Payload {
  return makePayload(format, payloadBytes * cycleFrames(payloadBytes, streams));
}

export function makeStream(
  payload: Payload,
  payloadBytes: number,
  uuid: string,
  key: KeyObject,
): Stream {
  const encoder = new FrameEncoder({ type: payload.type, uuid, key });
  const frameBytes = HEADER_BYTES + payloadBytes;
  const frames = payload.cycle.length / payloadBytes;
  // Not of the pool: a view at an odd place costs each write a little.
  const cycle = Buffer.allocUnsafeSlow(frames * frameBytes);
  for (let frame = 0; frame < frames; frame++) {
    const from = frame * payloadBytes;
    const content = payload.cycle.subarray(from, from + payloadBytes);
    encoder.encode(content, FRAME_TIME).copy(cycle, frame * frameBytes);
  }
  const prologue =
    payload.prologue.length > 0 ? encoder.encode(payload.prologue, FRAME_TIME) : Buffer.alloc(0);
  const prologuePayloadBytes = payload.prologue.length;
  return { uuid, prologue, prologuePayloadBytes, cycle, frameBytes, payloadBytes };
}

/** A version 4 UUID that depends on its number alone. */
export function sensorUuid(index: number): string {
  const bytes = createHash('sha256').update(`d4-gateway bench sensor ${index}`).digest();
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return formatUuid(bytes.subarray(0, 16));
}
