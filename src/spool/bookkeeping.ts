import type { Logger } from 'pino';
import { messageOf } from '../errors.js';
import type { Clock } from '../sinks/files/clock.js';
import { HEADER_BYTES } from '../wire/layout.js';
import type { SpoolAccount } from './account.js';
import type { SessionState } from './assembler.js';
import { RecordKind } from './layout.js';
import type { LiveBlock } from './live-block.js';
import type { Damage } from './records.js';
import type { Segment } from './segment.js';
import type { SegmentFiles } from './segment-files.js';
import { type Amount, encodeOpen, type SpoolSession } from './session-record.js';
import type { Recovered } from './spool-recovery.js';
import { StreamTotals } from './stream-totals.js';
import type { Dropped } from './types.js';

/** How late the account may be. */
const COMMIT_MS = 100;
/** A commit blocks its thread: of the time, it gets this part at most. */
const COMMIT_TIME_SHARE_MAX = 1 / 20;
/** After a commit that the disk refused. */
const COMMIT_RETRY_MS = 1_000;
/** Numbers that are set aside at once, so that none is given out twice after a crash. */
const SEQS_RESERVED = 2 ** 24;
const REFS_RESERVED = 2 ** 10;
/** How long after its END in custody a session may still be asked for: its row is folded by then. */
const HELD_AFTER_END_MS = 60_000;

/** Blocks that readers have and nobody released, of which the memory is kept. */
const OUTSTANDING_BLOCKS_MAX = 16;

interface Outstanding {
  firstSeq: number;
  lastSeq: number;
  block: LiveBlock | undefined;
  /** In the place of a block that is not kept. */
  amounts?: StreamTotals;
}

export interface BookkeepingOptions {
  account: SpoolAccount;
  files: SegmentFiles;
  sessions: Map<number, SessionState>;
  log: Logger;
  clock: Clock;
  /** The last sequence number and ref that were given out. */
  position(): { seq: number; ref: number };
  custody(session: SpoolSession, frames: number, bytes: number): void;
  /** Room may have come back. */
  changed(): void;
}

/** What is in custody, what is released, and the account that says so on the disk. */
export class Bookkeeping {
  readonly #options: BookkeepingOptions;
  readonly #account: SpoolAccount;
  readonly #files: SegmentFiles;
  cursor: number;
  /** All up to it is in custody. */
  custodySeq: number;
  #reservedSeq = 0;
  #reservedRef = 0;
  /** What a reader has, and is not released as a whole, oldest first. */
  readonly #outstanding: Outstanding[] = [];
  #lastGiven = 0;
  /** Sessions with an END, in its order. */
  readonly #ended: SessionState[] = [];
  readonly #unasked: { id: string; at: number }[] = [];
  #held = new Map<string, Readonly<Amount> | undefined>();
  #open = new Map<number, Buffer | undefined>();
  #removing: Segment[] = [];
  #removals: Promise<void> = Promise.resolve();
  #cancelCommit: (() => void) | undefined;
  #delayMs = COMMIT_MS;
  #isRefused = false;
  /** What was found at the opening is written, and numbers are set aside for what comes. */
  isBegun = false;
  /** Why the account could not be written last, and when (ms since the epoch). */
  lastError: { text: string; at: number } | undefined;

  constructor(options: BookkeepingOptions) {
    this.#options = options;
    this.#account = options.account;
    this.#files = options.files;
    const { cursor, acceptedSeq } = options.account.found;
    this.cursor = cursor;
    const last = options.files.list.at(-1)?.lastSeq ?? 0;
    this.custodySeq = Math.max(cursor, acceptedSeq, last);
  }

  /**
   * Writes what was found at the opening. Where the disk refuses, it is tried again, and nothing new may
   * leave before: its numbers could be given out twice.
   */
  begin({ held, ended }: Pick<Recovered, 'held' | 'ended'>): void {
    for (const [id, amount] of held) this.#held.set(id, amount);
    for (const ref of ended) this.#open.set(ref, undefined);
    this.#commit(false);
  }

  opened({ ref, session }: SessionState): void {
    this.#open.set(ref, encodeOpen({ session, before: { frames: 0, bytes: 0 } }));
    this.soon();
  }

  /** A block is in custody, and with it all before; again it changes nothing. */
  taken(block: LiveBlock): void {
    if (block.lastSeq <= this.custodySeq) return;
    this.custodySeq = block.lastSeq;
    const { sessions, custody } = this.#options;
    for (const { ref, session, frames, bytes, ends } of block.sessions) {
      this.#account.add(session.sensor, session.type, 'accepted', frames, bytes);
      const state = sessions.get(ref);
      if (state !== undefined) {
        state.custody.frames += frames;
        state.custody.bytes += bytes;
        this.#held.set(session.id, state.custody);
        if (ends) this.#endTaken(state);
      }
      if (frames > 0 || bytes > 0) custody(session, frames, bytes);
    }
    this.#forgetEnded();
    this.soon();
  }

  /** A block is on the disk, which was released meanwhile perhaps. */
  wrote(block: LiveBlock): void {
    const segment = block.lastSeq <= this.cursor ? this.#files.active : undefined;
    segment?.released.merge(amountsOf(block, 0));
  }

  #endTaken(state: SessionState): void {
    this.#open.set(state.ref, undefined);
    this.#ended.push(state);
    this.#unasked.push({ id: state.session.id, at: this.#options.clock.monotonic() });
  }

  /** A reader has it. */
  given(block: LiveBlock): void {
    if (block.lastSeq <= this.#lastGiven) return;
    this.#lastGiven = block.lastSeq;
    if (block.lastSeq <= this.cursor) return;
    const { firstSeq, lastSeq } = block;
    this.#outstanding.push({ firstSeq, lastSeq, block: block.hold() });
    // A reader may be far ahead of what is released: of those blocks the figures are enough.
    const old = this.#outstanding.at(-OUTSTANDING_BLOCKS_MAX - 1);
    if (old) this.#reduce(old);
  }

  #reduce(entry: Outstanding): void {
    if (entry.block === undefined) return;
    const countedFrom = this.#files.at(entry.firstSeq)?.countedFrom ?? 0;
    entry.amounts = amountsOf(entry.block, countedFrom);
    entry.block.letGo();
    entry.block = undefined;
  }

  release(seq: number): void {
    this.cursor = seq;
    while (this.#outstanding.length > 0 && this.#outstanding[0]!.lastSeq <= seq) {
      const { firstSeq, block, amounts } = this.#outstanding.shift()!;
      const segment = this.#files.at(firstSeq);
      if (segment !== undefined && segment.firstSeq <= firstSeq) {
        if (block) segment.released.merge(amountsOf(block, segment.countedFrom));
        else if (amounts) segment.released.merge(amounts);
      }
      block?.letGo();
    }
    this.soon();
  }

  /** Lets go of the segments that are wholly released. */
  retire(): void {
    this.#forgetEnded();
    for (const segment of [...this.#files.list]) {
      if (segment.lastSeq > this.cursor) break;
      if (this.#files.isBusy(segment)) {
        segment.allReleased();
        break;
      }
      const isActive = segment === this.#files.active;
      this.#files.forget(segment);
      this.#removing.push(segment);
      // Its space is free once it is closed too.
      if (isActive) void this.#files.seal().catch(() => {});
    }
    this.soon();
  }

  /** What of a segment is not released. */
  leftOf(segment: Segment): StreamTotals {
    const left = new StreamTotals();
    left.merge(segment.totals);
    left.subtract(segment.released);
    const head = this.#outstanding[0];
    if (head && head.firstSeq <= this.cursor && head.firstSeq >= segment.firstSeq) {
      // Of one that was reduced, no part can be told: then all of it counts as left.
      if (head.lastSeq <= segment.lastSeq && head.block) {
        left.subtract(amountsOf(head.block, segment.countedFrom, this.cursor));
      }
    }
    return left;
  }

  leftOfBlock(block: LiveBlock): StreamTotals {
    return amountsOf(block, this.cursor);
  }

  /** Sessions whose END is not released, up to `seq`. */
  endedUpTo(seq: number): Dropped['ended'] {
    const ended: { ref: number; session: SpoolSession }[] = [];
    for (const { ref, session, endSeq } of this.#options.sessions.values()) {
      if (endSeq > this.cursor && endSeq <= seq) ended.push({ ref, session });
    }
    return ended;
  }

  /**
   * Counts what of a segment can't be read.
   * @param good what could be; of the same records as the segment's totals
   * @param damage undefined: nothing could be read of it
   */
  damaged(segment: Segment, good: StreamTotals, damage: Damage | undefined): void {
    const lost = new StreamTotals();
    lost.merge(segment.totals);
    lost.subtract(good);
    const reason = damage === undefined ? 'unreadable' : 'damaged';
    let frames = 0;
    for (const { sensor, type, ...amount } of lost.list()) {
      const left = this.#account.inFlight(sensor, type);
      const dropped = Math.min(amount.frames, Math.max(0, left.frames));
      const bytes = Math.min(amount.bytes, Math.max(0, left.bytes));
      if (dropped > 0 || bytes > 0) {
        this.#account.add(sensor, type, `dropped/${reason}`, dropped, bytes);
      }
      frames += dropped;
    }
    segment.totals.subtract(lost);
    this.soon();
    if (damage === undefined || segment.isDamageTold) return;
    segment.isDamageTold = true;
    const { path } = segment;
    const { blocks, records, bytes } = damage;
    const text = 'a segment of a spool is damaged: what is unreadable is skipped';
    this.#options.log.error({ segment: path, blocks, records, bytes, frames }, text);
  }

  /**
   * Writes the account now, where it is behind.
   * @throws Error where the disk refuses
   */
  settle(): void {
    if (this.#cancelCommit === undefined) return;
    this.#reserve();
    this.#write();
    if (!this.isBegun) this.#begun();
    this.#cancelCommit();
    this.#cancelCommit = undefined;
    this.#remove();
  }

  /** Writes the account for the last time, removes what is released, and closes. */
  async close(isWritten: boolean): Promise<void> {
    this.#cancelCommit?.();
    this.#cancelCommit = undefined;
    for (const segment of [...this.#files.list]) {
      if (segment.lastSeq > this.cursor) break;
      this.#files.forget(segment);
      this.#removing.push(segment);
    }
    if (isWritten) {
      // All that was given out is accounted for: the next run goes on behind it.
      const { seq, ref } = this.#options.position();
      this.#reservedSeq = seq;
      this.#reservedRef = ref;
    }
    this.#commit(true);
    await this.#removals;
    await this.#account.close();
  }

  #reserve(): void {
    const { seq, ref } = this.#options.position();
    if (seq > this.#reservedSeq - SEQS_RESERVED / 2) this.#reservedSeq = seq + SEQS_RESERVED;
    if (ref > this.#reservedRef - REFS_RESERVED / 2) this.#reservedRef = ref + REFS_RESERVED;
  }

  #forgetEnded(): void {
    const done = Math.min(this.cursor, this.custodySeq);
    while (this.#ended.length > 0 && this.#ended[0]!.endSeq <= done) {
      this.#options.sessions.delete(this.#ended.shift()!.ref);
    }
  }

  /** The account has changed: it is written shortly. */
  soon(): void {
    this.#cancelCommit ??= this.#options.clock.after(this.#delayMs, () => {
      this.#cancelCommit = undefined;
      this.#commit(false);
    });
  }

  #commit(isLast: boolean): void {
    const began = performance.now();
    try {
      const now = this.#options.clock.monotonic();
      while (this.#unasked.length > 0 && now - this.#unasked[0]!.at > HELD_AFTER_END_MS) {
        this.#held.set(this.#unasked.shift()!.id, undefined);
      }
      if (!isLast) this.#reserve();
      this.#write();
      this.#isRefused = false;
      if (!this.isBegun) this.#begun();
      this.#delayMs = Math.max(COMMIT_MS, (performance.now() - began) / COMMIT_TIME_SHARE_MAX);
    } catch (error) {
      if (!this.#isRefused) {
        const text = "a spool's account cannot be written: it is tried again";
        this.#options.log.error({ error: messageOf(error) }, text);
      }
      this.#isRefused = true;
      this.lastError = { text: messageOf(error), at: this.#options.clock.now() };
      this.#delayMs = COMMIT_RETRY_MS;
      if (!isLast) this.soon();
      // After a crash what is released and not there would count as dropped: the account comes first. But
      // where it cannot be written for want of room, what is released is the only room there is.
      if (!this.#account.lacksRoom()) return;
    }
    this.#remove();
  }

  #begun(): void {
    this.isBegun = true;
    this.#account.forgetOldRuns();
    this.#options.changed();
  }

  #write(): void {
    this.#account.commit(
      {
        cursor: this.cursor,
        acceptedSeq: this.custodySeq,
        reservedSeq: this.#reservedSeq,
        reservedRef: this.#reservedRef,
      },
      { held: this.#held, open: this.#open, isReleasing: this.#removing.length > 0 },
    );
    this.#held = new Map();
    this.#open = new Map();
  }

  #remove(): void {
    const segments = this.#removing;
    if (segments.length === 0) return;
    this.#removing = [];
    this.#removals = this.#removals.then(async () => {
      for (const segment of segments) {
        try {
          await segment.remove();
        } catch (error) {
          // It is behind the cursor: the next start removes it.
          const text = 'a segment that was sent cannot be removed';
          this.#options.log.warn({ segment: segment.path, error: messageOf(error) }, text);
        }
      }
      this.#options.changed();
    });
  }
}

/** What a block holds behind record `from`, up to record `to`, by sensor and type. */
function amountsOf(block: LiveBlock, from: number, to = block.lastSeq): StreamTotals {
  const totals = new StreamTotals();
  if (block.firstSeq > from && block.lastSeq <= to) {
    for (const span of block.sessions) totals.addSpan(span);
    return totals;
  }
  for (const { seq, kind, session, data } of block.records()) {
    if (seq <= from || seq > to || session === undefined) continue;
    const { meta } = session;
    if (kind === RecordKind.OPEN && meta) totals.add(session, meta.frames, meta.bytes.length);
    else if (kind === RecordKind.FRAME) totals.add(session, 1, data.length - HEADER_BYTES);
  }
  return totals;
}
