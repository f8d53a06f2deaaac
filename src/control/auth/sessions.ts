import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { TokenRecord, Tokens } from '../../registry/tokens.js';

export const SESSIONS_MAX = 1_000;
/** Without a request for so long, and in any case after the longer time, one logs in again. */
export const IDLE_MS = 12 * 3_600_000;
export const LIFETIME_MS = 7 * 86_400_000;
const SECRET_BYTES = 32;

export interface Session {
  readonly tokenId: string;
  /** What a form sends along, which another site cannot know. */
  readonly csrf: string;
  readonly expiresAt: number;
  usedAt: number;
}

/** Who is logged in, and with what token; in memory, so a restart ends them all. */
export class Sessions {
  readonly #tokens: Tokens;
  /** By the SHA-256 of the cookie's value, least recently used first. */
  readonly #sessions = new Map<string, Session>();

  constructor(tokens: Tokens) {
    this.#tokens = tokens;
  }

  /** @returns the session, and the value for the cookie */
  open(token: TokenRecord, now = Date.now()): { session: Session; value: string } {
    const value = randomBytes(SECRET_BYTES).toString('base64url');
    const session: Session = {
      tokenId: token.id,
      csrf: randomBytes(SECRET_BYTES).toString('base64url'),
      expiresAt: Math.min(now + LIFETIME_MS, token.expiresAt ?? Number.POSITIVE_INFINITY),
      usedAt: now,
    };
    if (this.#sessions.size >= SESSIONS_MAX) {
      this.#sessions.delete(this.#sessions.keys().next().value!);
    }
    this.#sessions.set(hashOf(value), session);
    return { session, value };
  }

  /** The session of a cookie's value and the token that it stands for, while both hold. */
  find(
    value: string,
    { touch = true, now = Date.now() } = {},
  ): { session: Session; token: TokenRecord } | undefined {
    const key = hashOf(value);
    const session = this.#sessions.get(key);
    if (!session) return undefined;
    const token = this.#tokens.get(session.tokenId, now);
    const isOver = now >= session.expiresAt || now - session.usedAt > IDLE_MS;
    if (!token || isOver) {
      this.#sessions.delete(key);
      return undefined;
    }
    if (touch) {
      session.usedAt = now;
      this.#sessions.delete(key);
      this.#sessions.set(key, session);
    }
    return { session, token };
  }

  close(value: string): void {
    this.#sessions.delete(hashOf(value));
  }
}

/** Whether a request carries the session's own token against forgery. Constant time. */
export function isGenuine(session: Session, sent: string): boolean {
  const [own, other] = [session.csrf, sent].map((text) =>
    createHash('sha256').update(text).digest(),
  );
  return timingSafeEqual(own!, other!);
}

function hashOf(value: string): string {
  return createHash('sha256').update(value).digest('base64');
}
