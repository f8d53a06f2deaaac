import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { isLink } from '../../config/relay-checks.js';
import type { RelaySinkConfig, SinkConfig } from '../../config/schema.js';
import { add, rest } from '../../ledger/amounts.js';
import type { Amount } from '../../ledger/totals.js';
import { inFlightOf, type StreamAmounts } from '../../spool/account.js';
import { Spool } from '../../spool/spool.js';
import { isSpaceLow } from '../../storage/disk-space.js';
import { HEADER_BYTES, HMAC_BYTES, OFFSET_HMAC } from '../../wire/layout.js';
import { End, endName } from '../../wire/reject.js';
import type {
  FrameRef,
  MetaHeader,
  SessionEnd,
  Sink,
  SinkHost,
  SinkSession,
  SinkStatus,
  SinkStream,
} from '../sink.js';
import { Claims } from './claims.js';
import { type FilterReason, filterReason } from './filter.js';
import { pseudonymOf } from './identity.js';
import { spoolRoot } from './prepare.js';
import type { MakeUpstream, Upstream } from './upstream.js';

/** Of the time to stop, what the spool gets to be written once nothing is sent any more. */
const SPOOL_SHARE = 0.3;
const CLOSE_DEADLINE_MS = 8_000;
/** What an upstream gets to end its connections in order, where another takes over. */
const CHANGE_DEADLINE_MS = 3_000;
const SPOOL_NAME = /^\d+$/;
/** An upstream that can't be reached for so long is away. */
const AWAY_MS = 2_000;
/** How often the disk's free space is looked at. */
const SPACE_MS = 1_000;
/** How often more is given up while there is no room, and how full the spool has to be for it. */
const DROP_MS = 50;
const OVERFULL_SHARE = 7 / 8;
/** What is noted of a pseudonym: whoever brings it, it is ours. */
const PSEUDONYM = { session: 'pseudonym', address: '' };
/** Ends that a sensor itself brings about. */
const ORDERLY: readonly string[] = [endName(End.CLOSED), endName(End.RESET)];
/** Bytes of an HMAC by which a frame is known again. */
const MARK_BYTES = 16;

export interface RelaySinkOptions {
  name: string;
  config: RelaySinkConfig;
  host: SinkHost;
  /**
   * What sends under a configuration.
   * @throws GatewayError where a file that it names can't be used
   */
  sendingOf(config: RelaySinkConfig): RelaySending;
}

export interface RelaySending {
  /** Who sends: chosen by the scheme of `to`. */
  upstream(claims: Claims): MakeUpstream;
  /** With `mode: resign`: pseudonyms follow from it. */
  secret: Buffer | undefined;
}

interface Part {
  readonly spool: Spool;
  readonly dir: string;
  upstream: Upstream;
}

/**
 * Takes frames into a spool of its own, and lets an upstream send what is in it. What is in the
 * spool counts as delivered: from there on the spool's own account tells of it.
 */
export class RelaySink implements Sink {
  readonly kind = 'relay';
  readonly name: string;
  readonly #options: RelaySinkOptions;
  #config: RelaySinkConfig;
  #sending: RelaySending;
  readonly #host: SinkHost;
  readonly #sessions = new Map<string, SinkSession>();
  /** Meta headers that were counted before, of sessions of which nothing is in custody yet. */
  readonly #counted = new Map<string, MetaHeader>();
  /** By which the streams of open sessions are known again if they come back. */
  readonly #marks = new Map<string, string>();
  #claims!: Claims;
  /** This worker's own, and those left by workers that are no more. */
  #own!: Part;
  readonly #parts: Part[] = [];
  /** The accounts outlive the worker: what they told when it began. */
  #droppedBefore: Record<string, Amount> = {};
  #isStarted = false;
  /** The data path was asked for no more. */
  #isPaused = false;
  #stopPausing = () => {};
  #isSpaceLow = false;
  #spaceTimer: NodeJS.Timeout | undefined;
  /** Another upstream takes over from the one before. */
  #changing: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  /** @throws GatewayError D4GW_E_SINK or D4GW_E_CERTIFICATE */
  constructor(options: RelaySinkOptions) {
    this.name = options.name;
    this.#options = options;
    this.#config = options.config;
    this.#sending = options.sendingOf(options.config);
    this.#host = options.host;
  }

  /**
   * Opens the spools and begins to send what they hold.
   * @throws GatewayError D4GW_E_SPOOL
   */
  async start(): Promise<void> {
    const { worker, workers, dataDir } = this.#host.place;
    const root = spoolRoot(dataDir, this.name, this.#config);
    const own = join(root, String(worker));
    this.#own = await this.#open(own);
    for (const index of await otherSpools(root, worker, workers)) {
      await this.#open(join(root, index));
    }
    this.#droppedBefore = this.#dropped();
    for (const { upstream } of this.#parts) upstream.start();
    this.#spaceTimer = setInterval(() => this.#watchSpace(own), SPACE_MS);
    this.#watchSpace(own);
    this.#isStarted = true;
  }

  /**
   * What is sent from now on is sent under the new configuration; what was under way is sent again
   * from where the old one had come to. Its spools stay where they are.
   * @throws GatewayError where a file that it names can't be used: the old one stays
   */
  async reconfigure(next: SinkConfig): Promise<void> {
    const config = next as RelaySinkConfig;
    if (isDeepStrictEqual(config, this.#config)) return;
    this.#sending = this.#options.sendingOf(config);
    this.#config = config;
    for (const { spool } of this.#parts) spool.limit(this.#bounds);
    this.#changing = (this.#changing ?? Promise.resolve()).then(() => this.#change());
    await this.#changing;
  }

  async #change(): Promise<void> {
    if (this.#closing !== undefined) return;
    const change = async (part: Part) => {
      await part.upstream.close(CHANGE_DEADLINE_MS);
      if (this.#closing !== undefined) return;
      const { spool, dir } = part;
      part.upstream = this.#sending.upstream(this.#claims)({ spool, dir });
      part.upstream.start();
    };
    await Promise.all(this.#parts.map(change));
  }

  /**
   * `failing` where its spool takes nothing, or where the upstream is away: then it keeps what it
   * takes, as long as there is room.
   */
  status(): SinkStatus {
    if (this.#parts.length === 0) return { state: 'ok' };
    const { away, lagSeconds, ...sending } = this.#sendingStatus();
    const waiting = { frames: 0, bytes: 0 };
    let bytes = 0;
    for (const { spool } of this.#parts) {
      const { diskBytes, unwrittenBytes } = spool.usage;
      bytes += diskBytes + unwrittenBytes;
      add(waiting, inFlightOf(spool.account.totals));
    }
    const { isFailing, lastError } = this.#own.spool;
    return {
      state: isFailing || away ? 'failing' : 'ok',
      isKeeping: !isFailing && !this.#isSpaceLow,
      lastError: isFailing || !away ? lastError : away,
      lagSeconds,
      spool: { bytes, maxBytes: this.#maxBytes * this.#parts.length },
      dropped: sinceThen(this.#dropped(), this.#droppedBefore),
      figures: { waitingFrames: waiting.frames, waitingBytes: waiting.bytes, ...sending },
    };
  }

  /** Of all its spools: this worker's, and those left by others. */
  #sendingStatus() {
    let lagSeconds = 0;
    let connections = 0;
    let refusedStreams = 0;
    let away: { text: string; at: number } | undefined;
    for (const { spool, upstream } of this.#parts) {
      const { status } = upstream;
      if (status.waitingSeq !== undefined) {
        lagSeconds = Math.max(lagSeconds, spool.ageOf(status.waitingSeq));
      }
      connections += status.connections;
      refusedStreams += status.refusedStreams;
      const since = status.away?.since ?? Number.POSITIVE_INFINITY;
      // A server that is started again is no matter.
      if (Date.now() - since < AWAY_MS) continue;
      away = { text: `${this.#config.to}: ${status.away!.reason}`, at: since };
    }
    return { lagSeconds, connections, refusedStreams, away };
  }

  /** By reason, in all spools, ever. */
  #dropped(): Record<string, Amount> {
    const dropped: Record<string, Amount> = {};
    for (const { spool } of this.#parts) {
      addDropped(dropped, spool.account.totals);
    }
    return dropped;
  }

  /**
   * Whether a stream may leave; asked once, with its first frame where there is one. Before the start,
   * of which the spools may have no part, it goes by the filters alone.
   */
  declines(session: SinkSession, frame?: FrameRef): string | undefined {
    const config = this.#config;
    // The receiving end of a link finds loops by their hops.
    const filtered = filterReason(session, config);
    const isLoopFree = !this.#isStarted || isLink(config.to);
    const reason = filtered ?? (isLoopFree ? undefined : this.#loopReason(session, frame));
    if (reason === undefined) return undefined;
    const { sensor, type } = session;
    if (this.#isStarted) this.#own.spool.count(session, `filtered/${reason}`, 1, 0);
    this.#host.log.info({ session: session.id, sensor, type, reason }, 'a stream is not relayed');
    return reason;
  }

  open(session: SinkSession): SinkStream {
    const { spool } = this.#own;
    const host = this.#host;
    const { id, sensor, type, meta, openedAt } = session;
    this.#sessions.set(id, session);
    const { gateway } = host.place;
    const spooled = {
      id,
      sensor,
      type,
      openedAt,
      origin: session.origin ?? gateway,
      hops: [...(session.hops ?? []), gateway],
      ...(meta ? { meta } : {}),
      ...(session.tags ? { tags: session.tags } : {}),
    };
    // The session that it goes on from counted its meta header.
    if (meta && session.resume?.get(this.name)?.continues) this.#counted.set(id, meta);
    const ref = spool.openSession(spooled);
    return {
      write: (frame: FrameRef) => {
        const memory = frame.memory ?? host.memory;
        spool.append(ref, memory, frame.header, HEADER_BYTES + frame.size);
        return !(spool.isFull || this.#isSpaceLow) || this.#pause();
      },
      sync: async () => {
        await spool.sync();
        return undefined;
      },
      end: async (how: SessionEnd = { code: 'closed', detail: '' }) => {
        const mark = this.#marks.get(id);
        this.#marks.delete(id);
        if (mark !== undefined && ORDERLY.includes(how.code)) this.#claims.ended(mark, id);
        await spool.held(spool.endSession(ref, how.code, how.detail));
        this.#sessions.delete(id);
        this.#counted.delete(id);
      },
    };
  }

  #custody(id: string, frames: number, bytes: number): void {
    const session = this.#sessions.get(id);
    if (!session) return;
    const meta = this.#counted.get(id);
    this.#counted.delete(id);
    const known = meta
      ? { frames: meta.frames, bytes: meta.bytes.length }
      : { frames: 0, bytes: 0 };
    this.#host.delivered(session, frames - known.frames, bytes - known.bytes);
  }

  close(deadlineMs = CLOSE_DEADLINE_MS): Promise<void> {
    this.#closing ??= this.#close(deadlineMs);
    return this.#closing;
  }

  async #close(deadlineMs: number): Promise<void> {
    const began = performance.now();
    this.#stopPausing();
    clearInterval(this.#spaceTimer);
    // In custody first: whatever becomes of the upstream, the sessions are accounted for.
    // Where its start failed there may be none.
    const own: Part | undefined = this.#own;
    const claims: Claims | undefined = this.#claims;
    const flushed = own?.spool.flush().catch(() => {});
    const sending = deadlineMs * (1 - SPOOL_SHARE);
    await this.#changing;
    await Promise.all(this.#parts.map(({ upstream }) => upstream.close(sending)));
    const left = Math.max(deadlineMs - (performance.now() - began), deadlineMs * SPOOL_SHARE);
    await Promise.all(this.#parts.map(({ spool }) => spool.close(left)));
    await flushed;
    await claims?.close();
  }

  async #open(dir: string): Promise<Part> {
    const spool = await Spool.open({
      dir,
      ...this.#bounds,
      // What a link has sent and not written may come again by another link, and would be sent twice.
      persist: isLink(this.#config.to) ? 'always' : 'behind',
      compress: 'none',
      log: this.#host.log,
      custody: ({ id }, frames, bytes) => this.#custody(id, frames, bytes),
    });
    try {
      this.#claims ??= new Claims(join(dir, '..', 'claims'));
      const upstream = this.#sending.upstream(this.#claims)({ spool, dir });
      const part = { spool, dir, upstream };
      this.#parts.push(part);
      return part;
    } catch (error) {
      await spool.close();
      throw error;
    }
  }

  /** Asks for no more until there is room; with `drop-oldest` room is made. */
  #pause(): false {
    if (this.#isPaused) return false;
    this.#isPaused = true;
    const { spool } = this.#own;
    const makeRoom = () => {
      if (this.#isOverfull()) this.#own.upstream.dropOldest();
    };
    const isDropping = () => this.#config.spool.onFull === 'drop-oldest';
    if (isDropping()) makeRoom();
    const stop = spool.onRoom(() => this.#resume());
    const timer = setInterval(() => {
      if (isDropping()) makeRoom();
      this.#resume();
    }, DROP_MS);
    this.#stopPausing = () => {
      stop();
      clearInterval(timer);
    };
    return false;
  }

  #resume(): void {
    if (!this.#isPaused || this.#isSpaceLow || this.#own.spool.isFull) return;
    this.#stopPausing();
    this.#isPaused = false;
    if (this.#closing === undefined) this.#host.drain();
  }

  /** Whether what waits for the upstream is too much, rather than what waits for the disk alone. */
  #isOverfull(): boolean {
    const { spool } = this.#own;
    const { diskBytes, unwrittenBytes } = spool.usage;
    const isTooMuch = diskBytes + unwrittenBytes > this.#maxBytes * OVERFULL_SHARE;
    return isTooMuch || spool.isFailing || this.#isSpaceLow;
  }

  /** What the spool leaves of its file system: without it, nothing could be let go of any more. */
  #watchSpace(dir: string): void {
    let isLow = false;
    try {
      isLow = isSpaceLow(dir);
    } catch {
      // The directory is away: the spool itself says so.
    }
    if (isLow && !this.#isSpaceLow) {
      const held = this.#config.spool.onFull === 'block' ? 'its sensors wait' : 'it drops';
      this.#host.log.error({ dir }, `the disk of a spool is nearly full: ${held}; make room`);
    }
    this.#isSpaceLow = isLow;
  }

  get #maxBytes(): number {
    return this.#bounds.maxBytes;
  }

  /** This worker's share. */
  get #bounds(): { maxBytes: number; memoryBytes: number } {
    const { maxBytes, memoryBytes } = this.#config.spool;
    const { workers } = this.#host.place;
    return {
      maxBytes: Math.floor(maxBytes / workers),
      memoryBytes: Math.floor(memoryBytes / workers),
    };
  }

  /**
   * A stream that left by this relay and has come back in at a source: with the very frame that it
   * began with, or under a pseudonym that is ours.
   */
  #loopReason(session: SinkSession, frame: FrameRef | undefined): FilterReason | undefined {
    const { secret } = this.#sending;
    const now = Date.now();
    const mark = this.#markOf(frame);
    const isOurs = secret !== undefined && this.#claims.hasLeft(session.sensor, now);
    const leaving = { session: session.id, address: session.address ?? '' };
    const before = mark === undefined ? undefined : this.#claims.leaves(mark, leaving, now);
    if (secret) this.#claims.leaves(pseudonymOf(session.sensor, secret), PSEUDONYM, now);
    if (!isOurs && before === undefined) {
      if (mark !== undefined) this.#marks.set(session.id, mark);
      return undefined;
    }
    const { sensor, type, id } = session;
    this.#host.log.error(
      { session: id, sensor, type, ...(before === undefined ? {} : { relayedAs: before }) },
      `a loop: ${this.#config.to} sends back what was relayed to it; the stream goes no ` +
        'further. Take this gateway out of what the partner relays to, or filter by sensors',
    );
    return 'loop';
  }

  #markOf(frame: FrameRef | undefined): string | undefined {
    if (!frame) return undefined;
    const at = frame.header + OFFSET_HMAC;
    const hmac = (frame.memory ?? this.#host.memory).subarray(
      at,
      at + Math.min(MARK_BYTES, HMAC_BYTES),
    );
    return Buffer.from(hmac).toString('hex');
  }
}

/** Spools under `root` that no other worker has, for they are of workers that are no more. */
async function otherSpools(root: string, worker: number, workers: number): Promise<string[]> {
  const names = await readdir(root);
  return names.filter(
    (name) => SPOOL_NAME.test(name) && Number(name) >= workers && Number(name) % workers === worker,
  );
}

const DROPPED = 'dropped/';

/** Adds what an account says was dropped of a stream, by reason. */
function addDropped(dropped: Record<string, Amount>, amounts: StreamAmounts): void {
  for (const [name, amount] of Object.entries(amounts)) {
    if (!name.startsWith(DROPPED)) continue;
    const reason = name.slice(DROPPED.length);
    dropped[reason] ??= { frames: 0, bytes: 0 };
    add(dropped[reason], amount);
  }
}

function sinceThen(
  now: Record<string, Amount>,
  before: Record<string, Amount>,
): Record<string, Amount> {
  return Object.fromEntries(
    Object.entries(now).map(([reason, amount]) => [reason, rest(amount, before[reason])]),
  );
}
