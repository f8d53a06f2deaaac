/**
 * What the two ends of a gateway link say to each other, as `sinks/relay/LINK.md` specifies it: each
 * message is one binary WebSocket message, its first byte the kind.
 */
export const LINK_VERSION = 1;

export const MessageKind = {
  HELLO: 1,
  BATCH: 2,
  RESUME: 3,
  ACK: 4,
  REJECTED: 5,
  ERROR: 6,
  GOODBYE: 7,
  ENDED: 8,
} as const;

export const ACK_BYTES = 9;
/** No message but a BATCH is longer. */
export const CONTROL_MESSAGE_BYTES_MAX = 64 * 1024;

/** Why a link is ended; `sinks/relay/LINK.md` says what each end does then. */
export type LinkErrorCode =
  | 'version'
  | 'protocol'
  | 'loop'
  | 'busy'
  | 'damaged'
  | 'gap'
  | 'position'
  | 'token'
  | 'owner'
  | 'links'
  | 'stopping';

export interface Hello {
  version: number;
  /** The sending spool's own id. */
  link: string;
  /** The sending gateway's id. */
  gateway: string;
  /** The first record that the sender still has. */
  firstSeq: number;
  /** The next that it will give out. */
  nextSeq: number;
}

export interface Resume {
  version: number;
  /** The receiving gateway's id. */
  gateway: string;
  /** All up to it is on disk here. */
  position: number;
}

export interface Rejected {
  session: string;
  sensor: string;
  type: number;
  reason: string;
  detail: string;
}

/** A session whose END the sender gave up. */
export interface Ended {
  session: string;
  reason: string;
}

export type Message =
  | { kind: typeof MessageKind.HELLO; hello: Hello }
  | { kind: typeof MessageKind.BATCH; block: Buffer }
  | { kind: typeof MessageKind.RESUME; resume: Resume }
  | { kind: typeof MessageKind.ACK; position: number }
  | { kind: typeof MessageKind.REJECTED; rejected: Rejected }
  | { kind: typeof MessageKind.ERROR; code: string; message: string }
  | { kind: typeof MessageKind.ENDED; ended: Ended }
  | { kind: typeof MessageKind.GOODBYE };

/** The peer's bytes are none of its messages. */
export class LinkProtocolError extends Error {}

export const encodeHello = (hello: Hello) => encodeJson(MessageKind.HELLO, hello);
export const encodeResume = (resume: Resume) => encodeJson(MessageKind.RESUME, resume);
export const encodeRejected = (rejected: Rejected) => encodeJson(MessageKind.REJECTED, rejected);
export const encodeEnded = (ended: Ended) => encodeJson(MessageKind.ENDED, ended);
export const encodeGoodbye = () => Buffer.from([MessageKind.GOODBYE]);

export function encodeError(code: LinkErrorCode, message: string): Buffer {
  return encodeJson(MessageKind.ERROR, { code, message });
}

export function encodeAck(position: number): Buffer {
  const bytes = Buffer.alloc(ACK_BYTES);
  bytes[0] = MessageKind.ACK;
  bytes.writeBigUInt64LE(BigInt(position), 1);
  return bytes;
}

/** The first byte of a BATCH; the block follows as it is stored. */
export const BATCH_PREFIX = Buffer.from([MessageKind.BATCH]);

/**
 * @param bytes of one WebSocket message; a BATCH's block is a view of them
 * @throws LinkProtocolError
 */
export function decodeMessage(bytes: Buffer): Message {
  const kind = bytes[0];
  switch (kind) {
    case MessageKind.BATCH:
      return { kind, block: bytes.subarray(1) };
    case MessageKind.ACK:
      return { kind, position: ackOf(bytes) };
    case MessageKind.HELLO:
      return { kind, hello: helloOf(jsonOf(bytes, 'HELLO')) };
    case MessageKind.RESUME:
      return { kind, resume: resumeOf(jsonOf(bytes, 'RESUME')) };
    case MessageKind.REJECTED:
      return { kind, rejected: rejectedOf(jsonOf(bytes, 'REJECTED')) };
    case MessageKind.ERROR: {
      const { code, message } = jsonOf(bytes, 'ERROR');
      return { kind, code: text(code, 'ERROR.code'), message: text(message, 'ERROR.message') };
    }
    case MessageKind.ENDED: {
      const { session, reason } = jsonOf(bytes, 'ENDED');
      return {
        kind,
        ended: { session: text(session, 'ENDED.session'), reason: text(reason, 'ENDED.reason') },
      };
    }
    case MessageKind.GOODBYE:
      return { kind };
    default:
      throw new LinkProtocolError(
        kind === undefined ? 'an empty message' : `a message of the unknown kind ${kind}`,
      );
  }
}

function encodeJson(kind: number, value: object): Buffer {
  return Buffer.concat([Buffer.from([kind]), Buffer.from(JSON.stringify(value))]);
}

function jsonOf(bytes: Buffer, name: string): Record<string, unknown> {
  if (bytes.length > CONTROL_MESSAGE_BYTES_MAX) {
    throw new LinkProtocolError(`a ${name} of ${bytes.length} bytes`);
  }
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8', 1));
  } catch {
    throw new LinkProtocolError(`a ${name} that is no JSON`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new LinkProtocolError(`a ${name} that is no JSON object`);
  }
  return value as Record<string, unknown>;
}

function ackOf(bytes: Buffer): number {
  if (bytes.length !== ACK_BYTES) throw new LinkProtocolError(`an ACK of ${bytes.length} bytes`);
  return count(Number(bytes.readBigUInt64LE(1)), 'ACK');
}

/** Of a newer version only the version is sure to be there. */
function helloOf(value: Record<string, unknown>): Hello {
  const version = count(value.version, 'HELLO.version');
  if (version !== LINK_VERSION) return { version, link: '', gateway: '', firstSeq: 0, nextSeq: 0 };
  return {
    version,
    link: text(value.link, 'HELLO.link'),
    gateway: text(value.gateway, 'HELLO.gateway'),
    firstSeq: count(value.firstSeq, 'HELLO.firstSeq'),
    nextSeq: count(value.nextSeq, 'HELLO.nextSeq'),
  };
}

function resumeOf(value: Record<string, unknown>): Resume {
  return {
    version: count(value.version, 'RESUME.version'),
    gateway: text(value.gateway, 'RESUME.gateway'),
    position: count(value.position, 'RESUME.position'),
  };
}

function rejectedOf(value: Record<string, unknown>): Rejected {
  return {
    session: text(value.session, 'REJECTED.session'),
    sensor: text(value.sensor, 'REJECTED.sensor'),
    type: count(value.type, 'REJECTED.type'),
    reason: text(value.reason, 'REJECTED.reason'),
    detail: text(value.detail, 'REJECTED.detail'),
  };
}

function text(value: unknown, name: string): string {
  if (typeof value === 'string') return value;
  throw new LinkProtocolError(`${name} is no text`);
}

function count(value: unknown, name: string): number {
  if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number;
  throw new LinkProtocolError(`${name} is no number of anything`);
}
