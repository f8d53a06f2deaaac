import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { messageOf } from '../errors.js';
import { bootId, startTicks } from '../ledger/process.js';
import type { SessionTotals } from '../ledger/totals.js';
import type { Skip } from '../route/resumed.js';
import type { Rest, SinkResume } from '../sinks/sink.js';
import { heldAfter, skipOf } from './held.js';
import { type Attempt, type HeldSession, type LinkStore, ownerOf } from './store.js';

/** What the disk refuses is tried again after so long. */
const RETRY_MS = 1_000;

/** What the link brings beside the frames, in the OPEN event of one of our sessions. */
export interface LinkOpen extends Omit<Attempt, 'owner'> {
  /** Id of the gateway that sends it. */
  gateway: string;
  /** When the session was opened at its sensor's gateway, ms since the epoch. */
  openedAt: number;
  origin?: string;
  hops: string[];
  tags?: string[];
  /** Of a session of type 254 whose meta header came before: its frames, base64. */
  meta?: string;
}

/** Asked for through the ring, behind all that came before. */
export type LinkMark =
  | { t: 'commit'; link: string; gateway: string; position: number; over: string[] }
  | { t: 'release'; link: string; claim: number };

/** A session of ours that serves a link, as the keeper sees it. */
export interface Linked {
  readonly id: string;
  readonly link: LinkService | undefined;
  readonly fanout: { sync(): Promise<ReadonlyMap<string, Rest>> } | undefined;
}

/** What one of our sessions does for a link. */
export interface LinkService {
  readonly attempt: Attempt;
  readonly open: LinkOpen;
  readonly before: HeldSession | undefined;
  /** By sink name. */
  readonly skips: ReadonlyMap<string, Skip>;
  readonly resume: ReadonlyMap<string, SinkResume>;
}

interface Link {
  /** Took frames since the last commit. */
  touched: Set<Linked>;
  /** Ended, and not settled yet. */
  closing: Set<Promise<void>>;
  /** The other gateway's sessions whose END was taken since the last commit. */
  over: string[];
  /** Of a commit that was refused. */
  retry: NodeJS.Timeout | undefined;
}

export interface KeeperEvents {
  committed(link: string, position: number): void;
  released(link: string, claim: number): void;
}

/**
 * The sink thread's part in gateway links: what is held of the sessions that they bring, and when
 * that is on disk. One commit for all sessions of a link that took something since the last:
 *
 *     sync every sink's stream ─▶ journal ─▶ position, in LMDB ─▶ acknowledge
 */
export class LinkKeeper {
  readonly #store: LinkStore;
  /** By slot; '' where there is none. */
  readonly #sinks: readonly string[];
  readonly #forceJournal: () => boolean | Promise<boolean>;
  readonly #log: Logger;
  readonly #events: KeeperEvents;
  readonly #links = new Map<string, Link>();
  readonly #owner: string;
  /** What `begin` was told and is not on disk, by our session. */
  readonly #beginning = new Map<string, Attempt>();
  /** What they held was written, or is about to be. */
  readonly #settled = new WeakSet<Linked>();
  #isRefused = false;
  #isClosed = false;

  constructor(
    store: LinkStore,
    sinks: readonly string[],
    forceJournal: () => boolean | Promise<boolean>,
    log: Logger,
    events: KeeperEvents,
  ) {
    this.#store = store;
    this.#sinks = sinks;
    this.#forceJournal = forceJournal;
    this.#log = log;
    this.#events = events;
    const { pid } = process;
    this.#owner = ownerOf({ pid, startTicks: startTicks(pid) ?? '', bootId: bootId() });
  }

  /** One of our sessions begins to serve a link; on disk only after `begun`. */
  begin(ours: string, open: LinkOpen): LinkService {
    const { link, session, base, counted } = open;
    const attempt = { link, session, base, counted, owner: this.#owner };
    this.#beginning.set(ours, attempt);
    const before = this.#store.held(link, session);
    const skips = new Map<string, Skip>();
    const resume = new Map<string, SinkResume>();
    for (const sink of this.#sinks.filter((name) => name !== '')) {
      const held = before?.sinks[sink];
      const skip = skipOf(held, attempt);
      skips.set(sink, skip);
      resume.set(sink, {
        part: held?.part,
        continues: base.frames > 0 || skip.frames > 0,
        before: { frames: skip.frames, bytes: skip.bytes - skip.counted },
        keep: (part) => this.#store.keepPart(ours, sink, part),
      });
    }
    return { attempt, open, before, skips, resume };
  }

  /**
   * Puts on disk what `begin` was told, before any of it is delivered. Where the disk refuses, it is
   * tried again, and nothing is acknowledged before.
   */
  begun(): void {
    try {
      this.#note();
    } catch (error) {
      this.#refused(error);
    }
  }

  #note(): void {
    if (this.#beginning.size === 0) return;
    this.#store.begin([...this.#beginning]);
    this.#beginning.clear();
  }

  /** A session took frames. */
  touched(session: Linked): void {
    this.#link(session.link!.attempt.link).touched.add(session);
  }

  /**
   * A session has ended.
   * @param settled resolves once it is settled
   * @param isOver its END came, or it was rejected: nothing more of it is taken
   */
  closing(session: Linked, settled: Promise<void>, isOver: boolean): void {
    const { attempt } = session.link!;
    const link = this.#link(attempt.link);
    link.touched.delete(session);
    link.closing.add(settled);
    if (isOver) link.over.push(attempt.session);
    void settled.finally(() => link.closing.delete(settled));
  }

  /**
   * Keeps what is held of a session that has ended, before its totals are the ledger's.
   * @param over how it ended, where nothing more of it is taken
   * @throws Error where the gateway stops while the disk refuses: the next start finds it out
   */
  async settle(session: Linked, totals: SessionTotals, over: string | undefined): Promise<void> {
    const { attempt, before } = session.link!;
    const parts = over === undefined ? this.#store.parts(session.id) : new Map();
    const held = heldAfter({ totals, attempt, before, parts, over });
    this.#settled.add(session);
    for (;;) {
      const isUnnoted = this.#beginning.delete(session.id);
      try {
        await this.#store.settle(session.id, attempt, held, this.#sinks);
        this.#isRefused = false;
        return;
      } catch (error) {
        if (isUnnoted) this.#beginning.set(session.id, attempt);
        if (!this.#isClosed) this.#refused(error);
        if (!this.#isClosed) await sleep(RETRY_MS);
        if (this.#isClosed) throw error;
      }
    }
  }

  /** The gateway stops: what is refused now is not tried again, and comes again. */
  close(): void {
    this.#isClosed = true;
    for (const { retry } of this.#links.values()) clearTimeout(retry);
  }

  mark(mark: LinkMark): void {
    const { closing, retry } = this.#link(mark.link);
    if (mark.t === 'commit') void this.#commit(mark);
    else {
      clearTimeout(retry);
      this.#links.delete(mark.link);
      void Promise.all(closing).then(() => this.#events.released(mark.link, mark.claim));
    }
  }

  async #commit(mark: Extract<LinkMark, { t: 'commit' }>): Promise<void> {
    const { link: id, gateway, position } = mark;
    const link = this.#link(id);
    const touched = [...link.touched];
    const closing = [...link.closing];
    const over = [...mark.over, ...link.over.splice(0)];
    link.touched.clear();
    try {
      const syncs = touched.map(async (session) => ({
        session,
        found: await session.fanout?.sync(),
      }));
      const [synced] = await Promise.all([Promise.all(syncs), ...closing]);
      if (!(await this.#forceJournal())) throw new Error('the journal cannot be written');
      this.#note();
      const rests = new Map<string, Rest>();
      for (const { session, found } of synced) {
        if (this.#settled.has(session)) continue;
        for (const [sink, rest] of found ?? []) rests.set(`${session.id}/${sink}`, rest);
      }
      await this.#store.commit(id, { position, gateway, at: Date.now() }, over, rests);
      this.#isRefused = false;
      this.#events.committed(id, position);
    } catch (error) {
      // Nothing is acknowledged, and its receiver asks for no other commit before this one is done.
      for (const session of touched) if (!this.#settled.has(session)) link.touched.add(session);
      link.over.push(...over);
      if (this.#isClosed || this.#links.get(id) !== link) return;
      this.#refused(error);
      link.retry = setTimeout(() => void this.#commit({ ...mark, over: [] }), RETRY_MS);
    }
  }

  /** Said once an outage. */
  #refused(error: unknown): void {
    if (this.#isRefused) return;
    this.#isRefused = true;
    const text = 'what links bring cannot be noted, and is not acknowledged: tried again';
    this.#log.error({ error: messageOf(error) }, text);
  }

  #link(id: string): Link {
    let link = this.#links.get(id);
    if (!link) {
      link = { touched: new Set(), closing: new Set(), over: [], retry: undefined };
      this.#links.set(id, link);
    }
    return link;
  }
}
