import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { messageOf } from '../../../errors.js';
import { decodeMessage, LinkProtocolError, type Rejected } from '../../../link/messages.js';
import type { RateLimitedLog } from '../../../log/rate.js';
import type { Spool } from '../../../spool/spool.js';
import type { SpoolBlock } from '../../../spool/types.js';
import { Progress } from '../progress.js';
import type { Upstream, UpstreamOptions, UpstreamStatus } from '../upstream.js';
import { linkId, newLinkId } from './link-id.js';
import { LinkSender } from './sender.js';
import { LinkClientSocket, type LinkTarget } from './socket.js';
import { SpoolLog } from './spool-log.js';

/** Waits between attempts: doubled each time, with jitter, from the first to the last. */
export const RETRY_MS_MIN = 500;
export const RETRY_MS_MAX = 30_000;
/** A link that was open for so long begins anew with its waits. */
const STABLE_MS = 10_000;
/** The receiver says something at least every 5 s once it is open, and RESUME within a minute. */
const SILENCE_MS_MAX = 30_000;
const RESUME_MS_MAX = 60_000;
const WATCH_MS = 1_000;
/** Of the time to stop, what is sent and acknowledged still. */
const DRAIN_SHARE = 0.5;
const POLL_MS = 20;
/** Errors that nothing but an operator mends. */
const LASTING: readonly string[] = ['version', 'loop', 'token', 'owner', 'links'];
const REFUSED = /link token|no \/link/;

export interface LinkContext {
  /** For messages, such as `wss://partner.example:4445`. */
  name: string;
  target: LinkTarget;
  gateway: string;
  windowBytes: number;
  compress: 'none' | 'lz4';
  log: Logger;
  limitedLog: RateLimitedLog;
}

/** Of a link, since the start. */
export interface LinkCounts {
  opened: number;
  failed: number;
  lost: number;
  /** Sessions that the receiver did not take. */
  rejected: number;
}

/**
 * Sends one spool to another gateway over a link, for as long as the process lives: see `LINK.md`.
 * What the receiver acknowledges is counted as sent and let go of.
 */
export class LinkUpstream implements Upstream {
  readonly counts: LinkCounts = { opened: 0, failed: 0, lost: 0, rejected: 0 };
  readonly #spool: Spool;
  readonly #dir: string;
  readonly #context: LinkContext;
  readonly #log: SpoolLog;
  readonly #progress: Progress;
  readonly #stop = new AbortController();
  #running: Promise<void> = Promise.resolve();
  #sender: LinkSender<SpoolBlock> | undefined;
  #socket: LinkClientSocket | undefined;
  /** Attempts since it was last open for a while, and when it was first not. */
  #attempts = 0;
  #downSince: number | undefined;
  #downReason = '';
  #isOpen = false;
  #isLasting = false;
  #needsNewId = false;
  #suspectSeq: number | undefined;

  /** @throws GatewayError D4GW_E_SPOOL */
  constructor({ spool, dir }: UpstreamOptions, context: LinkContext) {
    this.#spool = spool;
    this.#dir = dir;
    this.#context = context;
    this.#log = new SpoolLog(spool, context.compress);
    this.#progress = new Progress(dir);
  }

  get status(): UpstreamStatus {
    const { cursor, lastSeq } = this.#spool;
    const since = this.#downSince;
    return {
      waitingSeq: cursor < lastSeq ? cursor + 1 : undefined,
      away:
        since === undefined
          ? undefined
          : { since: Date.now() - (performance.now() - since), reason: this.#downReason },
      connections: this.#isOpen ? 1 : 0,
      refusedStreams: 0,
    };
  }

  start(): void {
    this.#running = this.#run();
  }

  dropOldest(): void {
    const { frames, bytes, ended } = this.#spool.dropOldest();
    if (frames === 0 && ended.length === 0) return;
    const { limitedLog, name } = this.#context;
    for (const { session } of ended) this.#sender?.gaveUp(session.id, 'dropped');
    const text = 'the spool is full: its oldest records are given up, and counted as dropped';
    limitedLog.error('link-spool-full', { target: name, frames, bytes }, text);
  }

  async close(deadlineMs: number): Promise<void> {
    const until = performance.now() + deadlineMs * DRAIN_SHARE;
    const isThrough = () => this.#spool.cursor >= this.#spool.lastSeq;
    while (!isThrough() && this.#downSince === undefined && performance.now() < until) {
      await sleep(POLL_MS);
    }
    this.#stop.abort();
    this.#sender?.end();
    const late = sleep(deadlineMs * (1 - DRAIN_SHARE), 'late', { ref: false });
    if ((await Promise.race([this.#running, late])) === 'late') {
      this.#socket?.destroy('the gateway stops');
      await this.#running;
    }
    await this.#progress.close();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      const openedFor = await this.#serve().catch((error: unknown) => {
        // Such as an id that can't be read or written: a full disk, or no descriptor left.
        this.#closed(messageOf(error), false);
        return 0;
      });
      if (signal.aborted) return;
      if (openedFor >= STABLE_MS) this.#attempts = 0;
      const wait = this.#isLasting ? RETRY_MS_MAX : this.#delay();
      this.#attempts += 1;
      await sleep(wait, undefined, { signal }).catch(() => {});
    }
  }

  #delay(): number {
    const ceiling = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** Math.min(this.#attempts, 16));
    // Half fixed, half by chance: gateways that lost one receiver do not return to it in step.
    return ceiling / 2 + (Math.random() * ceiling) / 2;
  }

  /** One connection from its beginning to its end; how long it was open, ms. */
  async #serve(): Promise<number> {
    const { gateway, windowBytes, target } = this.#context;
    const link = this.#needsNewId ? await newLinkId(this.#dir) : await linkId(this.#dir);
    this.#needsNewId = false;
    let openedAt: number | undefined;
    let failure: string | undefined;
    let heardAt = performance.now();
    const ended = new Promise<string>((resolve) => {
      const socket = new LinkClientSocket(target, {
        open: () => sender.start(),
        message: (bytes) => {
          heardAt = performance.now();
          this.#take(sender, bytes, (reason) => {
            failure ??= reason;
            socket.close();
          });
        },
        ready: () => sender.ready(),
        closed: resolve,
      });
      const sender = new LinkSender<SpoolBlock>(
        this.#log,
        socket,
        { link, gateway, windowBytes, suspectSeq: this.#suspectSeq },
        {
          resumed: (position, peer) => {
            openedAt = performance.now();
            this.#opened(position, peer);
          },
          acknowledged: (blocks) => this.#acknowledged(blocks),
          rejected: (rejected) => this.#rejected(rejected),
          failed: (code, message) => {
            failure ??= `${message} (${code})`;
            this.#failed(code, sender.sentSeq);
          },
        },
      );
      this.#socket = socket;
      this.#sender = sender;
    });
    const watch = setInterval(() => {
      const patience = openedAt === undefined ? RESUME_MS_MAX : SILENCE_MS_MAX;
      if (performance.now() - heardAt < patience) return;
      this.#socket?.destroy(`it has said nothing for ${patience / 1000} s`);
    }, WATCH_MS);
    const reason = await ended;
    clearInterval(watch);
    this.#sender?.closed();
    this.#sender = undefined;
    this.#socket = undefined;
    this.#closed(failure ?? reason, openedAt !== undefined);
    return openedAt === undefined ? 0 : performance.now() - openedAt;
  }

  #take(sender: LinkSender<SpoolBlock>, bytes: Buffer, fail: (reason: string) => void): void {
    try {
      sender.take(decodeMessage(bytes));
    } catch (error) {
      if (!(error instanceof LinkProtocolError)) throw error;
      fail(`it does not speak the link's protocol: ${error.message}`);
    }
  }

  #opened(position: number, gateway: string): void {
    const { log, name } = this.#context;
    this.#count('opened');
    this.#isOpen = true;
    this.#isLasting = false;
    const { firstSeq } = this.#log;
    const seconds =
      this.#downSince === undefined ? 0 : Math.round((performance.now() - this.#downSince) / 1000);
    log.info({ target: name, gateway, position, seconds }, 'link opened');
    this.#downSince = undefined;
    if (position + 1 >= firstSeq) return;
    const records = firstSeq - position - 1;
    const text =
      'the receiver lacks records that it acknowledged before: was an older copy of its data put back?';
    log.error({ target: name, records, from: position + 1 }, text);
  }

  #failed(code: string, sentSeq: number): void {
    this.#isLasting = LASTING.includes(code);
    this.#needsNewId = code === 'position';
    this.#suspectSeq = code === 'damaged' ? sentSeq : undefined;
  }

  #acknowledged(blocks: readonly SpoolBlock[]): void {
    const { account, cursor } = this.#spool;
    for (const block of blocks) {
      // Given up while it was on its way: it is counted as dropped.
      if (block.lastSeq <= cursor) continue;
      for (const { ref, session, frames, bytes } of block.sessions) {
        const { sensor, type } = session;
        const lost = this.#log.lostOf(block, ref);
        account.add(sensor, type, 'sent', frames - lost.frames, bytes - lost.bytes);
        if (lost.frames > 0) {
          account.add(sensor, type, 'dropped/damaged', lost.frames, lost.bytes);
        }
      }
    }
    const last = blocks.at(-1);
    if (last) this.#spool.release(Math.min(last.lastSeq, this.#spool.lastSeq));
  }

  /** What became of its connections is for the ledger too. */
  #count(what: 'opened' | 'failed' | 'lost'): void {
    this.counts[what] += 1;
    const { opened, failed, lost } = this.counts;
    try {
      this.#progress.commit({ points: new Map(), aside: [], counts: { opened, failed, lost } });
    } catch (error) {
      const fields = { target: this.#context.name, error: messageOf(error) };
      this.#context.limitedLog.warn('link-counts', fields, 'connections cannot be counted on disk');
    }
  }

  #rejected({ session, sensor, type, reason, detail }: Rejected): void {
    const { limitedLog, name } = this.#context;
    this.counts.rejected += 1;
    const fields = { target: name, session, sensor, type, reason, detail };
    limitedLog.warn(`link-${reason}`, fields, 'the receiver does not take a session');
  }

  /** Said once an outage. */
  #closed(reason: string, wasOpen: boolean): void {
    const { log, limitedLog, name } = this.#context;
    this.#isOpen = false;
    this.#downReason = reason;
    if (this.#stop.signal.aborted) return;
    this.#count(wasOpen ? 'lost' : 'failed');
    if (REFUSED.test(reason)) this.#isLasting = true;
    if (this.#downSince !== undefined) {
      limitedLog.info('link-down', { target: name, detail: reason }, 'link not opened yet');
      return;
    }
    this.#downSince = performance.now();
    const text = wasOpen
      ? 'link lost: what follows is kept in the spool until it is open again'
      : 'link cannot be opened; what is for it is kept in the spool, and it is tried until it is there';
    log.error({ target: name, reason }, text);
  }
}
