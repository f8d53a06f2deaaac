import type { KeyObject } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { RelaySinkConfig } from '../../config/schema.js';
import type { RateLimitedLog } from '../../log/rate.js';
import { systemClock } from '../../net/clock.js';
import { connect, type SecureOptions } from '../../net/connection.js';
import type { Target } from '../../net/target.js';
import type { SpoolSession } from '../../spool/session-record.js';
import type { Spool } from '../../spool/spool.js';
import { TYPE_EXTENDED } from '../../wire/types.js';
import { Books } from './books.js';
import type { Claims } from './claims.js';
import { Connections } from './connections.js';
import { startPoint } from './continuation.js';
import { Feed } from './feed.js';
import { type Identity, OwnIdentity, Pseudonym } from './identity.js';
import { Lane } from './lane.js';
import { type LogRecord, logOf, type RelayLog } from './log.js';
import { RELAY_MENDS } from './prepare.js';
import { Progress } from './progress.js';
import type { Upstream, UpstreamOptions, UpstreamStatus } from './upstream.js';

/** How often what was sent is noted and let go of. */
const COMMIT_MS = 100;
/** Of the time to stop, what streams get to be sent to their end, and connections to be ended. */
const DRAIN_SHARE = 0.4;
const END_SHARE = 0.7;
const POLL_MS = 20;
/** Part of the spool's records that is given up at once, the oldest, where it is full. */
const DROP_SHARE = 1 / 8;

export interface PlainContext {
  config: RelaySinkConfig;
  target: Exclude<Target, { kind: 'stdout' }>;
  secure: SecureOptions;
  /** Connections that this upstream may have. */
  maxConnections: number;
  claims: Claims;
  /** With `mode: resign`. */
  secrets?: { secret: Buffer; keyObject: KeyObject } | undefined;
  keyOf(sensor: string): Buffer | undefined;
  log: Logger;
  limitedLog: RateLimitedLog;
}

/**
 * Sends one spool to a plain D4 server: a connection for each session's stream.
 *
 *     spool ─▶ feed ─▶ lanes ─▶ connections ─▶ server
 *       ▲                │
 *       └── release ◀─ commit: where each stream goes on, then what nobody needs any more
 */
export class PlainUpstream implements Upstream {
  readonly #spool: Spool;
  readonly #context: PlainContext;
  readonly #log: RelayLog;
  readonly #progress: Progress;
  readonly #connections: Connections;
  readonly #books: Books;
  readonly #lanes = new Map<string, Lane>();
  /** Lanes that have a connection for their sensor and type, in this process. */
  readonly #claimed = new Map<string, Lane>();
  #feed: Feed | undefined;
  #timer: NodeJS.Timeout | undefined;
  #ticks = 0;

  /** @throws GatewayError D4GW_E_SPOOL */
  constructor({ spool, dir }: UpstreamOptions, context: PlainContext) {
    this.#spool = spool;
    this.#context = context;
    this.#log = logOf(spool);
    this.#progress = new Progress(dir);
    const { config, target, secure, maxConnections, log, limitedLog } = context;
    this.#connections = new Connections({
      target: target.name,
      maxConnections,
      idleCloseMs: config.idleCloseMs,
      connect: (events) => connect(target, secure, systemClock, events, RELAY_MENDS),
      claim: (lane) => this.#claim(lane),
      release: (lane) => this.#release(lane),
      log,
      limitedLog,
      now,
    });
    this.#books = new Books({
      spool,
      log: this.#log,
      progress: this.#progress,
      lanes: this.#lanes,
      counts: this.#connections.counts,
      logger: log,
    });
  }

  get status(): UpstreamStatus {
    const waitingSeq = this.#feed?.waitingSeq ?? this.#spool.cursor + 1;
    return {
      waitingSeq: waitingSeq <= this.#spool.lastSeq ? waitingSeq : undefined,
      away: this.#connections.away,
      connections: this.#connections.count,
      refusedStreams: this.#connections.refused,
    };
  }

  start(): void {
    const from = this.#spool.cursor + 1;
    const feed = new Feed(
      {
        log: this.#log,
        laneOf: (record) => this.#laneOf(record),
        lanes: () => this.#lanes.values(),
        passed: (block) => this.#books.passed(block),
        isReachable: () => this.#connections.isReachable,
        now,
        tick: () => ++this.#ticks,
      },
      from,
    );
    this.#feed = feed;
    this.#timer = setInterval(() => this.#books.commit(feed), COMMIT_MS);
  }

  dropOldest(): void {
    const { cursor, lastSeq } = this.#spool;
    const feed = this.#feed;
    if (!feed || feed.isDropping) return;
    const records = lastSeq - cursor;
    const from = Math.max(cursor, feed.dropThrough);
    feed.drop(Math.min(lastSeq, from + Math.max(1, Math.ceil(records * DROP_SHARE))));
    this.#context.limitedLog.error(
      'relay-spool-full',
      { target: this.#context.target.name, records },
      'the spool is full: its oldest records are given up, and counted as dropped',
    );
  }

  /** Gives what can still be sent its time, then ends all connections in order. */
  async close(deadlineMs: number): Promise<void> {
    const feed = this.#feed;
    const began = now();
    const until = async (condition: () => boolean, share: number) => {
      while (!condition() && now() - began < deadlineMs * share) await sleep(POLL_MS);
    };
    if (feed) {
      const isThrough = () => feed.headSeq > this.#spool.lastSeq && this.#lanes.size === 0;
      await until(() => isThrough() || !this.#connections.isReachable, DRAIN_SHARE);
    }
    this.#connections.close();
    await until(() => this.#connections.count === 0, END_SHARE);
    this.#connections.destroy();
    await feed?.stop();
    clearInterval(this.#timer);
    if (feed) this.#books.commit(feed);
    await this.#books.close();
    await this.#progress.close();
  }

  #laneOf(record: LogRecord): Lane | undefined {
    const { session, seq, kind } = record;
    const known = this.#lanes.get(session.id);
    if (known) return known;
    if (this.#books.isFinished(session.id, kind === 'end' ? seq : undefined)) return undefined;
    const saved = this.#progress.state(session.id);
    if (saved?.isFinished) {
      this.#books.finished(session.id, kind === 'end' ? seq : undefined);
      return undefined;
    }
    const feed = this.#feed!;
    const lane = new Lane(
      {
        session,
        identity: this.#identityOf(session),
        point: saved?.point ?? startPoint(seq),
        resendWindowBytes: this.#context.config.resendWindowBytes,
        asideSeq: saved ? this.#progress.asideSeq(session.id) : -1,
        aside: (fromSeq) => this.#progress.aside(session.id, fromSeq),
        now,
        tick: () => ++this.#ticks,
      },
      {
        changed: () => feed.changed(),
        parked: (parked) => feed.parked(parked),
        wants: (wanting) => this.#connections.request(wanting),
        opened: (opened) => this.#connections.opened(opened),
        closed: (closed, how) => this.#connections.closed(closed, how),
        finished: (done, endSeq) => this.#finished(done, endSeq),
      },
    );
    lane.pass = feed.head;
    this.#lanes.set(session.id, lane);
    return lane;
  }

  #finished(lane: Lane, endSeq: number): void {
    this.#connections.forget(lane);
    this.#books.over(lane);
    this.#books.finished(lane.session.id, endSeq);
    this.#lanes.delete(lane.session.id);
  }

  #identityOf({ sensor }: SpoolSession): Identity {
    const { secrets, keyOf } = this.#context;
    return secrets
      ? new Pseudonym(sensor, secrets.secret, secrets.keyObject)
      : new OwnIdentity(sensor, keyOf);
  }

  /** Of a sensor and type one lane has a connection, over all workers; of type 254 any number. */
  #claim(lane: Lane): boolean {
    const key = claimKey(lane.session);
    if (key === undefined) return true;
    const owner = this.#claimed.get(key);
    if (owner === lane) return true;
    if (owner || !this.#context.claims.take(key)) return false;
    this.#claimed.set(key, lane);
    return true;
  }

  #release(lane: Lane): void {
    const key = claimKey(lane.session);
    if (key === undefined || this.#claimed.get(key) !== lane) return;
    this.#claimed.delete(key);
    this.#context.claims.release(key);
  }
}

function claimKey({ sensor, type }: SpoolSession): string | undefined {
  return type === TYPE_EXTENDED ? undefined : `${sensor}/${type}`;
}

function now(): number {
  return performance.now() + 1;
}
