import { join } from 'node:path';
import { GatewayError, messageOf } from '../errors.js';
import { checkSpace, hasSpace } from '../storage/disk-space.js';
import { type Environment, hasEnvironment, openEnvironment } from '../storage/environment.js';
import type { Amount } from './session-record.js';

const FORMAT = 1;
/** Address space, not memory or disk. */
const MAP_BYTES = 1024 ** 3;
/** Of the disk's reserve, what a commit leaves that makes room. */
const RELEASE_SHARE = 1 / 4;
/** Runs after which what was held of a dead run's sessions is forgotten. */
const RUNS_KEPT = 8;

/**
 * What became of the frames of one sensor and type, by name:
 *
 *     accepted   came into the spool's custody
 *     sent       went on, each once
 *     dropped/*  given up, by reason
 *
 * and `in flight = accepted - sent - all dropped`. Any other name (`resent`, `recut`, `filtered/*`) is
 * a figure beside that.
 */
export type StreamAmounts = Record<string, Amount>;

export interface AccountContents {
  /** All up to it is done with. */
  cursor: number;
  /** All up to it is counted as accepted. */
  acceptedSeq: number;
  /** Number of times that the spool was opened. */
  run: number;
  streams: readonly { sensor: string; type: number; amounts: StreamAmounts }[];
}

/** What is committed of a spool's position, beside the amounts. */
export interface Position {
  cursor: number;
  acceptedSeq: number;
  /** No sequence number up to it is given out again, nor a ref. */
  reservedSeq: number;
  reservedRef: number;
}

/** What of a session is in custody, of a run of the spool. */
interface Held extends Amount {
  run: number;
}

/**
 * A spool's account: its cursor and what became of its frames, in LMDB and one transaction. One process
 * writes it; others may read it meanwhile.
 */
export class SpoolAccount {
  readonly #directory: string;
  readonly #db: Environment;
  readonly #totals: StreamAmounts = {};
  readonly #streams = new Map<string, StreamAmounts>();
  readonly #dirty = new Set<string>();
  readonly run: number;
  /** As the last run left it. */
  readonly found: Position;

  private constructor(directory: string, db: Environment) {
    this.#directory = directory;
    this.#db = db;
    for (const [key, amounts] of entries(db, 'amounts')) {
      this.#streams.set(key, amounts as StreamAmounts);
      for (const [name, amount] of Object.entries(amounts as StreamAmounts)) {
        this.#total(name, amount.frames, amount.bytes);
      }
    }
    const position = db.get('position') as Position | undefined;
    this.found = position ?? { cursor: 0, acceptedSeq: 0, reservedSeq: 0, reservedRef: 0 };
    this.run = ((db.get('run') as number | undefined) ?? 0) + 1;
  }

  /** @throws GatewayError D4GW_E_SPOOL */
  static open(spoolDir: string): SpoolAccount {
    const directory = accountDirectory(spoolDir);
    try {
      return new SpoolAccount(directory, open(directory, false));
    } catch (error) {
      throw accountError(directory, error);
    }
  }

  /** Adds to one figure of a stream; on disk after the next commit. */
  add(sensor: string, type: number, name: string, frames: number, bytes: number): void {
    const key = streamKey(sensor, type);
    let amounts = this.#streams.get(key);
    if (amounts === undefined) {
      amounts = {};
      this.#streams.set(key, amounts);
    }
    amounts[name] ??= { frames: 0, bytes: 0 };
    amounts[name].frames += frames;
    amounts[name].bytes += bytes;
    this.#dirty.add(key);
    this.#total(name, frames, bytes);
  }

  #total(name: string, frames: number, bytes: number): void {
    this.#totals[name] ??= { frames: 0, bytes: 0 };
    this.#totals[name].frames += frames;
    this.#totals[name].bytes += bytes;
  }

  /** Of all streams; not to be changed. */
  get totals(): Readonly<StreamAmounts> {
    return this.#totals;
  }

  /** Every stream's figures; not to be changed. */
  get streams(): AccountContents['streams'] {
    return Array.from(this.#streams, ([key, amounts]) => ({ ...streamOf(key), amounts }));
  }

  inFlight(sensor: string, type: number): Amount {
    return inFlightOf(this.#streams.get(streamKey(sensor, type)) ?? {});
  }

  /** Sessions that no END was accepted of: their OPENs, by ref. */
  openSessions(): Map<number, Buffer> {
    return new Map(
      entries(this.#db, 'open').map(([ref, data]) => [Number(ref), Buffer.from(data as Buffer)]),
    );
  }

  /** What is known of one session's custody. */
  held(id: string): Amount | undefined {
    return this.#db.get(`held/${id}`) as Held | undefined;
  }

  /**
   * Writes all that has changed, in one transaction.
   * @param changes.held custody of sessions by id; undefined: nobody will ask any more
   * @param changes.open OPEN records by ref; undefined: its END is in custody
   * @param changes.isReleasing segments are removed after it: it may take of the disk's reserve
   * @throws Error where the disk refuses: nothing of it is written, and it may be given again
   */
  commit(
    position: Position,
    changes: {
      held: ReadonlyMap<string, Readonly<Amount> | undefined>;
      open: ReadonlyMap<number, Buffer | undefined>;
      isReleasing?: boolean;
    } = { held: new Map(), open: new Map() },
  ): void {
    checkSpace(this.#directory, changes.isReleasing ? RELEASE_SHARE : 1);
    const db = this.#db;
    db.transactionSync(() => {
      void db.put('position', position);
      void db.put('run', this.run);
      for (const key of this.#dirty) void db.put(`amounts/${key}`, this.#streams.get(key)!);
      for (const [id, held] of changes.held) {
        if (held === undefined) void db.remove(`held/${id}`);
        else void db.put(`held/${id}`, { frames: held.frames, bytes: held.bytes, run: this.run });
      }
      for (const [ref, open] of changes.open) {
        if (open === undefined) void db.remove(`open/${ref}`);
        else void db.put(`open/${ref}`, open);
      }
    });
    this.#dirty.clear();
  }

  /** Not even a commit that makes room would fit. */
  lacksRoom(): boolean {
    return !hasSpace(this.#directory, RELEASE_SHARE);
  }

  /** Forgets sessions of runs so long ago that nobody asks for them any more. */
  forgetOldRuns(): void {
    const old = entries(this.#db, 'held').filter(
      ([, held]) => (held as Held).run <= this.run - RUNS_KEPT,
    );
    if (old.length === 0) return;
    checkSpace(this.#directory);
    this.#db.transactionSync(() => {
      for (const [id] of old) void this.#db.remove(`held/${id}`);
    });
  }

  close(): Promise<void> {
    return this.#db.close();
  }
}

/** Whether a spool's account is there. */
export function hasAccount(spoolDir: string): boolean {
  return hasEnvironment(accountDirectory(spoolDir));
}

/**
 * Reads the account of a spool that may be in use.
 * @param ids sessions whose custody is asked for
 * @throws GatewayError D4GW_E_SPOOL
 */
export async function readAccount(
  spoolDir: string,
  ids: readonly string[] = [],
): Promise<AccountContents & { held: Map<string, Amount> }> {
  const directory = accountDirectory(spoolDir);
  let db: Environment | undefined;
  try {
    db = open(directory, true);
    const position = (db.get('position') as Position | undefined) ?? { cursor: 0, acceptedSeq: 0 };
    const held = new Map<string, Amount>();
    for (const id of ids) {
      const found = db.get(`held/${id}`) as Held | undefined;
      if (found) held.set(id, { frames: found.frames, bytes: found.bytes });
    }
    return {
      cursor: position.cursor,
      acceptedSeq: position.acceptedSeq,
      run: (db.get('run') as number | undefined) ?? 0,
      streams: entries(db, 'amounts').map(([key, amounts]) => ({
        ...streamOf(key),
        amounts: amounts as StreamAmounts,
      })),
      held,
    };
  } catch (error) {
    throw accountError(directory, error);
  } finally {
    await db?.close();
  }
}

/** accepted - sent - dropped. */
export function inFlightOf(amounts: StreamAmounts): Amount {
  const left = { frames: 0, bytes: 0 };
  for (const [name, { frames, bytes }] of Object.entries(amounts)) {
    const sign = name === 'accepted' ? 1 : name === 'sent' || name.startsWith('dropped/') ? -1 : 0;
    left.frames += sign * frames;
    left.bytes += sign * bytes;
  }
  return left;
}

function accountDirectory(spoolDir: string): string {
  return join(spoolDir, 'account');
}

function open(directory: string, readOnly: boolean): Environment {
  const settings = { readOnly, format: FORMAT, mapBytes: MAP_BYTES, isLateToDisk: true };
  return openEnvironment(directory, settings);
}

function accountError(directory: string, cause: unknown): GatewayError {
  const text = `cannot use the account in ${directory}: ${messageOf(cause)}`;
  return new GatewayError('D4GW_E_SPOOL', text, { cause });
}

function entries(db: Environment, kind: string): [string, unknown][] {
  // '0' follows '/'.
  const range = db.getRange({ start: `${kind}/`, end: `${kind}0` });
  return Array.from(range, ({ key, value }) => [key.slice(kind.length + 1), value]);
}

export function streamKey(sensor: string, type: number): string {
  return `${sensor}/${type}`;
}

export function streamOf(key: string): { sensor: string; type: number } {
  const slash = key.lastIndexOf('/');
  return { sensor: key.slice(0, slash), type: Number(key.slice(slash + 1)) };
}
