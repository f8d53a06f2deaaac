import { join } from 'node:path';
import { GatewayError, messageOf } from '../errors.js';
import { checkSpace } from '../storage/disk-space.js';
import { type Environment, hasEnvironment, openEnvironment } from '../storage/environment.js';
import { isSensorUuid } from '../wire/uuid.js';
import { addSession, noTotals, type SensorTotals, sum } from './amounts.js';
import { atOnce, STEP_ITEMS, type Steps } from './steps.js';
import type { Amount, SessionTotals } from './totals.js';

/**
 * The ledger's totals in LMDB, in `<dataDir>/ledger/` beside the workers' journals; the primary is
 * the only writer. One database; what an entry is stands before its key's first slash:
 *
 *     format                  number, FORMAT
 *     totals/<uuid>/<type>    SensorTotals
 *     folded/<session id>     number: the session was added, as the n-th
 *     order/<n>               session id: for forgetting the oldest of them
 *     next                    number: the next n
 *     refused/<reason>        number of connections
 *     deaths                  number of workers that died
 *     recoveries              the last RecoveryEvents, newest last
 *     spoiled                 Spoiled: sessions whose figures cannot be added
 */
const FORMAT = 1;
const MAP_BYTES = 256 * 1024 * 1024;

/**
 * Sessions remembered as folded, so that none is added twice. One is asked for again only while a
 * worker's journal still holds its row: for the moment between its fold and the worker's hearing
 * of it, and after a crash in that moment, for as long as nothing is folded in between.
 */
export const FOLDED_KEPT = 100_000;
/** Sessions added in one batch: what one turn of the primary's event loop may take. */
const FOLD_BATCH_MAX = 500;
/** How long refused connections are counted in memory before they are written. */
const REFUSALS_FLUSH_MS = 1_000;
/** Reasons kept apart; more are counted as `other`. They are few: a bound against mistakes. */
const REASONS_MAX = 64;
export const RECOVERIES_KEPT = 100;
const SPOILED_REASONS_KEPT = 10;
const NONE_SPOILED: Spoiled = { sessions: 0, reasons: [] };

/**
 * A process died, and its journal was recovered. Where that took several times, because files could
 * not be repaired at once, each adds what it settled.
 */
export interface RecoveryEvent {
  /** Id of the journal: a death is counted once. */
  id: string;
  /** Milliseconds since the epoch. */
  at: number;
  worker: string;
  sessions: number;
  /** Lost to at least one sink. */
  lost: Amount;
}

export interface LedgerContents {
  /** By sensor, then type. */
  totals: SensorTotals[];
  /** Those sessions asked for that were added; of the last FOLDED_KEPT sessions. */
  folded: Set<string>;
  /** Connections refused before they belonged to a session, by reason. */
  refusals: Record<string, number>;
  workerDeaths: number;
  recoveries: RecoveryEvent[];
  spoiled: Spoiled;
}

/** Sessions whose figures were none, so that they are in no total. */
export interface Spoiled {
  sessions: number;
  /** Of the last of them. */
  reasons: string[];
}

export interface LedgerOptions {
  /** Default false. A reader needs a ledger that a writer has made. */
  readOnly?: boolean;
}

/** Whether a data directory has a ledger. */
export function hasLedger(dataDir: string): boolean {
  return hasEnvironment(join(dataDir, 'ledger'));
}

/**
 * Opens the ledger of a data directory; a writer creates what is missing.
 * @throws GatewayError D4GW_E_LEDGER
 */
export function openLedger(dataDir: string, options: LedgerOptions = {}): LedgerStore {
  const readOnly = options.readOnly ?? false;
  const directory = join(dataDir, 'ledger');
  if (readOnly && !hasLedger(dataDir)) {
    throw new GatewayError(
      'D4GW_E_LEDGER',
      `no ledger in ${directory}: start the gateway first, or name another data directory`,
    );
  }
  let db: Environment;
  try {
    db = openEnvironment(directory, { readOnly, format: FORMAT, mapBytes: MAP_BYTES });
  } catch (error) {
    throw new GatewayError(
      'D4GW_E_LEDGER',
      `cannot open the ledger in ${directory}: ${messageOf(error)}`,
      { cause: error },
    );
  }
  return new LedgerStore(directory, db);
}

interface Fold {
  totals: readonly SessionTotals[];
  event: RecoveryEvent | undefined;
  resolve: () => void;
  reject: (error: Error) => void;
}

export class LedgerStore {
  readonly #directory: string;
  readonly #db: Environment;
  readonly #folds: Fold[] = [];
  #refusals = new Map<string, number>();
  #refusalsTimer: NodeJS.Timeout | undefined;
  #pumping: Promise<void> | undefined;
  #working = false;
  #closed: Promise<void> | undefined;

  constructor(directory: string, db: Environment) {
    this.#directory = directory;
    this.#db = db;
  }

  /**
   * Adds ended sessions to the totals of their sensor and type, each id once. On disk when it
   * resolves; nothing of a fold that rejects may be taken as added: fold it again. A session whose
   * figures are none spoils no totals: it is noted as such.
   * @param event the recovery that these sessions come from
   */
  async fold(totals: readonly SessionTotals[], event?: RecoveryEvent): Promise<void> {
    if (this.#closed) throw new GatewayError('D4GW_E_LEDGER', 'the ledger is closed');
    const parts: Promise<void>[] = [];
    for (let first = 0; first < Math.max(totals.length, 1); first += FOLD_BATCH_MAX) {
      const part = totals.slice(first, first + FOLD_BATCH_MAX);
      const last = first + FOLD_BATCH_MAX >= totals.length;
      parts.push(
        new Promise((resolve, reject) => {
          this.#folds.push({ totals: part, event: last ? event : undefined, resolve, reject });
        }),
      );
    }
    this.#pump();
    await Promise.all(parts);
  }

  /** Counts connections that were refused before they belonged to a session. */
  refuse(reason: string, connections = 1): void {
    const known = this.#refusals.has(reason) || this.#refusals.size < REASONS_MAX;
    const key = known ? reason : 'other';
    this.#refusals.set(key, (this.#refusals.get(key) ?? 0) + connections);
    if (this.#closed) return;
    this.#refusalsTimer ??= setTimeout(() => this.#pump(), REFUSALS_FLUSH_MS).unref();
  }

  /**
   * All that the ledger holds on disk, of one moment.
   * @param ids sessions of which to tell whether the totals have them
   */
  read(ids: readonly string[] = []): LedgerContents {
    return atOnce(this.reading(ids));
  }

  /** As `read`, in steps; of the moment in which it began. */
  *reading(ids: readonly string[] = []): Steps<LedgerContents> {
    this.#db.resetReadTxn();
    const transaction = this.#db.useReadTransaction();
    const get = (key: string) => this.#db.get(key, { transaction });
    const entries = (kind: string) =>
      // '0' follows '/'.
      this.#db.getRange({ start: `${kind}/`, end: `${kind}0`, transaction });
    try {
      const refusals: Record<string, number> = {};
      for (const { key, value } of entries('refused')) {
        refusals[key.slice('refused/'.length)] = value as number;
      }
      const totals: SensorTotals[] = [];
      for (const { value } of entries('totals')) {
        if (totals.push(value as SensorTotals) % STEP_ITEMS === 0) yield;
      }
      const folded = new Set<string>();
      for (const [index, id] of ids.entries()) {
        if (get(`folded/${id}`) !== undefined) folded.add(id);
        if (index % (4 * STEP_ITEMS) === 0) yield;
      }
      return {
        totals,
        folded,
        refusals,
        workerDeaths: (get('deaths') as number | undefined) ?? 0,
        spoiled: (get('spoiled') as Spoiled | undefined) ?? NONE_SPOILED,
        recoveries: (get('recoveries') as RecoveryEvent[] | undefined) ?? [],
      };
    } finally {
      transaction.done();
    }
  }

  /** Writes what is left and closes. */
  close(): Promise<void> {
    this.#closed ??= this.#finish();
    return this.#closed;
  }

  async #finish(): Promise<void> {
    clearTimeout(this.#refusalsTimer);
    await this.#pumping;
    if (this.#refusals.size > 0) this.#writeLast();
    await this.#db.close();
  }

  #writeLast(): void {
    try {
      this.#write();
    } catch {
      // A full disk at the end: the numbers of refused connections since the last write are gone.
    }
  }

  #pump(): void {
    if (this.#working) return;
    this.#working = true;
    this.#pumping = this.#work();
  }

  async #work(): Promise<void> {
    clearTimeout(this.#refusalsTimer);
    this.#refusalsTimer = undefined;
    do {
      // The event loop turns between two commits, each of which waits for the disk.
      await new Promise((resolve) => setImmediate(resolve));
      const folds = this.#take();
      try {
        this.#write(folds);
        for (const fold of folds) fold.resolve();
      } catch (error) {
        const failed = new GatewayError(
          'D4GW_E_LEDGER',
          `the ledger took nothing: ${messageOf(error)}`,
          { cause: error },
        );
        for (const fold of folds) fold.reject(failed);
      }
    } while (this.#folds.length > 0);
    this.#working = false;
  }

  /** The folds of the next batch: at least one, together about FOLD_BATCH_MAX sessions. */
  #take(): Fold[] {
    const folds: Fold[] = [];
    let sessions = 0;
    while (this.#folds.length > 0 && sessions < FOLD_BATCH_MAX) {
      const fold = this.#folds.shift()!;
      sessions += fold.totals.length;
      folds.push(fold);
    }
    return folds;
  }

  /** One transaction: all of it, or nothing where it throws. */
  #write(folds: readonly Fold[] = []): void {
    const refusals = this.#refusals;
    this.#refusals = new Map();
    try {
      checkSpace(this.#directory);
      this.#db.transactionSync(() => {
        for (const { totals, event } of folds) {
          for (const session of totals) this.#fold(session);
          if (event) this.#record(event);
        }
        for (const [reason, count] of refusals) this.#count(`refused/${reason}`, count);
        this.#forget();
      });
    } catch (error) {
      for (const [reason, count] of refusals) this.refuse(reason, count);
      throw error;
    }
  }

  #fold(session: SessionTotals): void {
    const marker = `folded/${session.id}`;
    if (this.#db.get(marker) !== undefined) return;
    const next = this.#count('next', 1);
    void this.#db.put(marker, next);
    void this.#db.put(orderKey(next), session.id);
    const wrong = wrongIn(session);
    if (wrong) {
      this.#spoiled(wrong);
      return;
    }
    const key = `totals/${session.sensor}/${String(session.type).padStart(3, '0')}`;
    const known = this.#db.get(key) as SensorTotals | undefined;
    const total = known ?? noTotals(session.sensor, session.type);
    addSession(total, session, session.end);
    void this.#db.put(key, total);
  }

  #spoiled(reason: string): void {
    const known = (this.#db.get('spoiled') as Spoiled | undefined) ?? NONE_SPOILED;
    const reasons = [...known.reasons, reason].slice(-SPOILED_REASONS_KEPT);
    void this.#db.put('spoiled', { sessions: known.sessions + 1, reasons });
  }

  #record(event: RecoveryEvent): void {
    const events = (this.#db.get('recoveries') as RecoveryEvent[] | undefined) ?? [];
    const known = events.find(({ id }) => id === event.id);
    if (known) {
      const sessions = known.sessions + event.sessions;
      const both = { ...known, sessions, lost: sum([known.lost, event.lost]) };
      void this.#db.put(
        'recoveries',
        events.map((one) => (one === known ? both : one)),
      );
      return;
    }
    void this.#db.put('recoveries', [...events, event].slice(-RECOVERIES_KEPT));
    this.#count('deaths', 1);
  }

  /** Adds to a number, and returns what it was. */
  #count(key: string, more: number): number {
    const before = (this.#db.get(key) as number | undefined) ?? 0;
    void this.#db.put(key, before + more);
    return before;
  }

  #forget(): void {
    const end = orderKey(
      Math.max(0, ((this.#db.get('next') as number | undefined) ?? 0) - FOLDED_KEPT),
    );
    const oldest = this.#db.getRange({ start: 'order/', end, limit: 2 * FOLD_BATCH_MAX });
    for (const { key, value } of [...oldest]) {
      void this.#db.remove(key);
      void this.#db.remove(`folded/${value}`);
    }
  }
}

function orderKey(number: number): string {
  return `order/${String(number).padStart(16, '0')}`;
}

/** Why a session's totals cannot be added: a figure that is none would spoil all for good. */
function wrongIn(session: SessionTotals): string | undefined {
  const { id, sensor, type, received, truncated } = session;
  if (!isSensorUuid(sensor)) return `session ${id} is of no sensor: ${sensor}`;
  if (!Number.isInteger(type)) return `session ${id} is of no type: ${type}`;
  const amounts = [session.delivered, session.rejected, session.lost].flatMap(
    Object.values<Amount>,
  );
  const figures = [received, ...amounts].flatMap(({ frames, bytes }) => [frames, bytes]);
  const wrong = [...figures, truncated.count, truncated.bytes].find(
    (figure) => !Number.isSafeInteger(figure) || figure < 0,
  );
  return wrong === undefined ? undefined : `session ${id} counts ${wrong}: no number of anything`;
}
