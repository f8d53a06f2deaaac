import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { GatewayError, messageOf } from '../../errors.js';
import { checkSpace } from '../../storage/disk-space.js';
import { type Environment, hasEnvironment, openEnvironment } from '../../storage/environment.js';
import type { StreamForm } from '../../streams/boundary.js';
import type { ConnectionCounts } from './connections.js';

export type { ConnectionCounts };

import type { ResumePoint } from './continuation.js';

const FORMAT = 1;
/** Address space, not memory or disk. */
const MAP_BYTES = 64 * 1024 ** 3;
const SEQ_DIGITS = 16;

interface StoredPoint {
  fromSeq: number;
  skip: number;
  prelude: Buffer[];
  form: StreamForm;
  frames: number;
  bytes: number;
}

/** How far the stream of one session has come, as it is on the disk. */
export interface StreamState {
  point: ResumePoint;
  /** All of it was sent: nothing of it is to be sent again. */
  isFinished: boolean;
}

/**
 * Where each stream of a spool goes on, and frames that are kept aside from the log so that a quiet
 * stream does not hold all others' records in it. In LMDB, beside the segments:
 *
 *     state/<session>        StoredPoint, or null where the session is finished
 *     aside/<session>/<seq>  a frame, header and payload
 *     counts                 ConnectionCounts
 *
 * It is written before the log's cursor moves on: what is found here was true then, and what is
 * needed from there on is in the log or aside.
 */
export class Progress {
  readonly #directory: string;
  readonly #db: Environment;
  readonly #before: ConnectionCounts;
  #counts: ConnectionCounts;

  /** @throws GatewayError D4GW_E_SPOOL */
  constructor(spoolDir: string) {
    this.#directory = join(spoolDir, 'streams');
    try {
      this.#db = openEnvironment(this.#directory, {
        readOnly: false,
        format: FORMAT,
        mapBytes: MAP_BYTES,
        isLateToDisk: true,
      });
      this.#before = countsOf(this.#db);
      this.#counts = this.#before;
    } catch (cause) {
      const text = `cannot use the streams in ${this.#directory}: ${messageOf(cause)}`;
      throw new GatewayError('D4GW_E_SPOOL', text, { cause });
    }
  }

  state(session: string): StreamState | undefined {
    const stored = this.#db.get(`state/${session}`) as StoredPoint | null | undefined;
    if (stored === undefined) return undefined;
    const point = stored && {
      ...stored,
      prelude: stored.prelude.map((block) => Buffer.from(block)),
      preludeCount: stored.prelude.length,
    };
    return point
      ? { point, isFinished: false }
      : {
          point: { ...EMPTY, fromSeq: Number.POSITIVE_INFINITY },
          isFinished: true,
        };
  }

  /** The last frame of a session that is kept aside; -1: none. */
  asideSeq(session: string): number {
    const range = { start: `aside/${session}0`, end: `aside/${session}/`, reverse: true, limit: 1 };
    for (const key of this.#db.getKeys(range)) return seqOf(key);
    return -1;
  }

  /** A session's frames that are kept aside, from a number on. */
  *aside(session: string, fromSeq: number): Generator<{ seq: number; frame: Buffer }> {
    const start = asideKey(session, fromSeq);
    for (const { key, value } of this.#db.getRange({ start, end: `aside/${session}0` })) {
      yield { seq: seqOf(key), frame: Buffer.from(value as Uint8Array) };
    }
  }

  /**
   * Writes what has changed, in one transaction.
   * @param changes.points by session; 'finished', or undefined to forget all of it
   * @throws Error where the disk refuses: nothing of it is written
   */
  commit(changes: {
    points: ReadonlyMap<string, ResumePoint | 'finished' | undefined>;
    aside: readonly { session: string; seq: number; frame: Buffer }[];
    /** Of connections, since the start. */
    counts?: ConnectionCounts;
  }): void {
    const counts = this.#newCounts(changes.counts);
    if (changes.points.size === 0 && changes.aside.length === 0 && !counts) return;
    checkSpace(this.#directory);
    this.#db.transactionSync(() => {
      if (counts) void this.#db.put('counts', counts);
      for (const { session, seq, frame } of changes.aside) {
        void this.#db.put(asideKey(session, seq), frame);
      }
      for (const [session, point] of changes.points) this.#put(session, point);
    });
  }

  /** Those of earlier starts added; undefined where nothing is new. */
  #newCounts(now: ConnectionCounts | undefined): ConnectionCounts | undefined {
    if (!now) return undefined;
    const { opened, failed, lost } = this.#before;
    const total = {
      opened: opened + now.opened,
      failed: failed + now.failed,
      lost: lost + now.lost,
    };
    if (isDeepStrictEqual(total, this.#counts)) return undefined;
    this.#counts = total;
    return total;
  }

  close(): Promise<void> {
    return this.#db.close();
  }

  #put(session: string, point: ResumePoint | 'finished' | undefined): void {
    const isOver = point === undefined || point === 'finished';
    const end = isOver ? `aside/${session}0` : asideKey(session, point.fromSeq);
    for (const key of [...this.#db.getKeys({ start: `aside/${session}/`, end })]) {
      void this.#db.remove(key);
    }
    if (point === undefined) void this.#db.remove(`state/${session}`);
    else if (point === 'finished') void this.#db.put(`state/${session}`, null);
    else void this.#db.put(`state/${session}`, storedOf(point));
  }
}

/**
 * What a relay's connections came to, of a spool that may be in use; undefined where it has none.
 * @throws Error where it can't be read
 */
export async function readCounts(spoolDir: string): Promise<ConnectionCounts | undefined> {
  const directory = join(spoolDir, 'streams');
  if (!hasEnvironment(directory)) return undefined;
  const db = openEnvironment(directory, { readOnly: true, format: FORMAT, mapBytes: MAP_BYTES });
  try {
    return countsOf(db);
  } finally {
    await db.close();
  }
}

function countsOf(db: Environment): ConnectionCounts {
  const none = { opened: 0, failed: 0, lost: 0 };
  return (db.get('counts') as ConnectionCounts | undefined) ?? none;
}

const EMPTY = {
  skip: 0,
  prelude: [],
  preludeCount: 0,
  form: 'start',
  frames: 0,
  bytes: 0,
} as const;

function storedOf({ fromSeq, skip, form, frames, bytes, ...point }: ResumePoint): StoredPoint {
  const prelude = point.prelude.slice(0, point.preludeCount);
  return { fromSeq, skip, prelude, form, frames, bytes };
}

function asideKey(session: string, seq: number): string {
  return `aside/${session}/${String(seq).padStart(SEQ_DIGITS, '0')}`;
}

function seqOf(key: string): number {
  return Number(key.slice(key.lastIndexOf('/') + 1));
}
