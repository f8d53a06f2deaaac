import { setTimeout as sleep } from 'node:timers/promises';
import type { Lane } from './lane.js';
import type { LogBlock, LogReader, LogRecord, RelayLog } from './log.js';
import { Signal } from './signal.js';

/** A lane that can't take its record is waited for this long while others could send. */
const PATIENCE_MS = 20;
/** And so long where nobody else known could: sessions further on in the log may. */
const PATIENCE_ALONE_MS = 1_000;
/** Longest wait for a change that is not told. */
const POLL_MS = 50;

/** One reading of the log, from `start` on. */
interface Pass {
  readonly reader: LogReader;
  readonly start: number;
  /** When it began, by the clock of `tick`. */
  readonly begun: number;
  /** The next record that it comes to. */
  next: number;
  /** A lane took something of it, or gave something up. */
  isOfUse: boolean;
}

export interface FeedOptions {
  log: RelayLog;
  /** The lane of a record's session, made where there is none yet; undefined: it is done with. */
  laneOf(record: LogRecord): Lane | undefined;
  lanes(): Iterable<Lane>;
  /** The head has dealt all of a block. */
  passed(block: LogBlock): void;
  /** False while the server can't be reached at all: then nothing is gained by reading on. */
  isReachable(): boolean;
  now(): number;
  /** Counts parkings and passes, together with the lanes. */
  tick(): number;
}

/**
 * Deals the records of one log out to many lanes, in order for each. The head pass reads the log
 * once; a lane that holds it up is parked where it stands, and what it misses stays in the spool. A
 * second pass, of which there is one at most, goes back for the parked lanes that are ready again,
 * until it comes to where the head is:
 *
 *     log  ──┬───────────┬───────────────────┬──────────────┬──▶
 *            released    │ parked lanes      │ catch-up ──▶ │ head ──▶
 *
 * It holds one block a pass, and nothing of a record once its lane has taken it.
 */
export class Feed {
  readonly #options: FeedOptions;
  readonly #signal = new Signal();
  readonly #touched = new Set<Lane>();
  /** Lanes that no pass serves; some may be served or done with meanwhile. */
  readonly #parked = new Set<Lane>();
  readonly #head: Pass;
  #catchUp: Pass | undefined;
  #isStopped = false;
  /** Records up to it are given up where their lane can't take them. */
  #dropThrough = -1;
  readonly #running: Promise<void>[] = [];

  constructor(options: FeedOptions, fromSeq: number) {
    this.#options = options;
    this.#head = this.#passFrom(fromSeq);
    this.#running.push(this.#run(this.#head));
  }

  /** The first record that some pass has still to come to. */
  get nextSeq(): number {
    return Math.min(this.#head.next, this.#catchUp?.next ?? Number.POSITIVE_INFINITY);
  }

  /** The first record that no connection was given; it may be one that was never appended. */
  get waitingSeq(): number {
    let first = this.nextSeq;
    for (const lane of this.#parked) {
      if (lane.pass === undefined && !lane.isFinished) first = Math.min(first, lane.at);
    }
    return first;
  }

  /** How far the log was read. */
  get headSeq(): number {
    return this.#head.next;
  }

  /** Who serves a new lane. */
  get head(): object {
    return this.#head;
  }

  /** A lane has left its pass. */
  parked(lane: Lane): void {
    this.#parked.add(lane);
  }

  /** Something changed: a connection, its room, a lane's place. */
  changed(): void {
    this.#signal.fire();
    if (!this.#catchUp && !this.#isStopped) this.#goBack();
  }

  /** Up to which record what can't be sent is given up. */
  get dropThrough(): number {
    return this.#dropThrough;
  }

  /** Something up to there is still to be given up. */
  get isDropping(): boolean {
    if (this.#head.next <= this.#dropThrough) return true;
    for (const lane of this.#options.lanes()) {
      if (lane.pass === undefined && lane.at <= this.#dropThrough) return true;
    }
    return false;
  }

  /**
   * Gives up what lies up to a record and no connection can take now. Lanes are told, record by
   * record, so that each goes on at the start of one.
   */
  drop(through: number): void {
    this.#dropThrough = through;
    for (const lane of this.#options.lanes()) {
      if (lane.pass !== undefined) lane.forget(Math.min(through, lane.takenSeq));
      // It stands still, in the midst of what is given up: what follows can't go on from there.
      else if (lane.at <= through && lane.isStuck) {
        lane.destroy(new Error('a part of its stream was given up'));
      }
    }
    this.changed();
  }

  /** Resolves when nothing is read any more. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#head.reader.close();
    this.#catchUp?.reader.close();
    this.#signal.fire();
    await Promise.all(this.#running);
  }

  #passFrom(seq: number): Pass {
    const { log, tick } = this.#options;
    return { reader: log.blocks(seq), start: seq, begun: tick(), next: seq, isOfUse: false };
  }

  /** Goes back to the first of the parked lanes that are ready. */
  #goBack(): void {
    let from = Number.POSITIVE_INFINITY;
    for (const lane of this.#parked) {
      if (lane.pass !== undefined || lane.isFinished) this.#parked.delete(lane);
      else if (this.#isWanted(lane)) from = Math.min(from, lane.at);
    }
    if (from === Number.POSITIVE_INFINITY) return;
    if (from >= this.#head.next) {
      this.#join();
      return;
    }
    const pass = this.#passFrom(from);
    this.#catchUp = pass;
    this.#running[1] = this.#run(pass);
  }

  /** Whether to go back for a parked lane. */
  #isWanted(lane: Lane): boolean {
    return lane.isReady || (lane.at <= this.#dropThrough && !lane.isConnected);
  }

  /** Lanes whose next record the head has still to come to go on with it. */
  #join(): void {
    for (const lane of this.#options.lanes()) {
      const isBehind = lane.pass === undefined && lane.isReady && lane.at >= this.#head.next;
      if (isBehind || (this.#catchUp && lane.pass === this.#catchUp)) lane.pass = this.#head;
    }
  }

  async #run(pass: Pass): Promise<void> {
    while (!this.#isStopped && !this.#hasCaughtUp(pass) && !this.#isDone(pass)) {
      const block = await pass.reader.next();
      if (!block) return;
      if (this.#isStopped || this.#hasCaughtUp(pass)) break;
      for (const record of block.records()) {
        if (record.seq < pass.next) continue;
        if (this.#hasCaughtUp(pass)) break;
        await this.#deal(pass, record);
        if (this.#isStopped) return;
        pass.next = record.seq + 1;
      }
      // What was damaged has no records.
      if (!this.#hasCaughtUp(pass)) pass.next = Math.max(pass.next, block.lastSeq + 1);
      this.#settle();
      if (pass === this.#head) this.#options.passed(block);
    }
    if (pass === this.#head) return;
    if (this.#hasCaughtUp(pass)) this.#join();
    this.#moveOn(pass);
    pass.reader.close();
    // One that found nothing to do is not followed at once by another.
    if (!pass.isOfUse) await sleep(POLL_MS);
    this.#catchUp = undefined;
    this.changed();
  }

  /** It went back for what was given up alone, and nobody goes on with it. */
  #isDone(pass: Pass): boolean {
    if (pass === this.#head || pass.next <= this.#dropThrough) return false;
    for (const lane of this.#options.lanes()) {
      if (lane.pass === pass) return false;
      if (lane.pass !== undefined || !lane.isReady) continue;
      if (lane.isExact ? lane.at >= pass.next : this.#hasSeen(pass, lane)) return false;
    }
    return true;
  }

  /** Lanes of which it saw that nothing more is given up need not be gone back for. */
  #moveOn(pass: Pass): void {
    const seen = Math.min(pass.next, this.#dropThrough + 1);
    for (const lane of this.#options.lanes()) {
      if (lane.pass !== undefined || lane.isExact || lane.at >= seen) continue;
      if (this.#hasSeen(pass, lane)) lane.at = seen;
    }
  }

  #hasCaughtUp(pass: Pass): boolean {
    return pass !== this.#head && pass.next >= this.#head.next;
  }

  async #deal(pass: Pass, record: LogRecord): Promise<void> {
    const lane = this.#options.laneOf(record);
    if (!lane || record.seq < lane.at) return;
    if (lane.pass === undefined && !this.#adopts(pass, lane, record)) return;
    if (lane.pass !== pass) return;
    if (lane.accepts(record)) this.#give(pass, lane, record);
    else if (lane.pass === pass) await this.#wait(pass, lane, record);
  }

  /** Whether a parked lane goes on here, with this pass. */
  #adopts(pass: Pass, lane: Lane, record: LogRecord): boolean {
    const isNext = lane.isExact ? record.seq === lane.at : this.#hasSeen(pass, lane);
    if (!isNext) return false;
    if (lane.hasRoom) lane.pass = pass;
    else if (record.seq <= this.#dropThrough && !lane.isConnected) {
      lane.skip(record);
      pass.isOfUse = true;
      // This pass, or a later one, comes to what follows.
      lane.parkedAt = pass.begun - 1 / 2;
    } else lane.park(record.seq, true);
    return lane.pass === pass;
  }

  /** A pass that ran already when the lane was parked may have gone by its place. */
  #hasSeen(pass: Pass, lane: Lane): boolean {
    return pass.begun > lane.parkedAt && pass.start <= lane.at;
  }

  #give(pass: Pass, lane: Lane, record: LogRecord): void {
    pass.isOfUse = true;
    lane.take(record);
    this.#touched.add(lane);
  }

  /** Waits for a lane, as long as that is worth more than going on without it. */
  async #wait(pass: Pass, lane: Lane, record: LogRecord): Promise<void> {
    this.#settle();
    const since = this.#options.now();
    while (!this.#isStopped && lane.pass === pass && !lane.isFinished) {
      if (lane.accepts(record)) {
        this.#give(pass, lane, record);
        return;
      }
      if (lane.pass !== pass) return;
      if (record.seq <= this.#dropThrough && !lane.isConnected) {
        lane.skip(record);
        return;
      }
      const waited = this.#options.now() - since;
      if (this.#isPatienceOver(pass, lane, waited)) {
        lane.park(record.seq, true);
        return;
      }
      await this.#signal.wait(waited < PATIENCE_MS ? PATIENCE_MS : POLL_MS);
    }
  }

  #isPatienceOver(pass: Pass, lane: Lane, waitedMs: number): boolean {
    if (pass !== this.#head && !lane.isConnected) return true;
    if (waitedMs < PATIENCE_MS) return false;
    if (pass === this.#head && !this.#options.isReachable()) return false;
    if (waitedMs >= PATIENCE_ALONE_MS) return true;
    for (const other of this.#options.lanes()) if (other.isHungry) return true;
    return false;
  }

  #settle(): void {
    for (const lane of this.#touched) lane.settle();
    this.#touched.clear();
  }
}
