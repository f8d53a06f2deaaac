/** Addresses and reasons told apart; the one that was quiet for longest goes first. */
export const REJECTS_MAX = 2_000;
const DETAIL_CHARS_MAX = 200;

/** What one address was rejected for, since the gateway began. */
export interface RejectEntry {
  address: string;
  reason: string;
  count: number;
  /** Ms since the epoch. */
  firstAt: number;
  lastAt: number;
  /** Of the newest. */
  detail: string;
  /** The sensor that it claimed to be, at the newest; undefined before a header was read. */
  sensor: string | undefined;
}

/** What broken and hostile peers did, by address and reason. */
export class RejectLog {
  readonly #entries = new Map<string, RejectEntry>();
  readonly #max: number;

  constructor(max = REJECTS_MAX) {
    this.#max = max;
  }

  add(reject: Pick<RejectEntry, 'address' | 'reason' | 'detail' | 'sensor'>, at: number): void {
    const { address, reason, sensor } = reject;
    const key = `${reason} ${address}`;
    const known = this.#entries.get(key);
    // Again at the end: the first of the map is the one that was quiet for longest.
    if (known) this.#entries.delete(key);
    else if (this.#entries.size >= this.#max) {
      this.#entries.delete(this.#entries.keys().next().value!);
    }
    this.#entries.set(key, {
      address,
      reason,
      count: (known?.count ?? 0) + 1,
      firstAt: known?.firstAt ?? at,
      lastAt: at,
      detail: reject.detail.slice(0, DETAIL_CHARS_MAX),
      sensor: sensor ?? known?.sensor,
    });
  }

  /** The newest first. */
  list(): RejectEntry[] {
    return [...this.#entries.values()].reverse();
  }
}
