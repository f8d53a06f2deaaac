import { HEADER_BYTES } from '../wire/layout.js';
import { BlockBuilder } from './block-builder.js';
import type { BlockPool } from './block-pool.js';
import { spanOf } from './disk-blocks.js';
import { BLOCK_HEADER_BYTES, RecordKind } from './layout.js';
import { LiveBlock } from './live-block.js';
import { walkRecords } from './records.js';
import { type Amount, encodeEnd, encodeOpen, type SpoolSession } from './session-record.js';
import { secondsOf } from './stream-totals.js';
import type { SessionSpan } from './types.js';

/** A session that the spool knows. */
export interface SessionState {
  readonly ref: number;
  readonly session: SpoolSession;
  /** All that was appended, its meta header included. */
  readonly total: Amount;
  /** What of it is in custody. */
  readonly custody: Amount;
  /** Sequence number of its END; 0 while it goes on. */
  endSeq: number;
  /** What the block at hand has of it. */
  span: SessionSpan | undefined;
}

/** Puts what is appended together to blocks, and knows the sessions that go on. */
export class Assembler {
  readonly sessions = new Map<number, SessionState>();
  readonly #finished: (block: LiveBlock) => void;
  readonly #now: () => number;
  readonly #pool: BlockPool;
  #builder: BlockBuilder | undefined;
  #spans: SessionSpan[] = [];
  #since = 0;
  readonly #firstSeq: number;
  #nextSeq: number;
  #nextRef: number;

  /**
   * @param finished called with each finished block, in order
   * @param now ms of a clock that never goes back
   */
  constructor(
    first: { seq: number; ref: number },
    pool: BlockPool,
    finished: (block: LiveBlock) => void,
    now: () => number,
  ) {
    this.#firstSeq = first.seq;
    this.#nextSeq = first.seq;
    this.#nextRef = first.ref;
    this.#pool = pool;
    this.#finished = finished;
    this.#now = now;
  }

  /** Nothing was appended yet. */
  get isUntouched(): boolean {
    return this.#nextSeq === this.#firstSeq;
  }

  /** Of the last record that was appended. */
  get lastSeq(): number {
    return this.#nextSeq - 1;
  }

  get lastRef(): number {
    return this.#nextRef - 1;
  }

  /** Of the block that is being filled; 0: none is. */
  get pendingBytes(): number {
    return this.#builder?.usedBytes ?? 0;
  }

  /** First sequence number of the block that is being filled, or of the next one. */
  get pendingSeq(): number {
    return this.#builder?.firstSeq ?? this.#nextSeq;
  }

  open(session: SpoolSession): SessionState {
    const ref = this.#nextRef;
    this.#nextRef += 1;
    const state = this.resume(ref, session, { frames: 0, bytes: 0 });
    this.#add(state, RecordKind.OPEN, encodeOpen({ session, before: { ...state.total } }));
    state.span!.opens = true;
    if (session.meta) count(state, session.meta.frames, session.meta.bytes.length);
    return state;
  }

  /** A session of an earlier run, of which no END is known. */
  resume(ref: number, session: SpoolSession, total: Amount): SessionState {
    const state = {
      ref,
      session,
      total,
      custody: { ...total },
      endSeq: 0,
      span: undefined,
    };
    this.sessions.set(ref, state);
    return state;
  }

  /** @returns the frame's sequence number */
  frame(ref: number, memory: Uint8Array, address: number, bytes: number): number {
    const state = this.#live(ref);
    const seq = this.#add(state, RecordKind.FRAME, memory, address, bytes);
    count(state, 1, bytes - HEADER_BYTES);
    const span = state.span!;
    const seconds = secondsOf(memory, address);
    if (seconds < span.firstTime) span.firstTime = seconds;
    if (seconds > span.lastTime) span.lastTime = seconds;
    return seq;
  }

  end(ref: number, code: string, detail: string): number {
    const state = this.#live(ref);
    const seq = this.#add(state, RecordKind.END, encodeEnd({ code, detail, total: state.total }));
    state.span!.ends = true;
    state.endSeq = seq;
    return seq;
  }

  /** Finishes the block that is being filled, if there is one. */
  finish(): void {
    const builder = this.#builder;
    if (builder === undefined) return;
    this.#builder = undefined;
    const bytes = builder.finish();
    const { memory, isLoose } = builder;
    if (isLoose) this.#pool.give(memory);
    const sessions = this.#spans;
    this.#spans = [];
    for (const { ref } of sessions) this.sessions.get(ref)!.span = undefined;
    const { firstSeq, records: recordCount } = builder;
    const records = () =>
      walkRecords(bytes.subarray(BLOCK_HEADER_BYTES), recordCount, firstSeq, sessions);
    const block = { firstSeq, count: recordCount, bytes, sessions };
    const pooled = isLoose ? undefined : { memory, pool: this.#pool };
    this.#finished(new LiveBlock(block, this.#since, records, pooled));
  }

  #live(ref: number): SessionState {
    const state = this.sessions.get(ref);
    if (state === undefined || state.endSeq !== 0) {
      throw new TypeError(`session ${ref} of the spool is not open`);
    }
    return state;
  }

  #add(
    state: SessionState,
    kind: RecordKind,
    source: Uint8Array,
    at = 0,
    bytes = source.length,
  ): number {
    if (this.#builder?.fits(bytes) === false) this.finish();
    if (this.#builder === undefined) this.#begin(bytes);
    if (state.span === undefined) {
      state.span = spanOf(state.ref, state);
      this.#spans.push(state.span);
    }
    this.#nextSeq += 1;
    return this.#builder!.add(kind, 0, state.ref, source, at, bytes);
  }

  #begin(bytes: number): void {
    const memory = this.#pool.take(BlockBuilder.bytesFor(bytes));
    this.#builder = new BlockBuilder(this.#nextSeq, memory);
    this.#since = this.#now();
  }
}

function count(state: SessionState, frames: number, bytes: number): void {
  state.total.frames += frames;
  state.total.bytes += bytes;
  const span = state.span!;
  span.frames += frames;
  span.bytes += bytes;
}
