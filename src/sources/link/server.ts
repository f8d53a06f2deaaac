import { createHash, timingSafeEqual } from 'node:crypto';
import type { Logger } from 'pino';
import { messageOf } from '../../errors.js';
import type { LinkMark } from '../../link/keeper.js';
import type { Hello } from '../../link/messages.js';
import { LinkReceiver } from '../../link/receiver.js';
import { SESSIONS_MAX } from '../../link/sessions.js';
import { LINKS_PER_TOKEN_MAX, type LinkRefusal, type LinkStore } from '../../link/store.js';
import { Reject } from '../../wire/reject.js';
import type { Origin } from '../connection.js';
import type { UpgradeRequest } from '../websocket/upgrade.js';
import { LinkSocket } from './connection.js';
import { type FeedIntake, SessionFeed } from './feed.js';

const BEARER = /^Bearer ([A-Za-z0-9_-]{16,256})$/i;
/** How often it is looked whether a link's token still holds, and whether a HELLO is due. */
const SWEEP_MS = 1_000;
/** After so many the peer is told that we are there. */
const BEAT_SWEEPS = 5;
const MARK_RETRY_MS = 5;

export interface LinkIntake extends FeedIntake {
  /** Tells the sink side something, behind all that was given so far; false: try again. */
  mark(text: Buffer): boolean;
}

export interface LinkServerEvents {
  /** Asks the primary for a link: answered by `granted`. */
  claim(link: string, claim: number): void;
  /** The link is not ours any more. */
  free(link: string, claim: number): void;
}

const REFUSALS: Readonly<Record<LinkRefusal, string>> = {
  token: 'its token was removed',
  owner: 'it belongs to another token; d4gw link rebind, at the receiver, gives it to this one',
  links: `its token has ${LINKS_PER_TOKEN_MAX} links, and may have no more; d4gw link remove forgets old ones`,
};

interface Connection {
  readonly id: number;
  readonly origin: Origin;
  readonly socket: LinkSocket;
  readonly receiver: LinkReceiver;
  readonly token: { name: string; hash: string };
  readonly openedAt: number;
  /** Its link was granted to it. */
  isHolder: boolean;
  /** What it fed that is not over. */
  readonly feeds: Set<SessionFeed>;
  /** Of them, those whose end is before the commit that is under way. */
  settling: SessionFeed[];
}

/**
 * The receiving end of gateway links in one worker: takes WebSockets of gateways that have a token,
 * and feeds what they bring into the worker's intake. The primary sees to it that a link is served
 * by one connection at a time, over all workers: the next gets it when all that the last one brought
 * is settled.
 */
export class LinkServer {
  readonly #store: LinkStore;
  readonly #intake: LinkIntake;
  readonly #gateway: string;
  readonly #helloTimeoutMs: number;
  readonly #log: Logger;
  readonly #events: LinkServerEvents;
  readonly #connections = new Map<number, Connection>();
  readonly #timer: NodeJS.Timeout;
  #next = 1;
  #sweeps = 0;
  #isStopping = false;

  constructor(
    store: LinkStore,
    intake: LinkIntake,
    gateway: string,
    helloTimeoutMs: number,
    log: Logger,
    events: LinkServerEvents,
  ) {
    this.#store = store;
    this.#intake = intake;
    this.#gateway = gateway;
    this.#helloTimeoutMs = helloTimeoutMs;
    this.#log = log;
    this.#events = events;
    this.#timer = setInterval(() => this.#sweep(), SWEEP_MS);
  }

  /** Takes a gateway's request for a link, or refuses it. */
  take(request: UpgradeRequest): void {
    const token = this.#tokenOf(request.authorization);
    if (!token) {
      const detail = request.authorization === undefined ? 'no link token' : 'no such link token';
      request.refuse(401, Reject.LINK_REFUSED, detail);
      return;
    }
    if (this.#isStopping) {
      request.refuse(503, Reject.LINK_REFUSED, 'the gateway is stopping');
      return;
    }
    request.accept();
    const id = this.#next;
    this.#next += 1;
    const { origin } = request;
    const feeds = new Set<SessionFeed>();
    const receiver = new LinkReceiver(
      {
        send: (message) => socket.send(message),
        close: () => socket.close(),
        claim: (hello) => this.#claim(connection, hello),
        open: (start) => {
          const { link, gateway } = receiver.hello!;
          const feed = SessionFeed.open(this.#intake, origin, { link, gateway }, start);
          if (feed) feeds.add(feed);
          return feed;
        },
        commit: (position, over) => this.#commit(connection, position, over),
        changed: () => socket.settle(),
        after: (ms, run) => {
          const timer = setTimeout(run, ms);
          return () => clearTimeout(timer);
        },
        now: () => performance.now(),
      },
      this.#gateway,
    );
    const socket = new LinkSocket(request.socket, receiver, (detail) =>
      this.#closed(connection, detail),
    );
    const connection: Connection = {
      id,
      origin,
      socket,
      receiver,
      token,
      openedAt: Date.now(),
      isHolder: false,
      feeds,
      settling: [],
    };
    this.#connections.set(id, connection);
    if (request.head.length > 0) socket.feed(request.head);
  }

  /** The primary has given a link to one of our connections. */
  granted(link: string, claim: number): void {
    const connection = this.#connections.get(claim);
    if (!connection) {
      this.#events.free(link, claim);
      return;
    }
    connection.isHolder = true;
    const { receiver, origin, token } = connection;
    const { gateway } = receiver.hello!;
    const unsettled = this.#store.openAttempts(link);
    if (unsettled.length > 0) {
      const detail = `${unsettled.length} sessions of an earlier run are not settled yet`;
      this.#log.error(
        { link, gateway, sessions: unsettled.slice(0, 5) },
        `link held up: ${detail}`,
      );
      receiver.fail('busy', detail);
      return;
    }
    const held = this.#store.heldOf(link);
    if (held.size > SESSIONS_MAX) {
      const detail = `of ${held.size} of its sessions the end never came; d4gw link remove forgets it`;
      this.#log.error({ link, gateway }, `link refused: ${detail}`);
      receiver.fail('links', detail);
      return;
    }
    const position = this.#store.link(link)?.position ?? 0;
    const fields = { link, gateway, token: token.name, address: origin.address, position };
    this.#log.info(fields, 'link opened');
    receiver.granted({ position, held });
  }

  /** Another connection wants the link. */
  release(claim: number): void {
    const connection = this.#connections.get(claim);
    connection?.receiver.fail('busy', 'the link was opened anew');
    if (connection) this.#closed(connection, 'the link was opened anew');
  }

  committed(link: string, position: number): void {
    for (const connection of this.#connections.values()) {
      const { isHolder, receiver, feeds } = connection;
      if (!isHolder || receiver.hello?.link !== link) continue;
      for (const feed of connection.settling) feeds.delete(feed);
      receiver.sessions.settled(connection.settling.map(({ session }) => session));
      connection.settling = [];
      receiver.committed(position);
    }
  }

  /** A session of ours was rejected, which had ended already. */
  rejected(ref: { slot: number; generation: number; code: number; detail: string }): void {
    for (const { receiver, feeds } of this.#connections.values()) {
      for (const feed of feeds) {
        if (feed.isAt(ref)) receiver.sessions.rejectedLate(feed.session, ref.code, ref.detail);
      }
    }
  }

  /** All that a connection brought is settled. */
  released(link: string, claim: number): void {
    this.#events.free(link, claim);
  }

  /** Ends all links: their sessions go on when the gateway runs again. */
  stop(): void {
    this.#isStopping = true;
    clearInterval(this.#timer);
    for (const connection of [...this.#connections.values()]) {
      connection.receiver.fail('stopping', 'the gateway is stopping');
      this.#closed(connection, 'the gateway is stopping');
    }
  }

  /** Whoever may not have the link is refused before the connection that has it is ended. */
  #claim(connection: Connection, { link, gateway }: Hello): void {
    const { id, token, receiver, origin } = connection;
    const fields = { link, gateway, token: token.name, address: origin.address };
    const taken = (refusal: LinkRefusal | undefined) => {
      if (!this.#connections.has(id)) return;
      if (refusal === undefined) {
        this.#events.claim(link, id);
        return;
      }
      const detail = REFUSALS[refusal];
      this.#log.error(fields, `link refused: ${detail}`);
      receiver.fail(refusal, detail);
    };
    const failed = (error: unknown) => {
      this.#log.error({ ...fields, error: messageOf(error) }, 'link held up: it cannot be noted');
      receiver.fail('busy', 'the link cannot be noted');
    };
    void this.#store.bind(link, gateway, token).then(taken, failed);
  }

  #commit(connection: Connection, position: number, over: readonly string[]): boolean {
    const { link, gateway } = connection.receiver.hello!;
    if (!this.#mark({ t: 'commit', link, gateway, position, over: [...over] })) return false;
    connection.settling = [...connection.feeds].filter(({ isOver }) => isOver);
    return true;
  }

  #mark(mark: LinkMark): boolean {
    return this.#intake.mark(Buffer.from(JSON.stringify(mark)));
  }

  #closed(connection: Connection, detail: string): void {
    const { id, receiver, isHolder, origin } = connection;
    if (!this.#connections.delete(id)) return;
    receiver.closed();
    receiver.sessions.interrupt();
    const { hello, stats } = receiver;
    if (!hello) return;
    const { link, gateway } = hello;
    const { drained } = receiver.sessions;
    this.#log.info(
      { link, gateway, address: origin.address, detail, ...stats, drained },
      'link closed',
    );
    if (isHolder) this.#settle(connection, link);
    else this.#events.free(link, id);
  }

  /** Once the end of each of its sessions is in the ring, the sink side is asked to settle them. */
  #settle(connection: Connection, link: string): void {
    const isDone = [...connection.feeds].every(({ isClear }) => isClear);
    if (isDone && this.#mark({ t: 'release', link, claim: connection.id })) return;
    setTimeout(() => this.#settle(connection, link), MARK_RETRY_MS);
  }

  #sweep(): void {
    this.#sweeps += 1;
    for (const connection of [...this.#connections.values()]) {
      const { receiver, token, openedAt } = connection;
      if (this.#sweeps % BEAT_SWEEPS === 0) receiver.beat();
      if (!receiver.hello && Date.now() - openedAt > this.#helloTimeoutMs) {
        receiver.fail('protocol', `no HELLO within ${this.#helloTimeoutMs} ms`);
        this.#closed(connection, 'no HELLO came');
      } else if (this.#store.token(token.name)?.hash !== token.hash) {
        receiver.fail('token', 'its token was removed');
        this.#closed(connection, 'its token was removed');
      }
    }
  }

  /** Whose token it is; compared in constant time, with the hashes that alone are kept. */
  #tokenOf(authorization: string | undefined): { name: string; hash: string } | undefined {
    const given = BEARER.exec(authorization ?? '')?.[1];
    if (given === undefined) return undefined;
    const hash = createHash('sha256').update(given).digest();
    try {
      return this.#store
        .tokens()
        .find((token) => timingSafeEqual(Buffer.from(token.hash, 'hex'), hash));
    } catch (error) {
      this.#log.error({ error: messageOf(error) }, 'the link tokens cannot be read');
      return undefined;
    }
  }
}
