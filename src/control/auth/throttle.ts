import { networkOf, normalizeAddress } from '../../registry/address.js';

/** Addresses kept; the one that failed longest ago goes first. */
export const ADDRESSES_MAX = 10_000;
/** So many failures cost nothing: people mistype. */
export const FREE_FAILURES = 5;
const DELAY_MIN_MS = 1_000;
export const DELAY_MAX_MS = 60_000;
/** An address that has not failed for so long begins anew. */
const FORGET_MS = 15 * 60_000;

interface Record {
  failures: number;
  /** Ms since the epoch: before it no wrong token is answered as such. */
  until: number;
  lastAt: number;
}

/**
 * Slows those who fail to log in, by address: after a few failures each further one doubles the
 * time for which those from there are told to wait, whatever they try but a right token. A /64 of IPv6 is one address.
 */
export class Throttle {
  readonly #records = new Map<string, Record>();
  readonly #max: number;

  constructor(max = ADDRESSES_MAX) {
    this.#max = max;
  }

  /** How long, in ms, a wrong token from this address is answered so; 0: it may try. */
  waitMs(address: string, now = Date.now()): number {
    const record = this.#records.get(keyOf(address));
    return record ? Math.max(record.until - now, 0) : 0;
  }

  failed(address: string, now = Date.now()): void {
    const key = keyOf(address);
    const known = this.#records.get(key);
    const failures = known && now - known.lastAt < FORGET_MS ? known.failures + 1 : 1;
    const over = failures - FREE_FAILURES;
    const delayMs = over < 0 ? 0 : Math.min(DELAY_MIN_MS * 2 ** over, DELAY_MAX_MS);
    // Again at the end: the first of the map is the one that failed longest ago.
    this.#records.delete(key);
    if (this.#records.size >= this.#max) {
      this.#records.delete(this.#records.keys().next().value!);
    }
    this.#records.set(key, { failures, until: now + delayMs, lastAt: now });
  }

  succeeded(address: string): void {
    this.#records.delete(keyOf(address));
  }
}

function keyOf(address: string): string {
  const normal = normalizeAddress(address);
  return normal?.family === 'ipv6' ? networkOf('ipv6', normal.address, 64) : address;
}
