import type { LiveBlock } from './live-block.js';

/** A finished block that is in memory. */
export interface TailEntry {
  readonly block: LiveBlock;
  isWritten: boolean;
  /** Its bytes as they are to be written, once compression was begun. */
  stored: Promise<Buffer> | undefined;
}

/** Entries given up at the front are cut off the array once they are so many. */
const GONE_MAX = 1_024;

/** The newest finished blocks, oldest first, in memory; those that are written are in front. */
export class Tail {
  #entries: TailEntry[] = [];
  #front = 0;
  /** Entries in front that are written. */
  #written = 0;
  #bytes = 0;
  #unwrittenBytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  get unwrittenBytes(): number {
    return this.#unwrittenBytes;
  }

  get first(): TailEntry | undefined {
    return this.#entries[this.#front];
  }

  /** The oldest that is not written, or one behind it. */
  unwritten(offset = 0): TailEntry | undefined {
    return this.#entries[this.#front + this.#written + offset];
  }

  push(block: LiveBlock): void {
    block.hold();
    this.#entries.push({ block, isWritten: false, stored: undefined });
    this.#bytes += block.bytes.length;
    this.#unwrittenBytes += block.bytes.length;
  }

  /** The oldest that was not written is now; it may have left meanwhile. */
  written(entry: TailEntry): void {
    entry.isWritten = true;
    if (this.unwritten() !== entry) return;
    this.#written += 1;
    this.#unwrittenBytes -= entry.block.bytes.length;
  }

  shift(): TailEntry | undefined {
    const entry = this.first;
    if (entry === undefined) return undefined;
    this.#front += 1;
    this.#bytes -= entry.block.bytes.length;
    if (this.#written > 0) this.#written -= 1;
    else this.#unwrittenBytes -= entry.block.bytes.length;
    if (this.#front >= GONE_MAX || this.#front === this.#entries.length) {
      this.#entries = this.#entries.slice(this.#front);
      this.#front = 0;
    }
    entry.block.letGo();
    return entry;
  }

  /** The block that holds `seq`, or the next one behind it. */
  at(seq: number): LiveBlock | undefined {
    let low = this.#front;
    let high = this.#entries.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#entries[middle]!.block.lastSeq < seq) low = middle + 1;
      else high = middle;
    }
    return this.#entries[low]?.block;
  }
}
