import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { messageOf } from '../errors.js';
import { isAside, journalPath, listJournals, putAside } from '../ledger/journal-names.js';
import { readHeader } from '../ledger/journal-reader.js';
import { type RecoveryOptions, type RecoveryReport, recoverJournal } from '../ledger/recover.js';
import type { LedgerStore } from '../ledger/store.js';
import { repairPart } from '../sinks/files/repair.js';

/** A worker whose primary was killed ends by itself within this time. */
const ORPHAN_WAIT_MS = 8_000;
const ORPHAN_POLL_MS = 200;
/** How long after a ledger that takes nothing a recovery is tried again. */
const RETRY_MS = 5_000;
/** Journals kept for files that can't be repaired; of more, the oldest is settled as it is. */
export const KEPT_JOURNALS_MAX = 16;
/** How long a recovery that is given up may take to notice it. */
const ABORT_WAIT_MS = 1_000;
const ERRORS_LOGGED_MAX = 10;

/**
 * Recovers the journals of workers that have ended, one after the other, beside those that run:
 * files they had open are repaired, and what was received and is not on disk is counted as lost.
 */
export class Recoveries {
  readonly #dataDir: string;
  readonly #ledger: LedgerStore;
  readonly #log: Logger;
  readonly #stores: Pick<RecoveryOptions, 'holds' | 'links'>;
  readonly #abort = new AbortController();
  readonly #waiting: string[] = [];
  /** Oldest first. */
  readonly #kept: string[] = [];
  #running: Promise<void> | undefined;

  /** @param stores what sinks with stores of their own, and gateway links, hold of dead sessions */
  constructor(
    dataDir: string,
    ledger: LedgerStore,
    log: Logger,
    stores: Pick<RecoveryOptions, 'holds' | 'links'> = {},
  ) {
    this.#stores = stores;
    this.#dataDir = dataDir;
    this.#ledger = ledger;
    this.#log = log;
  }

  /**
   * Recovers what the last runs left. Workers of an earlier run that are still ending are waited
   * for.
   * @throws GatewayError D4GW_E_LEDGER where a journal's process goes on running, or the ledger
   *   can't be written: the journal remains
   */
  async start(): Promise<void> {
    const deadline = Date.now() + ORPHAN_WAIT_MS;
    for (const path of oldestFirst(listJournals(this.#dataDir))) {
      await this.#recoverOrphan(path, deadline);
    }
  }

  /**
   * A worker has ended: on return its journal is out of the way of the next, and waits for its
   * recovery.
   */
  workerEnded(worker: number): void {
    if (this.#abort.signal.aborted) return;
    let path: string | undefined;
    try {
      path = putAside(journalPath(this.#dataDir, worker));
    } catch (error) {
      // The next worker can't create its own, ends, and this is tried again.
      this.#log.error({ worker, error: messageOf(error) }, 'the journal cannot be put aside');
    }
    if (path === undefined) return;
    this.#waiting.push(path);
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
  }

  /**
   * Waits until nothing is left to recover; what is left after the time is given up, and settled
   * at the next start.
   * @returns whether all was recovered
   */
  async finish(timeoutMs: number): Promise<boolean> {
    await this.#ended(timeoutMs);
    if (!this.#running) return !this.#abort.signal.aborted;
    this.abort();
    this.#log.warn('a recovery is not finished: the next start goes on with it');
    await this.#ended(ABORT_WAIT_MS);
    return false;
  }

  /** Resolves once all that is known to have ended by now was recovered, or given up. */
  async settled(): Promise<void> {
    while (this.#running) await this.#running;
  }

  /** Gives up what is under way; nothing more is begun. */
  abort(): void {
    this.#abort.abort(new Error('the gateway stops'));
  }

  async #ended(timeoutMs: number): Promise<void> {
    const timer = new AbortController();
    const { signal } = timer;
    const given = sleep(timeoutMs, undefined, { signal }).catch(() => {});
    await Promise.race([this.#running, given]);
    timer.abort();
  }

  async #run(): Promise<void> {
    const { signal } = this.#abort;
    for (let path = this.#waiting.shift(); path; path = this.#waiting.shift()) {
      try {
        await this.#recover(path);
      } catch (error) {
        if (signal.aborted) return;
        const journal = path;
        this.#log.error({ journal, error: messageOf(error) }, 'recovery failed; it is tried again');
        this.#waiting.push(path);
        await sleep(RETRY_MS, undefined, { signal }).catch(() => {});
      }
      if (signal.aborted) return;
    }
  }

  async #recoverOrphan(path: string, deadline: number): Promise<void> {
    for (;;) {
      try {
        await this.#recover(path);
        return;
      } catch (error) {
        if (this.#abort.signal.aborted || Date.now() >= deadline) throw error;
        await sleep(ORPHAN_POLL_MS);
      }
    }
  }

  async #recover(path: string, more: Pick<RecoveryOptions, 'giveUp'> = {}): Promise<void> {
    const { signal } = this.#abort;
    const options = { ownerEnded: isAside(path), signal, ...this.#stores, ...more };
    const report = await recoverJournal(path, this.#ledger, repairPart, options);
    this.#tell(report);
    if (report.kept === undefined) return;
    this.#kept.push(report.kept);
    this.#log.warn(
      { journal: report.kept, files: report.unsettledFiles },
      'files could not be repaired: their journal is kept, and tried again at the next start',
    );
    while (this.#kept.length > KEPT_JOURNALS_MAX) {
      const journal = this.#kept.shift()!;
      this.#log.error({ journal }, 'too many journals are kept: the oldest is settled as it is');
      await this.#recover(journal, { giveUp: true });
    }
  }

  #tell({ repaired, errors, ...figures }: RecoveryReport): void {
    if (figures.sessions === 0 && repaired.length === 0 && errors.length === 0) return;
    const repairedFiles = repaired.length;
    const shown = errors.slice(0, ERRORS_LOGGED_MAX);
    if (errors.length > shown.length) shown.push(`and ${errors.length - shown.length} more`);
    this.#log.warn({ ...figures, errors: shown, repairedFiles }, 'recovered after a process ended');
  }
}

function oldestFirst(paths: readonly string[]): string[] {
  const createdAt = (path: string) => {
    try {
      return readHeader(path)?.createdAt ?? 0;
    } catch {
      // Its worker has just closed it; recovery tells what else it may be.
      return 0;
    }
  };
  return paths
    .map((path) => ({ path, at: createdAt(path) }))
    .sort((a, b) => a.at - b.at)
    .map(({ path }) => path);
}
