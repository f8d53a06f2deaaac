import type { Closed, Connection, ConnectionEvents } from '../../../src/net/connection.js';
import type { LogBlock, LogReader, LogRecord, RelayLog } from '../../../src/sinks/relay/log.js';

/** A log in memory, which forgets what was released as the spool does. */
export class MemoryLog implements RelayLog {
  readonly #blocks: { firstSeq: number; records: LogRecord[] }[] = [];
  readonly #waiting = new Set<() => void>();
  #released = -1;
  nextSeq = 0;

  append(records: readonly Omit<LogRecord, 'seq'>[]): void {
    const firstSeq = this.nextSeq;
    const numbered = records.map((record, index) => ({ ...record, seq: firstSeq + index }));
    this.#blocks.push({ firstSeq, records: numbered });
    this.nextSeq += records.length;
    for (const wake of [...this.#waiting]) wake();
  }

  release(seq: number): void {
    if (seq < this.#released) throw new Error(`released ${this.#released}, now ${seq}`);
    this.#released = seq;
  }

  get released(): number {
    return this.#released;
  }

  blocks(fromSeq: number): LogReader {
    if (fromSeq <= this.#released) throw new Error(`${fromSeq} was released`);
    let index = this.#blocks.findIndex(
      ({ firstSeq, records }) => firstSeq + records.length > fromSeq,
    );
    if (index < 0) index = this.#blocks.length;
    let isClosed = false;
    const wakes = new Set<() => void>();
    const next = async (): Promise<LogBlock | undefined> => {
      while (!isClosed && index >= this.#blocks.length) {
        await new Promise<void>((resolve) => {
          const wake = () => {
            this.#waiting.delete(wake);
            wakes.delete(wake);
            resolve();
          };
          this.#waiting.add(wake);
          wakes.add(wake);
        });
      }
      if (isClosed) return undefined;
      const { firstSeq, records } = this.#blocks[index]!;
      index += 1;
      const lastSeq = firstSeq + records.length - 1;
      return { firstSeq, lastSeq, bytes: { length: 0 }, sessions: [], records: () => records };
    };
    return {
      next,
      close: () => {
        isClosed = true;
        for (const wake of [...wakes]) wake();
      },
    };
  }
}

export interface FakeBehaviour {
  /** No connection comes about. */
  refuses?: boolean;
  /** It breaks after so many bytes. */
  breaksAfter?: number;
  /** Of what it was given last, so much never arrives when it breaks. */
  loses?: number;
  /** It takes nothing for ever. */
  stalls?: boolean;
}

/** A connection to a receiver in memory. */
export class FakeUpstream implements Connection {
  readonly #events: ConnectionEvents;
  readonly #how: FakeBehaviour;
  readonly #parts: Buffer[] = [];
  #bytes = 0;
  #isOpen = false;
  #isBusy = false;
  #isClosed = false;

  constructor(
    events: ConnectionEvents,
    how: FakeBehaviour,
    readonly onClosed: (received: Buffer) => void,
  ) {
    this.#events = events;
    this.#how = how;
    setImmediate(() => {
      if (this.#isClosed) return;
      if (how.refuses) {
        this.#close({ error: new Error('refused'), finished: false, answered: false });
        return;
      }
      this.#isOpen = true;
      events.open();
    });
  }

  get writable(): boolean {
    return this.#isOpen && !this.#isBusy && !this.#isClosed;
  }

  write(bytes: Buffer, flushed?: () => void): void {
    this.#parts.push(Buffer.from(bytes));
    this.#bytes += bytes.length;
    this.#isBusy = true;
    if (this.#how.stalls) return;
    setImmediate(() => {
      if (this.#isClosed) return;
      flushed?.();
      const { breaksAfter } = this.#how;
      if (breaksAfter !== undefined && this.#bytes >= breaksAfter) {
        this.#close({ error: new Error('reset'), finished: false, answered: false });
        return;
      }
      this.#isBusy = false;
      this.#events.drain();
    });
  }

  end(): void {
    if (this.#how.stalls) return;
    setImmediate(() => this.#close({ finished: true, answered: true }));
  }

  destroy(): void {
    this.#close({ finished: false, answered: false });
  }

  #close(how: Closed): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#isOpen = false;
    const all = Buffer.concat(this.#parts);
    const lost = how.answered ? 0 : Math.min(this.#how.loses ?? 0, all.length);
    this.onClosed(all.subarray(0, all.length - lost));
    this.#events.closed(how);
  }
}
