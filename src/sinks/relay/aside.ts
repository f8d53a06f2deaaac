import type { Logger } from 'pino';
import { messageOf } from '../../errors.js';
import type { Feed } from './feed.js';
import type { Lane } from './lane.js';
import type { RelayLog } from './log.js';
import type { Progress } from './progress.js';

/** With so much of the log behind what is needed of it, frames of quiet streams are kept aside. */
const LAG_BYTES = 4 * 1024 * 1024;
/** A stream is quiet where nothing of it was confirmed for this long. */
export const QUIET_MS = 2_000;
/** Bytes of the log that are read for it at once. */
const READ_BYTES = 8 * 1024 * 1024;

export interface AsideOptions {
  log: RelayLog;
  progress: Progress;
  lanes: ReadonlyMap<string, Lane>;
  /** Bytes of the log between its cursor and its reading. */
  passedBytes(): number;
  logger: Logger;
}

/**
 * Keeps the log from being held by streams that are quiet. What of them was sent last is not
 * confirmed while nothing follows it, and the record under way would have to come again whole; so
 * those few frames are copied out of the log, which then goes on without them.
 */
export class Aside {
  readonly #options: AsideOptions;
  /** By lane: the first record that it needs, and since when that has been the same. */
  readonly #needs = new Map<Lane, { seq: number; since: number }>();
  #reading: Promise<void> | undefined;
  #isFailing = false;
  #isClosed = false;

  constructor(options: AsideOptions) {
    this.#options = options;
  }

  /** Looks whether there is something to keep aside. */
  keep(feed: Feed): void {
    this.#watch();
    if (this.#reading || this.#isClosed || this.#options.passedBytes() < LAG_BYTES) return;
    const until = this.#limit(feed);
    const quiet = this.#quiet(until);
    if (quiet.size === 0) return;
    this.#reading = this.#copy(quiet, until).finally(() => {
      this.#reading = undefined;
    });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#reading;
  }

  #watch(): void {
    const now = performance.now();
    const { lanes } = this.#options;
    for (const lane of this.#needs.keys()) {
      if (lanes.get(lane.session.id) !== lane) this.#needs.delete(lane);
    }
    for (const lane of lanes.values()) {
      const seq = lane.neededSeq;
      if (seq === undefined) this.#needs.delete(lane);
      else if (this.#needs.get(lane)?.seq !== seq) this.#needs.set(lane, { seq, since: now });
    }
  }

  /** Up to where the log is held by nothing but what streams still have before them. */
  #limit(feed: Feed): number {
    let limit = feed.nextSeq;
    for (const [lane, { seq }] of this.#needs) {
      if (lane.pass === undefined) limit = Math.min(limit, seq);
    }
    return limit;
  }

  /** Lanes that have sent all up to the limit, and hold the log for long. */
  #quiet(limit: number): Map<string, Lane> {
    const before = performance.now() - QUIET_MS;
    const quiet = new Map<string, Lane>();
    for (const [lane, { seq, since }] of this.#needs) {
      if (lane.pass !== undefined && seq < limit && since <= before) {
        quiet.set(lane.session.id, lane);
      }
    }
    return quiet;
  }

  async #copy(quiet: ReadonlyMap<string, Lane>, limit: number): Promise<void> {
    const { log, progress, lanes, logger } = this.#options;
    const from = Math.min(...[...quiet.values()].map((lane) => lane.neededSeq ?? limit));
    const taken = new Map([...quiet.values()].map((lane) => [lane, lane.takenSeq]));
    const aside: { session: string; seq: number; frame: Buffer }[] = [];
    const reader = log.blocks(from);
    let through = from - 1;
    try {
      for (let bytes = 0; bytes < READ_BYTES && through < limit - 1; ) {
        const block = await reader.next();
        if (!block) return;
        for (const { seq, kind, session, data } of block.records()) {
          const lane = quiet.get(session.id);
          if (!lane || kind !== 'frame' || seq >= limit) continue;
          const isNeeded = seq >= (lane.neededSeq ?? limit) && seq <= taken.get(lane)!;
          if (isNeeded) aside.push({ session: session.id, seq, frame: Buffer.from(data) });
        }
        through = Math.min(block.lastSeq, limit - 1);
        bytes += block.bytes.length;
      }
      // A stream that has ended meanwhile needs nothing any more, and nobody would remove it.
      const lives = ({ session }: { session: string }) => lanes.get(session) === quiet.get(session);
      progress.commit({ points: new Map(), aside: aside.filter(lives) });
      for (const [lane, takenSeq] of taken) lane.asideSeq = Math.min(through, takenSeq);
      this.#isFailing = false;
    } catch (error) {
      const text = 'frames of quiet streams cannot be kept aside, and hold the spool: tried again';
      if (!this.#isFailing) logger.error({ error: messageOf(error) }, text);
      this.#isFailing = true;
    } finally {
      reader.close();
    }
  }
}
