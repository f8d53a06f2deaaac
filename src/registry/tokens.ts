import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { GatewayError } from '../errors.js';
import type { Book } from './book.js';
import { checkText, NAME_CHARS_MAX } from './limits.js';

/** What the holder of a token may do; each may do what those before it may. */
export const ROLES = ['reader', 'operator', 'admin'] as const;
export type Role = (typeof ROLES)[number];

export const TOKENS_MAX = 1_000;
const ID_BYTES = 6;
const SECRET_BYTES = 32;
const FORM = /^d4gw_([0-9a-f]{12})_([A-Za-z0-9_-]{43})$/;

/** A token as it is kept: the text that its holder has cannot be made from it. */
export interface TokenRecord {
  /** 12 hex digits, by which it is named. */
  id: string;
  name: string;
  role: Role;
  /** SHA-256 of the whole text. */
  hash: Buffer;
  /** Ms since the epoch. */
  createdAt: number;
  expiresAt?: number | undefined;
}

export interface NewToken {
  name: string;
  role: Role;
  expiresAt?: number | undefined;
}

/** Whether a role includes what another may do. */
export function allows(role: Role, wanted: Role): boolean {
  return ROLES.indexOf(role) >= ROLES.indexOf(wanted);
}

const keyOf = (id: string) => `token/${id}`;

/** The tokens of the control plane, in the registry under `token/<id>`. */
export class Tokens {
  readonly #book: Book;

  constructor(book: Book) {
    this.#book = book;
  }

  list(): TokenRecord[] {
    return this.#book.all<TokenRecord>('token');
  }

  /** The token of this id, unless it has expired. */
  get(id: string, now = Date.now()): TokenRecord | undefined {
    this.#book.refresh();
    const record = this.#book.get<TokenRecord>(keyOf(id));
    return record && (record.expiresAt === undefined || record.expiresAt > now)
      ? record
      : undefined;
  }

  /** The token that this text is, where it is one and has not expired. */
  find(text: string, now = Date.now()): TokenRecord | undefined {
    const id = FORM.exec(text)?.[1];
    const record = id === undefined ? undefined : this.get(id, now);
    return record && timingSafeEqual(record.hash, hashOf(text)) ? record : undefined;
  }

  /**
   * Makes a token.
   * @param keep takes the text while nothing is decided yet: where it throws, there is no token
   * @returns its record, and the text, which nobody can tell again
   * @throws GatewayError D4GW_E_CONTROL for a name or an expiry that is not possible
   */
  add(token: NewToken, keep?: (text: string) => void): { record: TokenRecord; text: string } {
    const { role, expiresAt } = token;
    const name = checkText('name', token.name, NAME_CHARS_MAX);
    if (name === '') throw fail('a token needs a name, by which it is known in the audit trail');
    if (expiresAt !== undefined && expiresAt <= Date.now()) {
      throw fail(`the token would expire at ${new Date(expiresAt).toISOString()}: that is over`);
    }
    const id = randomBytes(ID_BYTES).toString('hex');
    const text = `d4gw_${id}_${randomBytes(SECRET_BYTES).toString('base64url')}`;
    const record: TokenRecord = {
      id,
      name,
      role,
      hash: hashOf(text),
      createdAt: Date.now(),
      ...(expiresAt === undefined ? {} : { expiresAt }),
    };
    this.#book.transact(() => {
      if (this.list().length >= TOKENS_MAX) {
        throw fail(`there are ${TOKENS_MAX} tokens: revoke some with \`token revoke\``);
      }
      keep?.(text);
      this.#book.put(keyOf(id), record);
      this.#book.record({ act: 'token.add', subject: id, after: tokenView(record) });
    });
    return { record, text };
  }

  /** @throws GatewayError D4GW_E_CONTROL where there is no such token */
  revoke(id: string): TokenRecord {
    return this.#book.transact(() => {
      const record = this.#book.get<TokenRecord>(keyOf(id));
      if (!record) {
        throw fail(`no token ${JSON.stringify(id.slice(0, 80))}: \`token list\` shows their ids`);
      }
      this.#book.remove(keyOf(id));
      this.#book.record({ act: 'token.revoke', subject: id, before: tokenView(record) });
      return record;
    });
  }
}

/** What may be shown of a token; times in ISO 8601. */
export function tokenView({ id, name, role, createdAt, expiresAt }: TokenRecord) {
  const expires = expiresAt === undefined ? null : new Date(expiresAt).toISOString();
  return { id, name, role, createdAt: new Date(createdAt).toISOString(), expiresAt: expires };
}

function hashOf(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

function fail(message: string): GatewayError {
  return new GatewayError('D4GW_E_CONTROL', message);
}
