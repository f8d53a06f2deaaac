import type { Logger } from 'pino';
import type { RateLimitedLog } from '../../log/rate.js';
import type { Closed, Connection, ConnectionEvents } from '../../net/connection.js';
import type { Lane } from './lane.js';

/** Waits between attempts: doubled each time, with jitter, from the first to the last. */
export const RETRY_MS_MIN = 500;
export const RETRY_MS_MAX = 30_000;
/** Connections that are being made at once. */
const CONNECTING_MAX = 16;
/** A stream keeps its connection this long while others wait for theirs. */
const TURN_MS = 2_000;
/** A connection that stood this long ends what the stream had of failures. */
const STABLE_MS = 5_000;
const SWEEP_MS = 500;
/** How often a claim is asked for again that another worker has: its session there is ending. */
const CLAIM_RETRY_MS = 50;
/** After so many connections that the server ended, the operator is told the likely cause. */
const HINT_FAILURES = 3;

export interface ConnectionsOptions {
  /** For messages. */
  target: string;
  maxConnections: number;
  /** 0: idle connections stay. */
  idleCloseMs: number;
  connect(events: ConnectionEvents): Connection;
  /**
   * One connection a sensor and type, over all processes: whether this lane may have it now. It is
   * let go of by `release`.
   */
  claim(lane: Lane): boolean;
  release(lane: Lane): void;
  log: Logger;
  limitedLog: RateLimitedLog;
  now(): number;
  random?(): number;
  retryMsMin?: number;
  retryMsMax?: number;
}

/** Of connections, since the start. */
export interface ConnectionCounts {
  opened: number;
  /** Could not be made. */
  failed: number;
  /** Broke, or were ended by the server. */
  lost: number;
}

/**
 * Gives lanes their connections: at most so many, in the order in which they asked. While the server
 * can't be reached one lane alone tries, so that a server that comes back is not met by all at once.
 * A lane whose connections the server keeps ending waits longer each time, and no other does.
 */
export class Connections {
  readonly #options: ConnectionsOptions;
  readonly #waiting = new Set<Lane>();
  readonly #connected = new Set<Lane>();
  #connecting = 0;
  /** By lane: how often in a row, and when it may try again. */
  readonly #failures = new Map<Lane, { count: number; retryAt: number }>();
  /** The server could not be reached at the last attempt. */
  #outage: { since: number; attempts: number; retryAt: number; reason: string } | undefined;
  #retry: NodeJS.Timeout | undefined;
  readonly #sweep: NodeJS.Timeout;
  #isClosed = false;
  readonly counts: ConnectionCounts = { opened: 0, failed: 0, lost: 0 };

  constructor(options: ConnectionsOptions) {
    this.#options = options;
    this.#sweep = setInterval(() => this.#tick(), SWEEP_MS);
    this.#sweep.unref();
  }

  get isReachable(): boolean {
    return this.#outage === undefined;
  }

  /** Since when the server can't be reached, ms since the epoch, and why. */
  get away(): { since: number; reason: string } | undefined {
    if (!this.#outage) return undefined;
    const { since, reason } = this.#outage;
    return { since: Date.now() - (this.#options.now() - since), reason };
  }

  /** Streams whose connections the server keeps ending. */
  get refused(): number {
    let refused = 0;
    for (const { count } of this.#failures.values()) if (count >= HINT_FAILURES) refused += 1;
    return refused;
  }

  request(lane: Lane): void {
    if (this.#isClosed || lane.isConnected || this.#waiting.has(lane)) return;
    this.#waiting.add(lane);
    this.#pump();
  }

  opened(lane: Lane): void {
    this.#connecting -= 1;
    this.counts.opened += 1;
    const { log, target, now } = this.#options;
    if (this.#outage) {
      const seconds = Math.round((now() - this.#outage.since) / 1000);
      log.info({ target, seconds, attempts: this.#outage.attempts }, 'relay connected again');
      this.#outage = undefined;
    }
    lane.openedAt = now();
    this.#pump();
  }

  closed(lane: Lane, how: Closed): void {
    const wasOpen = lane.openedAt > 0;
    if (this.#connected.delete(lane) && !wasOpen) this.#connecting -= 1;
    this.#options.release(lane);
    const isClean = how.finished && how.answered === true && !how.error;
    if (isClean) this.#failures.delete(lane);
    else if (!this.#isClosed) {
      const reason = how.error?.message ?? (how.finished ? 'it did not answer our end' : 'closed');
      if (wasOpen) this.#lost(lane, reason);
      else this.#failed(reason);
    }
    lane.openedAt = 0;
    this.#pump();
  }

  /** The lane needs none any more. */
  forget(lane: Lane): void {
    this.#waiting.delete(lane);
    this.#failures.delete(lane);
  }

  /** Ends every connection in order, and makes no more. */
  close(): void {
    this.#isClosed = true;
    clearInterval(this.#sweep);
    clearTimeout(this.#retry);
    this.#waiting.clear();
    for (const lane of this.#connected) {
      if (lane.openedAt > 0) lane.yield();
      else lane.destroy();
    }
  }

  /** What has not ended in time. */
  destroy(): void {
    for (const lane of [...this.#connected]) lane.destroy();
  }

  get count(): number {
    return this.#connected.size;
  }

  #pump(): void {
    if (this.#isClosed) return;
    const now = this.#options.now();
    if (this.#outage && (this.#connecting > 0 || now < this.#outage.retryAt)) {
      if (this.#connecting === 0) this.#later(this.#outage.retryAt - now);
      return;
    }
    let next = Number.POSITIVE_INFINITY;
    for (const lane of this.#waiting) {
      if (this.#connected.size >= this.#options.maxConnections) return;
      if (this.#connecting >= (this.#outage ? 1 : CONNECTING_MAX)) return;
      const retryAt = this.#failures.get(lane)?.retryAt ?? 0;
      if (now < retryAt) {
        next = Math.min(next, retryAt);
        continue;
      }
      if (!this.#options.claim(lane)) {
        next = Math.min(next, now + CLAIM_RETRY_MS);
        continue;
      }
      this.#waiting.delete(lane);
      this.#connected.add(lane);
      this.#connecting += 1;
      lane.connect(this.#options.connect);
    }
    if (next < Number.POSITIVE_INFINITY) this.#later(next - now);
  }

  #later(ms: number): void {
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#pump(), Math.max(ms, 1));
    this.#retry.unref();
  }

  /** It could not be reached: said once an outage. */
  #failed(reason: string): void {
    const { log, target, now } = this.#options;
    this.counts.failed += 1;
    if (!this.#outage) {
      this.#outage = { since: now(), attempts: 0, retryAt: 0, reason };
      const kept = 'what is for it is kept in the spool, and it is tried until it is there';
      log.error({ target, reason }, `relay cannot connect; ${kept}`);
    }
    this.#outage.retryAt = now() + this.#delay(this.#outage.attempts);
    this.#outage.attempts += 1;
    this.#outage.reason = reason;
  }

  /** The server took the connection, and it ended out of order. */
  #lost(lane: Lane, reason: string): void {
    const { target, limitedLog, now } = this.#options;
    this.counts.lost += 1;
    const stood = now() - lane.openedAt >= STABLE_MS;
    const count = stood ? 1 : (this.#failures.get(lane)?.count ?? 0) + 1;
    this.#failures.set(lane, { count, retryAt: now() + this.#delay(count - 1) });
    const { sensor, type, id } = lane.session;
    if (count === 1) {
      const fields = { target, session: id, sensor, type, detail: reason };
      limitedLog.warn(
        'relay-lost',
        fields,
        'relay lost a connection; the stream goes on in another',
      );
    } else if (count === HINT_FAILURES) {
      const ask =
        'is this sensor registered and approved there, with the key that signs its frames?';
      const fields = { target, sensor, type, detail: reason };
      limitedLog.error('relay-refused', fields, `the server keeps ending this stream: ${ask}`);
    }
  }

  #delay(attempts: number): number {
    const { retryMsMin = RETRY_MS_MIN, retryMsMax = RETRY_MS_MAX } = this.#options;
    const ceiling = Math.min(retryMsMax, retryMsMin * 2 ** Math.min(attempts, 30));
    // Half fixed, half by chance: gateways that lost one server do not return to it in step.
    return ceiling / 2 + ((this.#options.random ?? Math.random)() * ceiling) / 2;
  }

  #tick(): void {
    const { now, idleCloseMs, maxConnections } = this.#options;
    for (const lane of this.#connected) {
      lane.checkDeadline();
      const isIdle = lane.isIdle && idleCloseMs > 0 && now() - lane.takenAt >= idleCloseMs;
      if (isIdle) lane.yield();
    }
    if (this.#waiting.size > 0 && this.#connected.size >= maxConnections) this.#takeTurns();
    this.#pump();
  }

  /** As many as wait get a turn: idle connections are given up first, then the oldest. */
  #takeTurns(): void {
    const now = this.#options.now();
    const held = [...this.#connected].filter(
      ({ openedAt, isIdle }) => openedAt > 0 && (isIdle || now - openedAt >= TURN_MS),
    );
    held.sort((a, b) => Number(b.isIdle) - Number(a.isIdle) || a.openedAt - b.openedAt);
    for (const lane of held.slice(0, this.#waiting.size)) lane.yield();
  }
}
