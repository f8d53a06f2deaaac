import { createHash } from 'node:crypto';

/** Who did something: a person at a terminal, the holder of a token, or the gateway by itself. */
export interface Actor {
  kind: 'cli' | 'token' | 'gateway';
  /** The system's user, the token's name, or `d4gw`. */
  name: string;
  /** Of a token. */
  role?: string;
  /** The peer's address; `local` for this machine. */
  from: string;
}

/** What the gateway does by itself. */
export const GATEWAY_ACTOR: Actor = { kind: 'gateway', name: 'd4gw', from: 'local' };

/** One act. Never holds a secret: `before` and `after` come from views without keys. */
export interface AuditAct {
  /** Such as `sensor.approve`. */
  act: string;
  /** What it was done to: a UUID, an address, the name of a sink. */
  subject: string;
  before?: unknown;
  after?: unknown;
}

/** One line of the trail. */
export interface AuditEntry extends AuditAct {
  /** 1 for the first line ever, then without a gap. */
  seq: number;
  /** ISO 8601, UTC. */
  at: string;
  actor: Actor;
  /** The hash of the line before; 64 zeros at the first. */
  prev: string;
  hash: string;
}

/** Where the trail stands: the number and hash of its newest line. */
export interface TrailHead {
  seq: number;
  hash: string;
}

export const TRAIL_START: TrailHead = { seq: 0, hash: '0'.repeat(64) };

/** Longer texts in `before` and `after` are no record of an act. */
export const LINE_BYTES_MAX = 64 * 1024;

const HASH_END = /,"hash":"([0-9a-f]{64})"\}$/;

/**
 * A line, without its newline. The hash is SHA-256 over the line's own text up to its `hash`
 * member, which holds the hash of the line before: a line that is changed, taken out or moved
 * breaks the chain from there on.
 */
export function encodeEntry(head: TrailHead, actor: Actor, act: AuditAct, at: Date) {
  const { act: name, subject, before, after } = act;
  const body = JSON.stringify({
    seq: head.seq + 1,
    at: at.toISOString(),
    actor,
    act: name,
    subject,
    ...(before === undefined ? {} : { before }),
    ...(after === undefined ? {} : { after }),
    prev: head.hash,
  }).slice(0, -1);
  const hash = hashOf(body);
  return { line: `${body},"hash":"${hash}"}`, head: { seq: head.seq + 1, hash } };
}

/**
 * Reads a line and holds it against its own hash.
 * @returns the entry, or what is wrong with the line
 */
export function decodeEntry(line: string): AuditEntry | { problem: string } {
  const found = HASH_END.exec(line);
  if (!found) return { problem: 'is no line of the audit trail' };
  if (hashOf(line.slice(0, found.index)) !== found[1]) return { problem: 'was changed' };
  try {
    return JSON.parse(line) as AuditEntry;
  } catch {
    return { problem: 'is no JSON' };
  }
}

function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
