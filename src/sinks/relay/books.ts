import type { Logger } from 'pino';
import { messageOf } from '../../errors.js';
import type { Spool } from '../../spool/spool.js';
import { Aside } from './aside.js';
import type { ConnectionCounts } from './connections.js';
import type { ResumePoint } from './continuation.js';
import type { Feed } from './feed.js';
import type { Lane } from './lane.js';
import type { LogBlock, RelayLog } from './log.js';
import { Passed } from './passed.js';
import type { Progress } from './progress.js';

export interface BooksOptions {
  spool: Spool;
  log: RelayLog;
  progress: Progress;
  lanes: ReadonlyMap<string, Lane>;
  counts: ConnectionCounts;
  logger: Logger;
}

interface Counted {
  frames: number;
  bytes: number;
}

/**
 * Keeps the books of one upstream: where each stream goes on, what was sent, and how far the spool
 * may forget. A stream's point is written before the spool's cursor passes what it no longer needs,
 * and what was sent is counted in the same transaction as the cursor.
 */
export class Books {
  readonly #options: BooksOptions;
  readonly #passed = new Passed();
  readonly #aside: Aside;
  /** Sessions that are sent, until the log has let go of their END: where that is, once it is known. */
  readonly #finished = new Map<string, number | undefined>();
  /** Points as they are written, by session. */
  readonly #points = new Map<string, ResumePoint>();
  /** What is to be written, by session. */
  #changes = new Map<string, ResumePoint | 'finished' | undefined>();
  /** What of each lane the account has. */
  readonly #counted = new Map<Lane, Record<'resent' | 'recut' | 'skipped', Counted>>();
  /** What was given up of what is still in the log, by sensor and type. */
  readonly #skipped = new Map<string, Counted>();
  #isFailing = false;

  constructor(options: BooksOptions) {
    this.#options = options;
    this.#aside = new Aside({ ...options, passedBytes: () => this.#passed.bytes });
  }

  /** The log was dealt up to the end of a block. */
  passed(block: LogBlock): void {
    this.#passed.push(block.lastSeq, block.bytes.length, block.sessions);
  }

  /** Whether a session is known to be sent; `endSeq` where its END is at hand. */
  isFinished(session: string, endSeq?: number): boolean {
    if (!this.#finished.has(session)) return false;
    if (endSeq !== undefined) this.#finished.set(session, endSeq);
    return true;
  }

  finished(session: string, endSeq?: number): void {
    this.#finished.set(session, endSeq);
    this.#points.delete(session);
    this.#changes.set(session, 'finished');
  }

  /** A lane is done with: what it repeated is counted. */
  over(lane: Lane): void {
    this.#count(lane);
    this.#counted.delete(lane);
  }

  /** Writes where the streams are, and releases what nobody needs. */
  commit(feed: Feed): void {
    const { lanes, progress, spool, logger } = this.#options;
    let needed = feed.nextSeq;
    for (const lane of lanes.values()) {
      needed = Math.min(needed, lane.neededSeq ?? needed);
      const { id } = lane.session;
      if (this.#points.get(id) !== lane.point) {
        this.#points.set(id, lane.point);
        this.#changes.set(id, lane.point);
      }
      this.#count(lane);
    }
    try {
      progress.commit({ points: this.#changes, aside: [], counts: this.#options.counts });
      this.#changes = new Map();
      this.#isFailing = false;
    } catch (error) {
      if (!this.#isFailing) {
        logger.error({ error: messageOf(error) }, 'what was relayed cannot be noted: tried again');
      }
      this.#isFailing = true;
      return;
    }
    const { seq, amounts } = this.#passed.take(needed - 1);
    if (seq === undefined) {
      this.#aside.keep(feed);
      return;
    }
    for (const amount of amounts.values()) this.#settle(amount);
    spool.release(seq);
    for (const [session, endSeq] of this.#finished) {
      if (endSeq === undefined || endSeq > seq) continue;
      this.#finished.delete(session);
      this.#changes.set(session, undefined);
    }
    this.#aside.keep(feed);
  }

  close(): Promise<void> {
    return this.#aside.close();
  }

  #skip(key: string, more: Counted): void {
    const total = this.#skipped.get(key) ?? nothing();
    this.#skipped.set(key, total);
    total.frames += more.frames;
    total.bytes += more.bytes;
  }

  /** What left the log was sent, but for what was given up of it. */
  #settle({ sensor, type, frames, bytes }: Counted & { sensor: string; type: number }): void {
    const { account } = this.#options.spool;
    const key = `${sensor}/${type}`;
    const left = this.#skipped.get(key) ?? nothing();
    const dropped = { frames: Math.min(left.frames, frames), bytes: Math.min(left.bytes, bytes) };
    if (dropped.frames > 0 || dropped.bytes > 0) {
      account.add(sensor, type, 'dropped/full', dropped.frames, dropped.bytes);
      left.frames -= dropped.frames;
      left.bytes -= dropped.bytes;
      if (left.frames === 0 && left.bytes === 0) this.#skipped.delete(key);
    }
    account.add(sensor, type, 'sent', frames - dropped.frames, bytes - dropped.bytes);
  }

  #count(lane: Lane): void {
    const { spool } = this.#options;
    const { sensor, type } = lane.session;
    const known = this.#counted.get(lane) ?? {
      resent: nothing(),
      recut: nothing(),
      skipped: nothing(),
    };
    for (const name of ['resent', 'recut', 'skipped'] as const) {
      const { frames, bytes } = lane[name];
      const before = known[name];
      if (frames === before.frames && bytes === before.bytes) continue;
      const more = { frames: frames - before.frames, bytes: bytes - before.bytes };
      if (name === 'skipped') this.#skip(`${sensor}/${type}`, more);
      else spool.count(lane.session, name, more.frames, more.bytes);
      known[name] = { frames, bytes };
      this.#counted.set(lane, known);
    }
  }
}

const nothing = (): Counted => ({ frames: 0, bytes: 0 });
