import type { MetaHeader } from '../sinks/sink.js';
import { HEADER_BYTES, OFFSET_SIZE } from '../wire/layout.js';

/** What is kept of a session beside its frames. */
export interface SpoolSession {
  /** Unique over all sessions of the gateway that received it. */
  readonly id: string;
  /** The sensor's UUID, lower case with hyphens. */
  readonly sensor: string;
  /** D4 type of its frames; 254 for one that began with a meta header. */
  readonly type: number;
  readonly openedAt: Date;
  /** Its type 2 frames are not among the FRAME records: they travel here. */
  readonly meta?: MetaHeader;
  readonly tags?: readonly string[];
  /** Id of the gateway that received it from its sensor. */
  readonly origin?: string;
  /** Ids of the gateways that it came through, that of the origin first. */
  readonly hops?: readonly string[];
}

export interface Amount {
  frames: number;
  /** Payload bytes. */
  bytes: number;
}

export interface OpenRecord {
  session: SpoolSession;
  /** What of the session came before, its meta header included; nothing for one that begins. */
  before: Amount;
}

export interface EndRecord {
  /** How it ended, by name: see `wire/reject.ts`. */
  code: string;
  detail: string;
  /** All of the session, its meta header included. */
  total: Amount;
}

export function encodeOpen({ session, before }: OpenRecord): Buffer {
  const { id, sensor, type, openedAt, meta, tags, origin, hops } = session;
  return Buffer.from(
    JSON.stringify({
      id,
      sensor,
      type,
      openedAt: openedAt.toISOString(),
      ...(meta
        ? { meta: { type: meta.type, frames: meta.frames, wire: meta.wire.toString('base64') } }
        : {}),
      ...(tags ? { tags } : {}),
      ...(origin === undefined ? {} : { origin }),
      ...(hops ? { hops } : {}),
      ...(before.frames > 0 || before.bytes > 0 ? { before } : {}),
    }),
  );
}

export function encodeEnd({ code, detail, total }: EndRecord): Buffer {
  return Buffer.from(JSON.stringify({ code, ...(detail ? { detail } : {}), total }));
}

/** Undefined where the bytes are no OPEN, though their checksum may hold. */
export function decodeOpen(data: Buffer): OpenRecord | undefined {
  const value = objectOf(data);
  if (!value) return undefined;
  const { id, sensor, type, openedAt, origin } = value;
  const date = new Date(typeof openedAt === 'string' ? openedAt : Number.NaN);
  if (typeof id !== 'string' || typeof sensor !== 'string' || !isCount(type)) return undefined;
  if (Number.isNaN(date.getTime())) return undefined;
  const meta = value.meta === undefined ? undefined : metaOf(value.meta);
  if (value.meta !== undefined && meta === undefined) return undefined;
  const before = value.before === undefined ? { frames: 0, bytes: 0 } : amountOf(value.before);
  if (before === undefined) return undefined;
  return {
    session: {
      id,
      sensor,
      type,
      openedAt: date,
      ...(meta ? { meta } : {}),
      ...(isTexts(value.tags) ? { tags: value.tags } : {}),
      ...(typeof origin === 'string' ? { origin } : {}),
      ...(isTexts(value.hops) ? { hops: value.hops } : {}),
    },
    before,
  };
}

export function decodeEnd(data: Buffer): EndRecord | undefined {
  const value = objectOf(data);
  const total = value && amountOf(value.total);
  if (!value || !total || typeof value.code !== 'string') return undefined;
  const detail = typeof value.detail === 'string' ? value.detail : '';
  return { code: value.code, detail, total };
}

function metaOf(value: unknown): MetaHeader | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { type, frames, wire } = value as Record<string, unknown>;
  if (typeof type !== 'string' || !isCount(frames) || typeof wire !== 'string') return undefined;
  const bytes = Buffer.from(wire, 'base64');
  const payloads = payloadsOf(bytes);
  if (payloads?.length !== frames) return undefined;
  return { type, frames, bytes: Buffer.concat(payloads), wire: bytes };
}

/** The payloads of whole frames; undefined where the bytes are none. */
function payloadsOf(wire: Buffer): Buffer[] | undefined {
  const payloads: Buffer[] = [];
  for (let at = 0; at < wire.length; ) {
    if (wire.length - at < HEADER_BYTES) return undefined;
    const from = at + HEADER_BYTES;
    at = from + wire.readUInt32LE(at + OFFSET_SIZE);
    if (at > wire.length) return undefined;
    payloads.push(wire.subarray(from, at));
  }
  return payloads;
}

function objectOf(data: Buffer): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(data.toString('utf8'));
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}

function amountOf(value: unknown): Amount | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { frames, bytes } = value as Record<string, unknown>;
  return isCount(frames) && isCount(bytes) ? { frames, bytes } : undefined;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((text) => typeof text === 'string');
}
