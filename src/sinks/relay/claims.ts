import { bootId, isRunning, startTicks } from '../../ledger/process.js';
import { isSpaceLow } from '../../storage/disk-space.js';
import { type Environment, openEnvironment } from '../../storage/environment.js';

const FORMAT = 1;
/** Address space, not memory or disk. */
const MAP_BYTES = 256 * 1024 ** 2;
/** What was relayed is known again for this long: a loop brings it back within seconds. */
export const LOOP_MS = 10 * 60_000;
/** Entries that are remembered; the oldest are forgotten beyond it. */
const SEEN_MAX = 100_000;
const FORGET_AT_ONCE_MAX = 256;

interface Owner {
  pid: number;
  startTicks: string;
  bootId: string;
}

interface Seen {
  session: string;
  at: number;
}

/**
 * What the workers of one relay have to agree on, in LMDB beside their spools:
 *
 *     claim/<sensor>/<type>   Owner: the one process that has a connection for it
 *     seen/<mark>             Seen: a stream that left by this relay
 *     order/<at>/<mark>       for forgetting the oldest of them
 *
 * A plain server takes one connection of a sensor and type; two workers that each have a session of
 * it, one of them over, would end each other's without end. Nothing of it has to outlive a power
 * failure.
 */
export class Claims {
  readonly #directory: string;
  readonly #db: Environment;
  /** Let go of while the disk was full. */
  readonly #unreleased = new Set<string>();
  readonly #self: Owner;
  #seenCount: number;

  constructor(directory: string) {
    this.#directory = directory;
    this.#db = openEnvironment(directory, {
      readOnly: false,
      format: FORMAT,
      mapBytes: MAP_BYTES,
      isLateToDisk: true,
    });
    this.#self = { pid: process.pid, startTicks: startTicks(process.pid) ?? '', bootId: bootId() };
    this.#seenCount = this.#db.getKeysCount({ start: 'seen/', end: 'seen0' });
  }

  /**
   * Takes a claim; false while another process that runs has it. On a full disk it is not written, for
   * nothing would be sent, and no room made, without it.
   */
  take(key: string): boolean {
    const isFree = () => {
      const owner = this.#db.get(`claim/${key}`) as Owner | undefined;
      return owner === undefined || owner.pid === this.#self.pid || !isRunning(owner);
    };
    this.#unreleased.delete(key);
    if (isSpaceLow(this.#directory)) return isFree();
    return this.#db.transactionSync(() => {
      if (!isFree()) return false;
      void this.#db.put(`claim/${key}`, this.#self);
      return true;
    });
  }

  release(key: string): void {
    this.#unreleased.add(key);
    if (isSpaceLow(this.#directory)) return;
    this.#db.transactionSync(() => {
      for (const released of this.#unreleased) {
        const owner = this.#db.get(`claim/${released}`) as Owner | undefined;
        if (owner?.pid === this.#self.pid) void this.#db.remove(`claim/${released}`);
      }
    });
    this.#unreleased.clear();
  }

  /**
   * Notes that a stream leaves, by a mark that it carries along.
   * @returns the session that it left as before, where it has come back
   */
  leaves(mark: string, session: string, now: number): string | undefined {
    if (isSpaceLow(this.#directory)) return undefined;
    return this.#db.transactionSync(() => {
      const seen = this.#db.get(`seen/${mark}`) as Seen | undefined;
      if (seen && seen.session !== session && now - seen.at < LOOP_MS) return seen.session;
      if (seen) void this.#db.remove(orderKey(seen.at, mark));
      else this.#seenCount += 1;
      void this.#db.put(`seen/${mark}`, { session, at: now });
      void this.#db.put(orderKey(now, mark), 1);
      if (this.#seenCount > SEEN_MAX) this.#forget();
      return undefined;
    });
  }

  /** Whether a stream left with this mark of late. */
  hasLeft(mark: string, now: number): boolean {
    const seen = this.#db.get(`seen/${mark}`) as Seen | undefined;
    return seen !== undefined && now - seen.at < LOOP_MS;
  }

  close(): Promise<void> {
    return this.#db.close();
  }

  #forget(): void {
    const oldest = this.#db.getKeys({ start: 'order/', end: 'order0', limit: FORGET_AT_ONCE_MAX });
    for (const key of [...oldest]) {
      void this.#db.remove(key);
      void this.#db.remove(`seen/${key.slice(key.lastIndexOf('/') + 1)}`);
      this.#seenCount -= 1;
    }
  }
}

function orderKey(at: number, mark: string): string {
  return `order/${String(at).padStart(15, '0')}/${mark}`;
}
