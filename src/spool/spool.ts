import { statSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import type { Logger } from 'pino';
import { GatewayError, messageOf } from '../errors.js';
import { type Clock, SYSTEM_CLOCK } from '../sinks/files/clock.js';
import { syncDirectories } from '../sinks/files/directories.js';
import { SpoolAccount } from './account.js';
import { Ages } from './ages.js';
import { Assembler, type SessionState } from './assembler.js';
import { BlockPool } from './block-pool.js';
import { Bookkeeping } from './bookkeeping.js';
import { RecordKind } from './layout.js';
import type { LiveBlock } from './live-block.js';
import { Reader, type ReadFrom } from './reader.js';
import type { Segment } from './segment.js';
import { SegmentFiles } from './segment-files.js';
import type { SpoolSession } from './session-record.js';
import { recoverSpool } from './spool-recovery.js';
import { StreamTotals } from './stream-totals.js';
import { Tail } from './tail.js';
import type { BlockReader, Dropped, SpoolBlock, SpoolOptions } from './types.js';
import { Writer } from './writer.js';

const SEGMENT_BYTES = 64 * 1024 * 1024;
/** No segment is larger than this share of the spool: room comes back a segment at a time. */
const SEGMENT_SHARE_MAX = 1 / 8;
/** A block is finished this long after its first record, or, while a reader waits, after this. */
const FILL_MS = 100;
const FILL_MS_AWAITED = 5;
/** With `behind`: what waits longer for its release is written. */
const LAG_MS = 1_000;
/** Share of `memoryBytes` at which blocks are written with `behind`, and at which room is told of. */
const LOW_WATER = 1 / 2;
export const CLOSE_DEADLINE_MS = 8_000;

/** How a session ended whose END its gateway did not live to write. */
export const PROCESS_DIED = 'process-died';

/**
 * A bounded queue of sessions' frames, in memory while its reader keeps up and on the disk where it
 * does not:
 *
 *     append ─▶ block at hand ─▶ tail in memory ─▶ segments on the disk
 *                                    └────────┬────────┘
 *                                          readers ─▶ release
 *
 * One process has it at a time. FORMAT.md describes what is on the disk.
 */
export class Spool {
  #options: SpoolOptions;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #files: SegmentFiles;
  readonly #tail = new Tail();
  readonly #pool: BlockPool;
  readonly #assembler: Assembler;
  readonly #writer: Writer;
  readonly #books: Bookkeeping;
  readonly #readers = new Set<Reader>();
  readonly #waiting = new Set<() => void>();
  readonly #room = new Set<() => void>();
  readonly #ages = new Ages();
  readonly #custodyWaiters: { seq: number; resolve: (isHeld: boolean) => void }[] = [];
  readonly account: SpoolAccount;
  /** Of the newest record that earlier runs left. */
  readonly #foundSeq: number;
  #wasFull = false;
  /** All up to it is to be written, whoever reads. */
  #flushTo = 0;
  /** With `behind`: the reader lags, and everything is written until it has caught up. */
  #isLagging = false;
  #cancelFill: (() => void) | undefined;
  #cancelLag: (() => void) | undefined;
  #closing: Promise<void> | undefined;
  #isClosed = false;

  /**
   * Opens a spool, and brings in order what the last run left.
   * @throws GatewayError D4GW_E_SPOOL where the directory can't be used, or holds what a newer release
   *   wrote
   */
  static async open(options: SpoolOptions): Promise<Spool> {
    try {
      const first = await mkdir(options.dir, { recursive: true });
      if (first !== undefined) await syncDirectories(options.dir, first);
    } catch (cause) {
      throw new GatewayError('D4GW_E_SPOOL', `${options.dir}: ${messageOf(cause)}`, { cause });
    }
    const account = SpoolAccount.open(options.dir);
    try {
      const recovered = await recoverSpool(options.dir, account, options.log);
      const spool = new Spool(options, account, recovered);
      spool.#books.begin(recovered);
      for (const [ref, { session, total }] of recovered.open) {
        spool.#books.opened(spool.#assembler.resume(ref, session, total));
        spool.endSession(ref, PROCESS_DIED, '');
      }
      return spool;
    } catch (cause) {
      await account.close();
      if (cause instanceof GatewayError) throw cause;
      throw new GatewayError('D4GW_E_SPOOL', `${options.dir}: ${messageOf(cause)}`, { cause });
    }
  }

  private constructor(
    options: SpoolOptions,
    account: SpoolAccount,
    recovered: Awaited<ReturnType<typeof recoverSpool>>,
  ) {
    const { dir, log, maxBytes, segmentBytes = SEGMENT_BYTES, clock = SYSTEM_CLOCK } = options;
    this.#options = options;
    this.#log = log;
    this.#clock = clock;
    this.account = account;
    // A segment was begun with its first record.
    for (const { path, firstSeq } of recovered.segments) this.#ages.add(firstSeq, madeAt(path));
    const newest = recovered.segments.at(-1)?.lastSeq ?? 0;
    this.#foundSeq = Math.max(account.found.cursor, newest);
    const bytes = Math.min(segmentBytes, maxBytes * SEGMENT_SHARE_MAX);
    this.#files = new SegmentFiles(dir, bytes, recovered.segments, log, options.sealed);
    this.#pool = new BlockPool(options.memoryBytes);
    this.#assembler = new Assembler(
      { seq: recovered.nextSeq, ref: recovered.nextRef },
      this.#pool,
      (block) => this.#finished(block),
      () => clock.monotonic(),
    );
    this.#books = new Bookkeeping({
      account,
      files: this.#files,
      sessions: this.#assembler.sessions,
      log,
      clock,
      position: () => ({ seq: this.#assembler.lastSeq, ref: this.#assembler.lastRef }),
      custody: options.custody ?? (() => {}),
      changed: () => {
        this.#changed();
        if (this.#waiting.size > 0) this.#wakeReaders();
      },
    });
    this.#writer = new Writer(this.#tail, this.#files, {
      dir,
      compress: options.compress,
      log,
      clock,
      isDue: (block) => this.#isDue(block),
      written: (block) => {
        this.#books.wrote(block);
        this.#taken(block);
      },
      changed: () => this.#changed(),
    });
  }

  /** Of the newest record, whichever run appended it. */
  get lastSeq(): number {
    return this.#assembler.isUntouched ? this.#foundSeq : this.#assembler.lastSeq;
  }

  /** All up to it is in custody: written, or released. */
  get writtenSeq(): number {
    return this.#books.custodySeq;
  }

  /** All up to it is released. */
  get cursor(): number {
    return this.#books.cursor;
  }

  /** For how long a record has been here, in seconds; of one that is not, as of its neighbour. */
  ageOf(seq: number): number {
    return this.#ages.ageOf(seq, this.#clock.now());
  }

  /** Bytes on the disk, and in memory. */
  get usage(): {
    diskBytes: number;
    /** Segments that are finished. */
    sealedSegments: number;
    memoryBytes: number;
    /** Of them, what is not on the disk. */
    unwrittenBytes: number;
  } {
    const pending = this.#assembler.pendingBytes;
    return {
      diskBytes: this.#files.bytes,
      sealedSegments: this.#files.list.filter(({ isSealed }) => isSealed).length,
      memoryBytes: this.#tail.bytes + pending,
      unwrittenBytes: this.#tail.unwrittenBytes + pending,
    };
  }

  /** The disk takes nothing at the moment: what is appended waits in memory. */
  get isFailing(): boolean {
    return this.#writer.isFailing || !this.#books.isBegun;
  }

  /** What the disk refused last, and when (ms since the epoch). */
  get lastError(): { text: string; at: number } | undefined {
    return this.#books.isBegun ? this.#writer.lastError : this.#books.lastError;
  }

  /** Asks for no more until it calls those who asked by `onRoom`. What is appended is taken still. */
  get isFull(): boolean {
    const { memoryBytes } = this.#options;
    if (!this.#isOver(memoryBytes, this.#options.maxBytes)) return false;
    this.#wasFull = true;
    return true;
  }

  /** Its bounds are others from now on. */
  limit(bounds: Pick<SpoolOptions, 'maxBytes' | 'memoryBytes'>): void {
    this.#options = { ...this.#options, ...bounds };
    this.#pool.limit(bounds.memoryBytes);
    this.#changed();
    this.#writer.kick();
  }

  /** @returns what takes the callback back */
  onRoom(callback: () => void): () => void {
    this.#room.add(callback);
    return () => this.#room.delete(callback);
  }

  /** @returns the session's ref */
  openSession(session: SpoolSession): number {
    const state = this.#assembler.open(session);
    this.#books.opened(state);
    this.#appended();
    return state.ref;
  }

  /**
   * Takes one frame, which is copied.
   * @param address where its header lies in `memory`; `bytes` with its payload
   * @returns its sequence number
   */
  append(ref: number, memory: Uint8Array, address: number, bytes: number): number {
    const seq = this.#assembler.frame(ref, memory, address, bytes);
    this.#appended();
    return seq;
  }

  /** @returns the END's sequence number */
  endSession(ref: number, code: string, detail: string): number {
    const seq = this.#assembler.end(ref, code, detail);
    this.#appended();
    return seq;
  }

  /** A session that goes on, or whose END was not released yet. */
  session(ref: number): Readonly<SessionState> | undefined {
    return this.#assembler.sessions.get(ref);
  }

  /** Resolves once all up to `seq` is in custody: true; or never will be, for it is closed: false. */
  held(seq: number): Promise<boolean> {
    if (seq <= this.writtenSeq) return Promise.resolve(true);
    if (this.#isClosed) return Promise.resolve(false);
    return new Promise((resolve) => {
      let at = this.#custodyWaiters.length;
      while (at > 0 && this.#custodyWaiters[at - 1]!.seq > seq) at -= 1;
      this.#custodyWaiters.splice(at, 0, { seq, resolve });
    });
  }

  /**
   * Resolves when all that was appended is written, to the page cache. It waits for as long as the disk
   * refuses.
   * @throws GatewayError D4GW_E_SPOOL where it is closed before
   */
  async flush(): Promise<void> {
    this.#assembler.finish();
    this.#flushTo = Math.max(this.#flushTo, this.lastSeq);
    this.#writer.kick();
    if (await this.held(this.#flushTo)) return;
    throw new GatewayError('D4GW_E_SPOOL', `the spool in ${this.#options.dir} is closed`);
  }

  /**
   * As `flush`, and on the disk; what was released meanwhile is so in the account, which outlives the
   * process. Rejects where the disk can't promise it.
   */
  async sync(): Promise<void> {
    await this.flush();
    await this.#files.sync();
    this.#books.settle();
  }

  /**
   * Reads on from `fromSeq`, or from the oldest that is there.
   * @param isChecked false: whoever gets the blocks checks their records
   */
  blocks(fromSeq: number, isChecked = true): BlockReader {
    const reader = new Reader(this.#readFrom(), fromSeq, isChecked);
    this.#readers.add(reader);
    return reader;
  }

  /**
   * All up to `seq` is done with: it may be forgotten. What the caller adds to the account in the same
   * turn is committed together with it.
   */
  release(seq: number): void {
    if (seq > this.lastSeq) throw new RangeError(`${seq} was never appended`);
    if (seq <= this.cursor) return;
    this.#release(seq, false);
  }

  /** @param isDropped nothing of it is written any more */
  #release(seq: number, isDropped: boolean): void {
    this.#books.release(seq);
    this.#ages.forget(seq + 1);
    for (let entry = this.#tail.first; entry !== undefined; entry = this.#tail.first) {
      const { block } = entry;
      if (block.lastSeq > seq) break;
      if (!entry.isWritten && !isDropped && this.#isDue(block)) break;
      this.#tail.shift();
      if (!entry.isWritten) this.#taken(block);
    }
    this.#books.retire();
    this.#changed();
  }

  /** Adds to one figure of a stream's account, as `SpoolAccount.add`; it is committed soon. */
  count(
    { sensor, type }: Pick<SpoolSession, 'sensor' | 'type'>,
    name: string,
    frames: number,
    bytes: number,
  ): void {
    this.account.add(sensor, type, name, frames, bytes);
    this.#books.soon();
  }

  /**
   * Gives up the oldest segment, or, where none is on the disk, the oldest blocks in memory until half
   * of it is free. It is counted as `dropped/full`. No frames: there is nothing that it could give up
   * at the moment.
   */
  dropOldest(reason = 'full'): Dropped {
    const segment = this.#files.list.find(({ lastSeq }) => lastSeq > this.cursor);
    const dropped = new StreamTotals();
    let last = this.cursor;
    if (segment !== undefined) {
      dropped.merge(this.#books.leftOf(segment));
      last = segment.lastSeq;
    } else {
      const low = this.#options.memoryBytes * LOW_WATER;
      let left = this.#tail.unwrittenBytes;
      for (let offset = 0; left > low; offset += 1) {
        const block = this.#tail.unwritten(offset)?.block;
        if (block === undefined) break;
        dropped.merge(this.#books.leftOfBlock(block));
        left -= block.bytes.length;
        last = block.lastSeq;
      }
    }
    const ended = this.#books.endedUpTo(last);
    for (const { sensor, type, frames, bytes } of dropped.list()) {
      this.account.add(sensor, type, `dropped/${reason}`, frames, bytes);
    }
    if (last > this.cursor) this.#release(last, true);
    const streams = dropped.list().map(({ sensor, type, frames, bytes }) => {
      return { sensor, type, frames, bytes };
    });
    const frames = streams.reduce((sum, stream) => sum + stream.frames, 0);
    const bytes = streams.reduce((sum, stream) => sum + stream.bytes, 0);
    return { frames, bytes, streams, ended };
  }

  /**
   * Writes all that was appended and closes, or gives up at the deadline: what the disk has not taken by
   * then was never in custody.
   */
  close(deadlineMs = CLOSE_DEADLINE_MS): Promise<void> {
    this.#closing ??= this.#close(deadlineMs);
    return this.#closing;
  }

  async #close(deadlineMs: number): Promise<void> {
    let cancel = () => {};
    const late = new Promise<boolean>((resolve) => {
      cancel = this.#clock.after(deadlineMs, () => resolve(false));
    });
    const flushed = this.flush().then(
      () => true,
      () => false,
    );
    const isWritten = await Promise.race([flushed, late]);
    cancel();
    this.#isClosed = true;
    this.#cancelFill?.();
    this.#cancelLag?.();
    if (!isWritten) {
      const bytes = this.#tail.unwrittenBytes;
      this.#log.error(
        { bytes },
        `the spool in ${this.#options.dir} was closed before all was written`,
      );
    }
    for (const { resolve } of this.#custodyWaiters.splice(0)) resolve(false);
    for (const reader of [...this.#readers]) reader.close();
    this.#wakeReaders();
    await this.#writer.stop();
    await this.#files.seal().catch((error: unknown) => {
      this.#log.error(
        { error: messageOf(error) },
        'the last segment of a spool cannot be finished',
      );
    });
    await this.#books.close(isWritten);
  }

  #appended(): void {
    if (this.#cancelFill === undefined) this.#fill(this.#waiting.size > 0);
  }

  /** The block at hand is finished soon, however little is in it. */
  #fill(isAwaited: boolean): void {
    this.#cancelFill?.();
    this.#cancelFill = this.#clock.after(isAwaited ? FILL_MS_AWAITED : FILL_MS, () => {
      this.#cancelFill = undefined;
      this.#assembler.finish();
    });
  }

  #finished(block: LiveBlock): void {
    this.#cancelFill?.();
    this.#cancelFill = undefined;
    this.#tail.push(block);
    const waited = this.#clock.monotonic() - block.since;
    this.#ages.add(block.firstSeq, this.#clock.now() - waited);
    this.#watchLag();
    this.#writer.kick();
    this.#trim();
    this.#wakeReaders();
  }

  /** A block is in custody: written, or released before. */
  #taken(block: LiveBlock): void {
    this.#books.taken(block);
    while (this.#custodyWaiters.length > 0 && this.#custodyWaiters[0]!.seq <= this.writtenSeq) {
      this.#custodyWaiters.shift()!.resolve(true);
    }
    this.#trim();
    this.#changed();
  }

  /** Forgets the oldest blocks in memory that are on the disk, down to its bound. */
  #trim(): void {
    const { memoryBytes } = this.#options;
    while (this.#tail.bytes > memoryBytes * LOW_WATER && this.#tail.first?.isWritten) {
      this.#tail.shift();
    }
    while (this.#tail.first?.isWritten && this.#tail.first.block.lastSeq <= this.cursor) {
      this.#tail.shift();
    }
  }

  #isDue(block: LiveBlock): boolean {
    const { persist, memoryBytes } = this.#options;
    if (persist === 'always' || block.lastSeq <= this.#flushTo) return true;
    if (block.lastSeq <= this.cursor) return false;
    const isLate = this.#clock.monotonic() - block.since >= LAG_MS;
    if (isLate || this.#tail.unwrittenBytes > memoryBytes * LOW_WATER) this.#isLagging = true;
    else if (this.#isLagging && !this.#hasUnreleasedOnDisk()) this.#isLagging = false;
    return this.#isLagging;
  }

  #hasUnreleasedOnDisk(): boolean {
    const last = this.#files.list.at(-1);
    return last !== undefined && last.lastSeq > this.cursor;
  }

  /** With `behind`: looks again when the oldest block has waited for long enough. */
  #watchLag(): void {
    if (this.#options.persist === 'always' || this.#cancelLag !== undefined) return;
    const block = this.#tail.unwritten()?.block;
    if (block === undefined) return;
    const left = Math.max(1, block.since + LAG_MS - this.#clock.monotonic());
    this.#cancelLag = this.#clock.after(left, () => {
      this.#cancelLag = undefined;
      this.#writer.kick();
      this.#watchLag();
    });
  }

  #isOver(memoryBytes: number, maxBytes: number): boolean {
    if (!this.#books.isBegun) return true;
    const unwritten = this.#tail.unwrittenBytes + this.#assembler.pendingBytes;
    return unwritten >= memoryBytes || this.#files.bytes + unwritten >= maxBytes;
  }

  /** Whoever waits for room is told once there is enough. */
  #changed(): void {
    if (!this.#wasFull || this.#isClosed) return;
    const { memoryBytes, maxBytes } = this.#options;
    const enough = maxBytes * (1 - SEGMENT_SHARE_MAX);
    if (this.#isOver(memoryBytes * LOW_WATER, enough)) return;
    this.#wasFull = false;
    for (const callback of [...this.#room]) callback();
  }

  #wakeReaders(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }

  #readFrom(): ReadFrom {
    const spool = this;
    return {
      pool: this.#pool,
      get isClosed() {
        return spool.#isClosed;
      },
      // What is on the disk was given a number for good, what is in memory once the account says so.
      inMemory: (seq) => (this.#books.isBegun ? this.#tail.at(seq) : undefined),
      onDisk: (seq) => this.#files.at(seq),
      more: () => this.#more(),
      given: (block) => this.#books.given(block),
      damaged: (segment, good, damage) => this.#books.damaged(segment, good, damage),
      unreadable: (segment, error) => this.#unreadable(segment, error),
      closed: (reader) => {
        this.#readers.delete(reader);
        this.#wakeReaders();
      },
    };
  }

  #more(): Promise<void> {
    if (this.#assembler.pendingBytes > 0) this.#fill(true);
    return new Promise((resolve) => this.#waiting.add(resolve));
  }

  #unreadable(segment: Segment, error: string): void {
    const { path } = segment;
    this.#log.error({ segment: path, error }, 'a segment of a spool cannot be read: it is skipped');
    this.#books.damaged(segment, new StreamTotals(), undefined);
  }
}

/** Ms since the epoch; a file system that does not know tells when it was written last. */
function madeAt(path: string): number {
  try {
    const { birthtimeMs, mtimeMs } = statSync(path);
    return birthtimeMs > 0 ? Math.min(birthtimeMs, mtimeMs) : mtimeMs;
  } catch {
    return Date.now(); // It is away: its reader says so.
  }
}

export type { BlockReader, Dropped, SpoolBlock, SpoolOptions };
export { RecordKind };
