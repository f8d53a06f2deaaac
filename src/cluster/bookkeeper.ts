import type { Logger } from 'pino';
import { messageOf } from '../errors.js';
import type { LedgerStore } from '../ledger/store.js';
import type { SessionTotals } from '../ledger/totals.js';
import type { ActivityEvent, Registry } from '../registry/store.js';

/** How long facts are gathered before they are written in one transaction. */
const BATCH_MS = 20;
/** Facts of sensors that wait to be written; beyond it the oldest are let go, as a flood's. */
const ACTIVITY_WAITING_MAX = 10_000;
const RETRY_MS = 1_000;

/**
 * The primary's one writer to ledger and registry: gathers what the workers report and writes it in
 * batches. A session's totals are kept until the ledger has them; only then its worker is told.
 */
export class Bookkeeper {
  readonly #ledger: LedgerStore;
  readonly #registry: Registry;
  readonly #log: Logger;
  readonly #folded: (worker: number, ids: string[]) => void;
  #totals: { worker: number; totals: SessionTotals }[] = [];
  #activity: ActivityEvent[] = [];
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> | undefined;

  constructor(
    ledger: LedgerStore,
    registry: Registry,
    log: Logger,
    folded: (worker: number, ids: string[]) => void,
  ) {
    this.#ledger = ledger;
    this.#registry = registry;
    this.#log = log;
    this.#folded = folded;
  }

  ended(worker: number, totals: SessionTotals): void {
    this.#totals.push({ worker, totals });
    this.#soon();
  }

  /** A connection that was refused before it had a session: the ledger gathers those itself. */
  refused(reason: string): void {
    this.#ledger.refuse(reason);
  }

  /** A fact for a sensor's record. */
  activity(event: ActivityEvent): void {
    if (this.#activity.length >= ACTIVITY_WAITING_MAX) this.#activity.shift();
    this.#activity.push(event);
    this.#soon();
  }

  /** Resolves when all that was reported is written. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    await this.#writing;
    await this.#write();
  }

  #soon(): void {
    if (this.#timer || this.#writing) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#writing = this.#write().finally(() => {
        this.#writing = undefined;
        if (this.#totals.length + this.#activity.length > 0) this.#soon();
      });
    }, BATCH_MS);
  }

  async #write(): Promise<void> {
    const totals = this.#totals;
    const activity = this.#activity;
    this.#totals = [];
    this.#activity = [];
    try {
      if (totals.length > 0) await this.#ledger.fold(totals.map((entry) => entry.totals));
    } catch (error) {
      this.#log.error({ error: messageOf(error) }, 'the ledger could not be written; trying again');
      this.#totals.unshift(...totals);
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      return;
    }
    const byWorker = new Map<number, string[]>();
    for (const { worker, totals: session } of totals) {
      const ids = byWorker.get(worker) ?? [];
      byWorker.set(worker, ids);
      ids.push(session.id);
    }
    for (const [worker, ids] of byWorker) this.#folded(worker, ids);
    if (activity.length === 0) return;
    try {
      await this.#registry.recordActivity(activity);
    } catch (error) {
      this.#log.error({ error: messageOf(error) }, "sensors' records could not be written");
    }
  }
}
