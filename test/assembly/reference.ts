import { ScanStatus } from '../../src/ring/layout.js';
import { Reject } from '../../src/wire/reject.js';

/** A session as the reference decoder keeps it; without a uuid its identity is not fixed. */
export interface ReferenceSession {
  uuid: string | undefined;
  type: number;
}

export interface ReferenceLimits {
  types: readonly number[];
  maxPayload: number;
  nowSeconds: number;
  skewSeconds: number;
  room: number;
}

export interface ReferenceResult {
  status: number;
  frames: { offset: number; size: number; type: number; end: number }[];
  consumed: number;
  need: number;
}

/**
 * What a scan must find, told again from WIRE's tables with Buffer calls and BigInt, and nothing
 * shared with the module but the codes. Slow, and easy to read.
 */
export function referenceScan(
  stream: Buffer,
  session: ReferenceSession,
  limits: ReferenceLimits,
): ReferenceResult {
  const frames: ReferenceResult['frames'] = [];
  let at = 0;
  const stop = (status: number, need = 0) => ({ status, frames, consumed: at, need });
  for (;;) {
    if (at === stream.length) return stop(ScanStatus.DONE);
    if (stream.length - at < 62) return stop(ScanStatus.PARTIAL_HEADER);
    const version = stream.readUInt8(at);
    const type = stream.readUInt8(at + 1);
    const uuid = stream.toString('hex', at + 2, at + 18);
    const time = stream.readBigUInt64LE(at + 18);
    const size = stream.readUInt32LE(at + 58);

    if (version !== 1) return stop(Reject.BAD_VERSION);
    if (type === 0 || !limits.types.includes(type)) return stop(Reject.BAD_TYPE);
    if (!/^.{12}4.{3}[89ab].{15}$/.test(uuid)) return stop(Reject.BAD_UUID);
    if (size > limits.maxPayload) return stop(Reject.TOO_LARGE);
    if (limits.skewSeconds > 0) {
      const skew = time - BigInt(limits.nowSeconds);
      const most = BigInt(limits.skewSeconds);
      if (skew > most || -skew > most) return stop(Reject.TIMESTAMP_SKEW);
    }
    if (session.uuid === undefined) return stop(ScanStatus.NEW_SESSION);
    if (uuid !== session.uuid) return stop(Reject.UUID_CHANGED);
    if (session.type === 2 && type === 254) session.type = 254;
    if (type !== session.type) return stop(Reject.TYPE_CHANGED);

    const end = at + 62 + size;
    if (end > stream.length) return stop(ScanStatus.PARTIAL_FRAME, 62 + size);
    if (frames.length === limits.room) return stop(ScanStatus.ROOM);
    frames.push({ offset: at, size, type, end });
    at = end;
  }
}
