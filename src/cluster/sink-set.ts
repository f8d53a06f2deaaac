import type { Logger } from 'pino';
import type { Config, SinkConfig } from '../config/schema.js';
import { messageOf } from '../errors.js';
import { LateSink } from '../sinks/late-sink.js';
import type { Sink } from '../sinks/sink.js';

interface Seat {
  readonly name: string;
  sink: Sink;
  /** Removed by this revision: what it took is finished, then it is closed. */
  leaving: number | undefined;
  closing: Promise<void> | undefined;
}

export interface SinkSetEvents {
  make(slot: number, name: string, config: SinkConfig): Sink;
  /** The worker's memory, where frames lie. */
  memory: Uint8Array;
  /** A sink takes again, as `SinkHost.drain`. */
  drain(slot: number): void;
  /** Names by slot are others: they are to be on disk before a session is routed by them. */
  named(): void;
  /** Whether a session that the ledger has not taken yet uses a slot. */
  isUsed(slot: number): boolean;
  /** A sink that was removed has finished, and is closed. */
  gone(slot: number, revision: number): void;
}

/**
 * The sinks of a worker, by slot. A reload first makes those that are new ready, in every worker; once
 * all are, it is taken: routes change, and what was removed leaves when its last session has.
 */
export class SinkSet {
  /** Names by slot, of those that leave too; '' where there is none. */
  readonly names: string[] = [];
  readonly sinks: (Sink | undefined)[] = [];
  readonly #seats: (Seat | undefined)[] = [];
  readonly #events: SinkSetEvents;
  readonly #log: Logger;
  /** Slots that the reload under way has filled. */
  #prepared: number[] = [];

  constructor(log: Logger, events: SinkSetEvents) {
    this.#log = log;
    this.#events = events;
  }

  /** Makes those that are missing. They are not started. Throws where one can't be made. */
  make(slots: readonly string[], sinks: Config['sinks']): number[] {
    const made: number[] = [];
    for (const [slot, name] of slots.entries()) {
      const seat = this.#seats[slot];
      if (name === '') {
        this.names[slot] ??= '';
        continue;
      }
      if (seat?.name === name && seat.closing === undefined) continue;
      if (seat) throw new Error(`sink ${seat.name} still finishes`);
      const sink = this.#events.make(slot, name, sinks[name]!);
      this.#seats[slot] = { name, sink, leaving: undefined, closing: undefined };
      this.names[slot] = name;
      this.sinks[slot] = sink;
      made.push(slot);
    }
    return made;
  }

  /** Settles once all have started, or could not: none of them opens anything after it. */
  async start(slots: readonly number[]): Promise<void> {
    const started = slots.map((slot) => this.sinks[slot]?.start?.());
    await Promise.allSettled(started);
    await Promise.all(started);
  }

  /**
   * As `start`, when the worker begins: one that can't start is tried again, and keeps none of the
   * others from working.
   */
  async begin(slots: readonly number[], sinks: Config['sinks']): Promise<void> {
    const begun = slots.map(async (slot) => {
      const seat = this.#seats[slot]!;
      const { name, sink } = seat;
      try {
        await sink.start?.();
      } catch (error) {
        const make = (config = sinks[name]!) => this.#events.make(slot, name, config);
        const drain = () => this.#events.drain(slot);
        const { memory } = this.#events;
        seat.sink = new LateSink({ sink, error, make, drain, memory, log: this.#log });
        this.sinks[slot] = seat.sink;
      }
    });
    await Promise.all(begun);
  }

  /**
   * Makes ready what a reload adds; nothing is routed to it yet.
   * @throws what is wrong: then nothing is left of it
   */
  async prepare(slots: readonly string[], sinks: Config['sinks']): Promise<void> {
    for (const [slot, name] of slots.entries()) {
      const seat = this.#seats[slot];
      if (name === seat?.name) await seat.closing;
    }
    try {
      this.#prepared = this.make(slots, sinks);
      if (this.#prepared.length > 0) this.#events.named();
      await this.start(this.#prepared);
    } catch (error) {
      await this.undo();
      throw error;
    }
  }

  /** The reload was refused elsewhere. */
  async undo(): Promise<void> {
    const slots = this.#prepared.splice(0);
    await Promise.all(
      slots.map(async (slot) => {
        const { name, sink } = this.#seats[slot]!;
        await sink.close().catch((error: unknown) => {
          const text = 'a sink that was not taken could not be closed';
          this.#log.error({ sink: name, error: messageOf(error) }, text);
        });
        this.#empty(slot);
      }),
    );
  }

  /** Takes what `prepare` made ready, and the changes of all others. */
  async take(slots: readonly string[], sinks: Config['sinks'], revision: number): Promise<void> {
    this.#prepared = [];
    const changes = this.#seats.map(async (seat, slot) => {
      if (!seat) return;
      if (slots[slot] !== seat.name) {
        seat.leaving ??= revision;
        // Its sessions would wait for a start that nobody wants any more.
        if (seat.sink instanceof LateSink) seat.sink.giveUp();
        return;
      }
      seat.leaving = undefined;
      try {
        await seat.sink.reconfigure?.(sinks[seat.name]!);
      } catch (error) {
        const text = 'a sink could not be changed: it goes on as it was';
        this.#log.error({ sink: seat.name, error: messageOf(error) }, text);
      }
    });
    await Promise.all(changes);
    this.sweep();
  }

  /** Closes those that leave and have nothing more to do. */
  sweep(): void {
    for (const [slot, seat] of this.#seats.entries()) {
      if (seat?.leaving === undefined || seat.closing || this.#events.isUsed(slot)) continue;
      seat.closing = this.#leave(slot, seat, seat.leaving);
    }
  }

  /** Closes all of them. */
  async close(deadlineMs: number): Promise<void> {
    await Promise.all(this.sinks.map((sink) => sink?.close(deadlineMs)));
  }

  async #leave(slot: number, { name, sink }: Seat, revision: number): Promise<void> {
    try {
      await sink.close();
    } catch (error) {
      this.#log.error({ sink: name, error: messageOf(error) }, 'a sink could not be closed');
    }
    const { spool, figures } = sink.status?.() ?? {};
    const left = spool ? { spoolBytes: spool.bytes, frames: figures?.waitingFrames ?? 0 } : {};
    const kept = left.frames ? ': what its spool holds stays on disk' : '';
    this.#log.info({ sink: name, ...left }, `a sink that was removed is closed${kept}`);
    this.#empty(slot);
    this.#events.gone(slot, revision);
  }

  #empty(slot: number): void {
    this.#seats[slot] = undefined;
    this.sinks[slot] = undefined;
    this.names[slot] = '';
  }
}
