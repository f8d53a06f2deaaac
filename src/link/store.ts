import { join } from 'node:path';
import { GatewayError, messageOf } from '../errors.js';
import type { Amount } from '../ledger/totals.js';
import type { CarriedPart, Rest, StreamPart } from '../sinks/sink.js';
import { checkSpace } from '../storage/disk-space.js';
import { type Environment, hasEnvironment, openEnvironment } from '../storage/environment.js';

/**
 * What the receiving end of gateway links keeps, in LMDB under `<dataDir>/links/`. Workers, the
 * primary's recovery and the command line all write it; each key has one writer at a time.
 *
 *     format                         number, FORMAT
 *     token/<name>                   LinkToken
 *     link/<link>                    LinkState: how far a link has come
 *     held/<link>/<session>          HeldSession: what is held of a session that is not behind us
 *     attempt/<our session>          Attempt: one of our sessions that serves such a one
 *     part/<our session>/<sink>      StreamPart: the end of a file that was cut off, until `held` has it
 *     rest/<our session>/<sink>      Rest: acknowledged, and in memory alone but for this
 */
const FORMAT = 1;
/** Address space, not memory or disk. */
const MAP_BYTES = 4 * 1024 ** 3;
/**
 * Of one token: a gateway has one for each worker and relay, and a new one when its spool began anew. Whoever
 * has a token can make up ids, and each is kept.
 */
export const LINKS_PER_TOKEN_MAX = 256;
/** A link's name for itself, and for its sessions: they are parts of keys. */
const KEY_FORM = /^[A-Za-z0-9._:-]{1,96}$/;

export interface LinkToken {
  /** SHA-256 of the token, hex. */
  hash: string;
  /** Milliseconds since the epoch. */
  createdAt: number;
}

export interface LinkState {
  /** All up to it is on disk in every sink. */
  position: number;
  /** Id of the gateway at the other end. */
  gateway: string;
  at: number;
  /** Name of the token that it belongs to: no other may open it. A link of an older release has none yet. */
  token?: string;
}

/** Why a link may not be opened with a token. */
export type LinkRefusal = 'token' | 'owner' | 'links';

/** What a sink holds, of a session from its beginning on. */
export interface HeldSink extends Amount {
  /** What its next file begins with; the bytes of the record under way are held, but in no file. */
  part?: CarriedPart;
}

export interface HeldSession {
  /** What the ledger counts as received, rejected included: the least that any sink holds. */
  counted: Amount;
  sinks: Record<string, HeldSink>;
  /** How it ended, once nothing more of it is taken: by its END, or by a reject. */
  over?: string;
}

/** A session of ours that takes what another gateway's session brings from some place on. */
export interface Attempt {
  link: string;
  /** The other gateway's session. */
  session: string;
  /** What of that session came before this one: whole frames. */
  base: Amount;
  /** Payload bytes of the first frame that are counted already. */
  counted: number;
  /** The process that has it: `ownerOf`. */
  owner: string;
}

/** A process as attempts name it, over restarts of the machine. */
export function ownerOf(process: { pid: number; startTicks: string; bootId: string }): string {
  return `${process.bootId} ${process.pid} ${process.startTicks}`;
}

export function isLinkKey(text: unknown): text is string {
  return typeof text === 'string' && KEY_FORM.test(text);
}

export class LinkStore {
  readonly #directory: string;
  readonly #db: Environment;

  /** @throws GatewayError D4GW_E_LINK */
  static open(dataDir: string, options: { readOnly?: boolean } = {}): LinkStore {
    const directory = join(dataDir, 'links');
    const readOnly = options.readOnly ?? false;
    if (readOnly && !hasEnvironment(directory)) {
      throw new GatewayError(
        'D4GW_E_LINK',
        `no links in ${directory}: d4gw link add makes the first`,
      );
    }
    try {
      return new LinkStore(
        directory,
        openEnvironment(directory, { readOnly, format: FORMAT, mapBytes: MAP_BYTES }),
      );
    } catch (error) {
      throw new GatewayError(
        'D4GW_E_LINK',
        `cannot open the links in ${directory}: ${messageOf(error)}`,
        { cause: error },
      );
    }
  }

  private constructor(directory: string, db: Environment) {
    this.#directory = directory;
    this.#db = db;
  }

  tokens(): (LinkToken & { name: string })[] {
    return this.#entries('token').map(([name, token]) => ({ name, ...(token as LinkToken) }));
  }

  token(name: string): LinkToken | undefined {
    return this.#get<LinkToken>(`token/${name}`);
  }

  setToken(name: string, token: LinkToken): Promise<void> {
    return this.#write(() => this.#put(`token/${name}`, token));
  }

  link(link: string): LinkState | undefined {
    return this.#get<LinkState>(`link/${link}`);
  }

  links(): (LinkState & { link: string })[] {
    return this.#entries('link').map(([link, state]) => ({ link, ...(state as LinkState) }));
  }

  /**
   * Gives a link to the token that first opens it.
   * @returns why it may not be opened with this one
   * @throws GatewayError D4GW_E_LINK
   */
  async bind(
    link: string,
    gateway: string,
    token: { name: string; hash: string },
  ): Promise<LinkRefusal | undefined> {
    const owner = this.link(link)?.token;
    if (owner !== undefined) return owner === token.name ? undefined : 'owner';
    let refusal: LinkRefusal | undefined;
    await this.#write(() => {
      const { name, hash } = token;
      const state = this.#db.get(`link/${link}`) as LinkState | undefined;
      if ((this.#db.get(`token/${name}`) as LinkToken | undefined)?.hash !== hash)
        refusal = 'token';
      else if (state?.token !== undefined && state.token !== name) refusal = 'owner';
      else if (this.#linksOf(name).length >= LINKS_PER_TOKEN_MAX) refusal = 'links';
      else
        this.#put(`link/${link}`, { position: 0, gateway, at: Date.now(), ...state, token: name });
    });
    return refusal;
  }

  /** All links of one token are another's from now on. @returns how many */
  async rebind(from: string, to: string): Promise<number> {
    let count = 0;
    await this.#write(() => {
      const links = this.#linksOf(from);
      for (const [link, state] of links) this.#put(`link/${link}`, { ...state, token: to });
      count = links.length;
    });
    return count;
  }

  /** Removes a token, and all that is kept of its links. @returns how many */
  async removeToken(name: string): Promise<number> {
    let count = 0;
    await this.#write(() => {
      const links = this.#linksOf(name);
      for (const [link] of links) this.#forgetLink(link);
      this.#put(`token/${name}`, undefined);
      count = links.length;
    });
    return count;
  }

  /** Removes all that is kept of a link. */
  removeLink(link: string): Promise<void> {
    return this.#write(() => this.#forgetLink(link));
  }

  #linksOf(token: string): [string, LinkState][] {
    const links = range(this.#db, 'link') as [string, LinkState][];
    return links.filter(([, state]) => state.token === token);
  }

  #forgetLink(link: string): void {
    this.#put(`link/${link}`, undefined);
    for (const [session] of range(this.#db, `held/${link}`)) {
      this.#put(`held/${link}/${session}`, undefined);
    }
  }

  /** Sessions of a link that are not behind its position. */
  heldOf(link: string): Map<string, HeldSession> {
    return new Map(this.#entries(`held/${link}`) as [string, HeldSession][]);
  }

  held(link: string, session: string): HeldSession | undefined {
    return this.#get<HeldSession>(`held/${link}/${session}`);
  }

  attempt(ours: string): Attempt | undefined {
    return this.#get<Attempt>(`attempt/${ours}`);
  }

  /** Our sessions that serve a link and of which nobody has said yet what they hold. */
  openAttempts(link: string): string[] {
    return this.#entries('attempt')
      .filter(([, attempt]) => (attempt as Attempt).link === link)
      .map(([ours]) => ours);
  }

  /**
   * Forgets the attempts of a process that has ended, of which its journal knew nothing: nothing of
   * them was delivered.
   * @param except those that are not settled yet
   */
  async forget(owner: string, except: ReadonlySet<string>): Promise<void> {
    const left = this.#entries('attempt').filter(
      ([ours, attempt]) => (attempt as Attempt).owner === owner && !except.has(ours),
    );
    if (left.length === 0) return;
    await this.#write(() => {
      for (const [ours] of left) this.#put(`attempt/${ours}`, undefined);
    });
  }

  parts(ours: string): Map<string, StreamPart> {
    return new Map(this.#entries(`part/${ours}`) as [string, StreamPart][]);
  }

  rests(ours: string): Map<string, Rest> {
    return new Map(this.#entries(`rest/${ours}`) as [string, Rest][]);
  }

  /** Sessions of ours begin to serve another gateway's. */
  begin(attempts: readonly (readonly [ours: string, attempt: Attempt])[]): void {
    checkSpace(this.#directory);
    this.#db.transactionSync(() => {
      for (const [ours, attempt] of attempts) this.#put(`attempt/${ours}`, attempt);
    });
  }

  /** Keeps the end of a file before it is cut off; what is kept of the same place stays. */
  keepPart(ours: string, sink: string, part: StreamPart): Promise<void> {
    const key = `part/${ours}/${sink}`;
    return this.#write(() => {
      const known = this.#db.get(key) as StreamPart | undefined;
      if (known === undefined || known.at < part.at) this.#put(key, part);
    });
  }

  /**
   * One of our sessions is over, and what is held of the other gateway's is known; nothing is kept of a
   * link that was removed.
   */
  settle(
    ours: string,
    attempt: Attempt,
    held: HeldSession,
    sinks: readonly string[],
  ): Promise<void> {
    return this.#write(() => {
      const isKnown = this.#db.get(`link/${attempt.link}`) !== undefined;
      if (isKnown) this.#put(`held/${attempt.link}/${attempt.session}`, held);
      this.#put(`attempt/${ours}`, undefined);
      for (const sink of sinks) {
        this.#put(`part/${ours}/${sink}`, undefined);
        this.#put(`rest/${ours}/${sink}`, undefined);
      }
    });
  }

  /**
   * All of a link up to a position is on disk. A position that is there already stays, if it is
   * further on: a commit may outlive the connection that asked for it. Of a link that was removed nothing
   * is written.
   * @param over sessions whose end is behind it: nothing of them comes again
   * @param rests of our sessions, by `<our session>/<sink>`: what is on disk nowhere else
   */
  commit(
    link: string,
    state: LinkState,
    over: readonly string[],
    rests: ReadonlyMap<string, Rest>,
  ): Promise<void> {
    return this.#write(() => {
      const known = this.#db.get(`link/${link}`) as LinkState | undefined;
      if (known === undefined) return;
      const position = Math.max(known.position, state.position);
      this.#put(`link/${link}`, { ...known, ...state, position });
      for (const session of over) this.#put(`held/${link}/${session}`, undefined);
      for (const [key, rest] of rests) this.#put(`rest/${key}`, rest);
    });
  }

  close(): Promise<void> {
    return this.#db.close();
  }

  /**
   * One transaction, on disk when it resolves; those of one moment are committed together.
   * @throws GatewayError D4GW_E_LINK where the disk refuses
   */
  async #write(change: () => void): Promise<void> {
    try {
      checkSpace(this.#directory);
      await this.#db.transaction(change);
    } catch (cause) {
      const text = `the links in ${this.#directory} took no change: ${messageOf(cause)}`;
      throw new GatewayError('D4GW_E_LINK', text, { cause });
    }
  }

  #put(key: string, value: unknown): void {
    if (value === undefined) void this.#db.remove(key);
    else void this.#db.put(key, value);
  }

  #get<T>(key: string): T | undefined {
    this.#db.resetReadTxn();
    return this.#db.get(key) as T | undefined;
  }

  /** Those whose key begins with `prefix/`, by what follows it. */
  #entries(prefix: string): [string, unknown][] {
    this.#db.resetReadTxn();
    return range(this.#db, prefix);
  }
}

function range(db: Environment, prefix: string): [string, unknown][] {
  // '0' follows '/'.
  const found = db.getRange({ start: `${prefix}/`, end: `${prefix}0` });
  return Array.from(found, ({ key, value }) => [key.slice(prefix.length + 1), value]);
}
