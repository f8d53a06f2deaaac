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
/**
 * A sensor may send the very same bytes again, as a replay of a file does: that is no loop. One address
 * may do so this often within `RETURNS_MS`; where it did not end the session before in order, each time
 * counts as several.
 */
const RETURNS_MAX = 32;
const UNENDED_RETURNS = 8;
const RETURNS_MS = 60_000;

interface Owner {
  pid: number;
  startTicks: string;
  bootId: string;
}

interface Seen {
  session: string;
  at: number;
  address: string;
  /** Its peer has ended the session in order. */
  isOver: boolean;
  /** How often it came back since `since`. */
  returns: number;
  since: number;
}

/** A session whose stream leaves. */
export interface Leaving {
  session: string;
  /** Of the peer that brings it; a pseudonym that is marked has none. */
  address: string;
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
    // Who waits for another asks often: that takes no lock.
    if (!isFree() || this.#isFull) return isFree();
    return this.#db.transactionSync(() => {
      if (!isFree()) return false;
      void this.#db.put(`claim/${key}`, this.#self);
      return true;
    });
  }

  release(key: string): void {
    this.#unreleased.add(key);
    if (this.#isFull) return;
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
   * @returns the session that it left as before, where it has come back: from elsewhere, or over and
   *   over
   */
  leaves(mark: string, { session, address }: Leaving, now: number): string | undefined {
    if (this.#isFull) return undefined;
    return this.#db.transactionSync(() => {
      const seen = this.#db.get(`seen/${mark}`) as Seen | undefined;
      const isBack = seen !== undefined && seen.session !== session && now - seen.at < LOOP_MS;
      const isCounted = isBack && now - seen.since < RETURNS_MS;
      const more = isBack ? (seen.isOver ? 1 : UNENDED_RETURNS) : 0;
      const returns = (isCounted ? seen.returns : 0) + more;
      if (isBack && (seen.address !== address || returns > RETURNS_MAX)) return seen.session;
      if (seen) void this.#db.remove(orderKey(seen.at, mark));
      else this.#seenCount += 1;
      const since = isCounted ? seen.since : now;
      this.#see(mark, { session, at: now, address, isOver: false, returns, since });
      void this.#db.put(orderKey(now, mark), 1);
      if (this.#seenCount > SEEN_MAX) this.#forget();
      return undefined;
    });
  }

  /** The peer has ended a session in order that was noted by `leaves`. */
  ended(mark: string, session: string): void {
    if (this.#isFull) return;
    this.#db.transactionSync(() => {
      const seen = this.#db.get(`seen/${mark}`) as Seen | undefined;
      if (seen?.session === session) this.#see(mark, { ...seen, isOver: true });
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

  /** Nothing can be written now: what the claims are for goes on without. */
  get #isFull(): boolean {
    try {
      return isSpaceLow(this.#directory);
    } catch {
      // The directory is away: the spool says so.
      return true;
    }
  }

  #see(mark: string, seen: Seen): void {
    void this.#db.put(`seen/${mark}`, seen);
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
