import type { Amount } from '../../spool/session-record.js';

/** Entries that are told apart; beyond it neighbours are put together. */
export const ENTRIES_MAX = 512;

interface Entry {
  lastSeq: number;
  /** As they lie in the log. */
  logBytes: number;
  /** By sensor and type. */
  amounts: Map<string, Amount & { sensor: string; type: number }>;
}

/**
 * What lies in the log between its cursor and where its reading is: how much of each stream up to
 * which record. Bounded by the number of streams, however long that stretch is.
 */
export class Passed {
  #entries: Entry[] = [];
  #bytes = 0;

  /** Bytes of the log in all. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The reading has come to the end of a block. */
  push(
    lastSeq: number,
    logBytes: number,
    spans: Iterable<{ session: { sensor: string; type: number }; frames: number; bytes: number }>,
  ): void {
    const entry: Entry = { lastSeq, logBytes, amounts: new Map() };
    this.#bytes += logBytes;
    for (const { session, frames, bytes } of spans) {
      addTo(entry, { sensor: session.sensor, type: session.type, frames, bytes });
    }
    this.#entries.push(entry);
    if (this.#entries.length > ENTRIES_MAX) this.#join();
  }

  /**
   * Takes out what lies up to `seq`, in whole blocks.
   * @returns how far that is, undefined for nothing, and what it came to
   */
  take(seq: number): { seq: number | undefined; amounts: Entry['amounts'] } {
    const taken: Entry = { lastSeq: -1, logBytes: 0, amounts: new Map() };
    let count = 0;
    while (count < this.#entries.length && this.#entries[count]!.lastSeq <= seq) {
      merge(taken, this.#entries[count]!);
      count += 1;
    }
    this.#entries.splice(0, count);
    this.#bytes -= taken.logBytes;
    return { seq: count > 0 ? taken.lastSeq : undefined, amounts: taken.amounts };
  }

  /** Halves the number of entries. */
  #join(): void {
    const joined: Entry[] = [];
    for (let index = 0; index < this.#entries.length; index += 2) {
      const entry = this.#entries[index]!;
      const next = this.#entries[index + 1];
      if (next) merge(entry, next);
      joined.push(entry);
    }
    this.#entries = joined;
  }
}

function merge(into: Entry, from: Entry): void {
  into.lastSeq = from.lastSeq;
  into.logBytes += from.logBytes;
  for (const amount of from.amounts.values()) addTo(into, amount);
}

function addTo(
  { amounts }: Entry,
  { sensor, type, frames, bytes }: Amount & { sensor: string; type: number },
): void {
  const key = `${sensor}/${type}`;
  const total = amounts.get(key) ?? { sensor, type, frames: 0, bytes: 0 };
  amounts.set(key, total);
  total.frames += frames;
  total.bytes += bytes;
}
