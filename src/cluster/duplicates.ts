import { End, Reject } from '../wire/reject.js';
import { TYPE_EXTENDED, TYPE_META } from '../wire/types.js';
import type { SlotRef } from './messages.js';

/** A session that a worker reported, and where it is. */
export interface SessionPlace extends SlotRef {
  id: string;
  worker: number;
}

/** What to do about a duplicate: end this session with this code. */
export interface EndOrder {
  place: SessionPlace;
  code: number;
  detail: string;
}

/**
 * Keeps one live session for each (sensor, type), over all workers, except types 2 and 254, of
 * which a sensor may have several (WIRE.md, "A session"). A session counts from its first verified
 * frame: a stranger who knows a sensor's UUID can neither replace its session nor keep it out.
 */
export class Duplicates {
  #replace: boolean;
  readonly #live = new Map<string, SessionPlace>();
  readonly #keys = new Map<string, string>();

  constructor(mode: 'replace' | 'reject') {
    this.#replace = mode === 'replace';
  }

  /** Holds for sessions from now on. */
  set mode(mode: 'replace' | 'reject') {
    this.#replace = mode === 'replace';
  }

  /** A session's first frame held. Returns the order to end one of two. */
  verified(place: SessionPlace, sensor: string, type: number): EndOrder | undefined {
    if (type === TYPE_EXTENDED || type === TYPE_META) return undefined;
    const key = `${sensor}/${type}`;
    const other = this.#live.get(key);
    if (other && !this.#replace) {
      const detail = `session ${other.id} of this sensor and type is open`;
      return { place, code: Reject.DUPLICATE_SESSION, detail };
    }
    if (other) this.#keys.delete(other.id);
    this.#live.set(key, place);
    this.#keys.set(place.id, key);
    return other && { place: other, code: End.REPLACED, detail: `by session ${place.id}` };
  }

  /** The session is over. */
  over(id: string): void {
    const key = this.#keys.get(id);
    if (key === undefined) return;
    this.#keys.delete(id);
    this.#live.delete(key);
  }

  /** A worker is gone, and its sessions with it. */
  workerGone(worker: number): void {
    for (const place of [...this.#live.values()]) {
      if (place.worker === worker) this.over(place.id);
    }
  }
}
