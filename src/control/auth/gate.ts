import type { Actor } from '../../audit/entry.js';
import type { Registry } from '../../registry/store.js';
import { allows, type Role, type TokenRecord } from '../../registry/tokens.js';
import { HttpProblem } from '../http/reply.js';
import type { Request } from '../http/request.js';
import type { Caller } from '../route.js';
import { readCookie, writeCookie } from './cookie.js';
import { isGenuine, type Session, Sessions } from './sessions.js';
import { Throttle } from './throttle.js';

/** Methods that change nothing need no proof against forgery. */
const SAFE_METHODS: readonly string[] = ['GET', 'HEAD'];

export interface GateOptions {
  /** Whether we speak TLS ourselves. */
  tls: boolean;
  /** Cookies are marked for TLS alone. */
  secure: boolean;
  /** Where the page is reached through a proxy. */
  publicOrigin: string | undefined;
  /** A request was refused for what it came with. */
  refused(reason: RefusedLogin, address: string): void;
}

export type RefusedLogin = 'no-token' | 'bad-token' | 'slowed' | 'role' | 'csrf' | 'origin';

/** Decides who may do what: tokens, sessions, roles, forgery, and how fast one may fail. */
export class Gate {
  readonly #registry: Registry;
  readonly #options: GateOptions;
  readonly #sessions: Sessions;
  readonly #throttle = new Throttle();

  constructor(registry: Registry, options: GateOptions) {
    this.#registry = registry;
    this.#options = options;
    this.#sessions = new Sessions(registry.tokens);
  }

  /**
   * Who asks, and whether it may.
   * @throws HttpProblem 401, 403 or 429
   */
  admit(request: Request, role: Role): Caller {
    const caller = request.headers.authorization
      ? this.#byHeader(request)
      : this.#byCookie(request);
    if (!allows(caller.token.role, role)) {
      this.#refuse('role', request);
      throw new HttpProblem(403, 'Access Forbidden');
    }
    return caller;
  }

  /** A session that a WebSocket is opened with: its origin is checked whatever the method. */
  admitSocket(request: Request): { token: TokenRecord; cookie: string } {
    this.checkOrigin(request, true);
    const cookie = readCookie(request.headers.cookie, this.#options.secure);
    const found = cookie === undefined ? undefined : this.#sessions.find(cookie);
    if (!found) throw this.#unauthorized('no-token', request, 'Authentication needed');
    return { token: found.token, cookie: cookie! };
  }

  /** Whether the session that a WebSocket was opened with still holds. */
  stillHolds(cookie: string): boolean {
    return this.#sessions.find(cookie, { touch: false }) !== undefined;
  }

  /**
   * Opens a session for who knows a token.
   * @throws HttpProblem 401, 429, or 403 for a login from another site's page
   */
  login(request: Request, text: string): { session: Session; token: TokenRecord; cookie: string } {
    this.checkOrigin(request, false);
    const token = this.#registry.tokens.find(text);
    if (!token) throw this.#wrong(request);
    this.#throttle.succeeded(request.address);
    const { session, value } = this.#sessions.open(token);
    const seconds = Math.floor((session.expiresAt - Date.now()) / 1000);
    return { session, token, cookie: writeCookie(value, this.#options.secure, seconds) };
  }

  /** Ends the session of a request. @returns the header that takes its cookie away */
  logout(request: Request): string {
    const value = readCookie(request.headers.cookie, this.#options.secure);
    if (value !== undefined) this.#sessions.close(value);
    return writeCookie('', this.#options.secure, 0);
  }

  /**
   * A page of another site may send requests, but not with our origin.
   * @param isNeeded whether a request without an origin, which no page sends, is refused too
   * @throws HttpProblem 403
   */
  checkOrigin(request: Request, isNeeded: boolean): void {
    const { origin, host } = request.headers;
    if (origin === '' && !isNeeded) return;
    const { tls, publicOrigin } = this.#options;
    if (origin === originOf(host, tls) || origin === publicOrigin) return;
    this.#refuse('origin', request);
    throw new HttpProblem(403, 'Request from another origin');
  }

  #byHeader(request: Request): Caller {
    // The reference server takes the bare token; `Bearer` is what everybody else sends.
    const text = request.headers.authorization.replace(/^Bearer +/i, '').trim();
    const token = this.#registry.tokens.find(text);
    if (!token) throw this.#wrong(request);
    return { token, actor: actorOf(token, request.address), session: undefined };
  }

  /**
   * A wrong token. One that is right is never slowed: behind a proxy all have one address, and with 256
   * bits nobody guesses one, however often he may try.
   */
  #wrong(request: Request): HttpProblem {
    const waitMs = this.#throttle.waitMs(request.address);
    if (waitMs > 0) return this.#slowed(request, waitMs);
    this.#throttle.failed(request.address);
    return this.#unauthorized('bad-token', request, 'Authentication failed');
  }

  #byCookie(request: Request): Caller {
    const value = readCookie(request.headers.cookie, this.#options.secure);
    const found = value === undefined ? undefined : this.#sessions.find(value);
    if (!found) throw this.#unauthorized('no-token', request, 'Authentication needed');
    const { session, token } = found;
    if (!SAFE_METHODS.includes(request.method)) {
      this.checkOrigin(request, false);
      if (!isGenuine(session, request.headers['x-csrf-token'])) {
        this.#refuse('csrf', request);
        throw new HttpProblem(403, 'Missing or wrong X-CSRF-Token');
      }
    }
    return { token, actor: actorOf(token, request.address), session };
  }

  #slowed(request: Request, waitMs: number): HttpProblem {
    this.#refuse('slowed', request);
    const seconds = Math.ceil(waitMs / 1000);
    return new HttpProblem(429, `Too many failures from this address: wait ${seconds} s`, {
      headers: { 'retry-after': `${seconds}` },
    });
  }

  #unauthorized(why: RefusedLogin, request: Request, reason: string): HttpProblem {
    this.#refuse(why, request);
    return new HttpProblem(401, reason, { headers: { 'www-authenticate': 'Bearer' } });
  }

  #refuse(reason: RefusedLogin, request: Request): void {
    this.#options.refused(reason, request.address);
  }
}

/** Who holds a token, for the audit trail. */
export function actorOf(token: TokenRecord, address: string): Actor {
  const { name, role } = token;
  return { kind: 'token', name, role, from: address };
}

function originOf(host: string, tls: boolean): string {
  return `${tls ? 'https' : 'http'}://${host}`;
}
