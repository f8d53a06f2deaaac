import type { Actor, AuditAct, TrailHead } from '../audit/entry.js';
import type { AuditTrail } from '../audit/trail.js';
import { GatewayError, messageOf } from '../errors.js';
import { checkSpace } from '../storage/disk-space.js';
import type { Environment } from '../storage/environment.js';

/** Where the registry remembers the audit trail's end. */
const TRAIL_KEY = 'audit/head';

/**
 * The registry's environment as its parts use it: reads, and changes that leave a line in the audit
 * trail in the same transaction. The transaction's lock is also the trail's.
 */
export class Book {
  readonly #directory: string;
  readonly #db: Environment;
  readonly #trail: AuditTrail;
  readonly #actor: Actor;

  /** @param actor who makes the changes */
  constructor(directory: string, db: Environment, trail: AuditTrail, actor: Actor) {
    this.#directory = directory;
    this.#db = db;
    this.#trail = trail;
    this.#actor = actor;
  }

  /** The same registry, for changes that somebody else makes. */
  as(actor: Actor): Book {
    return new Book(this.#directory, this.#db, this.#trail, actor);
  }

  /** Begins a new snapshot: within one turn of the event loop lmdb-js reads one. */
  refresh(): void {
    this.#db.resetReadTxn();
  }

  get<T>(key: string): T | undefined {
    return this.#db.get(key) as T | undefined;
  }

  has(key: string): boolean {
    return this.#db.doesExist(key);
  }

  /** Every entry whose key begins with `kind/`, in the order of the keys. */
  all<T>(kind: string): T[] {
    // '0' follows '/'.
    const range = this.#db.getRange({ start: `${kind}/`, end: `${kind}0` });
    return Array.from(range, ({ value }) => value as T);
  }

  put(key: string, value: unknown): void {
    void this.#db.put(key, value);
  }

  remove(key: string): void {
    void this.#db.remove(key);
  }

  /** All of `change` or nothing, on disk when it returns. */
  transact<T>(change: () => T): T {
    if (!this.#db.transactionSync) throw new TypeError('the registry was opened for reading');
    try {
      checkSpace(this.#directory);
      return this.#db.transactionSync(change);
    } catch (error) {
      throw failed(error);
    }
  }

  /** What workers look at: they take it all anew when this number has grown. */
  version(): number {
    return this.get<number>('version') ?? 0;
  }

  countChange(): void {
    this.put('version', this.version() + 1);
  }

  /** Within a transaction: the act goes on the audit trail. Last, for it can't be taken back. */
  record(act: AuditAct): void {
    this.put(TRAIL_KEY, this.#trail.append(this.#actor, act));
  }

  /** The newest line of the audit trail that was committed. */
  trailHead(): TrailHead | undefined {
    return this.get<TrailHead>(TRAIL_KEY);
  }

  close(): Promise<void> {
    return this.#db.close();
  }
}

function failed(error: unknown): GatewayError {
  if (error instanceof GatewayError) return error;
  return new GatewayError('D4GW_E_REGISTRY', `the registry took no change: ${messageOf(error)}`, {
    cause: error,
  });
}
