import type { Config, SinkConfig } from '../config/schema.js';
import { GatewayError } from '../errors.js';
import { SINKS_MAX } from '../ledger/journal-layout.js';

interface Slot {
  readonly name: string;
  config: SinkConfig;
  /** Removed by this revision: these workers still finish what it took. */
  leaving: { revision: number; workers: Set<number> } | undefined;
}

/** The sinks as a configuration wants them, by slot: see `SinkBook.plan`. */
export interface SinkPlan {
  readonly revision: number;
  /** Names by slot; '' where there is none that takes new sessions. */
  readonly slots: readonly string[];
  readonly sinks: Config['sinks'];
  readonly added: readonly string[];
  readonly removed: readonly string[];
}

/**
 * Which sink has which slot, in every worker: the bit of it in routes and rows of the ledger's
 * journal. One that was removed keeps its slot until each worker has finished what it took.
 */
export class SinkBook {
  readonly #slots: (Slot | undefined)[];
  readonly #workers: number;
  #revision = 0;

  constructor(sinks: Config['sinks'], workers: number) {
    this.#workers = workers;
    this.#slots = Object.entries(sinks).map(([name, config]) => {
      return { name, config, leaving: undefined };
    });
  }

  /** Names by slot, as routes use them. */
  get slots(): string[] {
    return this.#slots.map((slot) => (slot && !slot.leaving ? slot.name : ''));
  }

  /** All sinks, those that were removed and still finish too. */
  get sinks(): Record<string, SinkConfig> {
    const all = this.#slots.flatMap((slot) => (slot ? [[slot.name, slot.config] as const] : []));
    return Object.fromEntries(all);
  }

  /** Names of those that were removed and still finish. */
  get leaving(): string[] {
    return this.#slots.flatMap((slot) => (slot?.leaving ? [slot.name] : []));
  }

  /**
   * Gives each sink of a configuration its slot; nothing changes before `commit`. One of the name of
   * one that still finishes is that one, back again.
   * @throws GatewayError D4GW_E_CONFIG where there is no slot, or the name is still in other use
   */
  plan(sinks: Config['sinks']): SinkPlan {
    const slots = this.slots.map((name) => (name in sinks ? name : ''));
    const added = Object.keys(sinks).filter((name) => !slots.includes(name));
    const removed = this.slots.filter((name) => name !== '' && !(name in sinks));
    for (const name of added) {
      const own = this.#slots.findIndex((slot) => slot?.name === name);
      const before = this.#slots[own];
      if (before && before.config.kind !== sinks[name]!.kind) {
        throw refused(name, 'the sink of another kind that had this name still finishes');
      }
      const free = slots.findIndex((name, slot) => name === '' && !this.#slots[slot]);
      const slot = before ? own : free >= 0 ? free : slots.length;
      if (slot >= SINKS_MAX) {
        const others = [...this.leaving, ...removed].join(', ');
        throw refused(name, `there are at most ${SINKS_MAX} with those that finish: ${others}`);
      }
      slots[slot] = name;
    }
    this.#checkPlaces(sinks, added, slots);
    return { revision: this.#revision + 1, slots, sinks, added, removed };
  }

  commit(plan: SinkPlan): void {
    const { revision, slots, sinks } = plan;
    this.#revision = revision;
    for (const [slot, name] of slots.entries()) {
      const before = this.#slots[slot];
      if (name !== '') {
        this.#slots[slot] = { name, config: sinks[name]!, leaving: undefined };
      } else if (before && !before.leaving) {
        const workers = new Set(Array.from({ length: this.#workers }, (_, index) => index));
        before.leaving = { revision, workers };
      }
    }
  }

  /**
   * A worker has finished what a sink took that was removed.
   * @returns its name, where all have
   */
  gone(worker: number, slot: number, revision: number): string | undefined {
    const { leaving } = this.#slots[slot] ?? {};
    return leaving?.revision === revision ? this.#left(worker, slot) : undefined;
  }

  /** A process of a worker ended, or began anew. Returns the names of sinks that all have finished. */
  workerGone(worker: number): string[] {
    return this.#slots.flatMap((slot, index) =>
      slot?.leaving ? (this.#left(worker, index) ?? []) : [],
    );
  }

  #left(worker: number, index: number): string | undefined {
    const slot = this.#slots[index]!;
    slot.leaving!.workers.delete(worker);
    if (slot.leaving!.workers.size > 0) return undefined;
    this.#slots[index] = undefined;
    return slot.name;
  }

  /** What still finishes writes where it wrote. */
  #checkPlaces(sinks: Config['sinks'], added: readonly string[], slots: readonly string[]): void {
    for (const slot of this.#slots) {
      if (!slot || slots.includes(slot.name)) continue;
      const taken = placeOf(slot.config);
      const other = added.find((name) => taken !== undefined && placeOf(sinks[name]!) === taken);
      if (other === undefined) continue;
      throw refused(other, `${slot.name}, which is removed, still writes to ${taken}`);
    }
  }
}

function placeOf(sink: SinkConfig): string | undefined {
  if (sink.kind === 'relay') return sink.spool.dir;
  return sink.kind === 'blackhole' ? undefined : sink.dir;
}

function refused(name: string, why: string): GatewayError {
  return new GatewayError(
    'D4GW_E_CONFIG',
    `sinks.${name}: ${why}; try again once that is done, or restart the gateway`,
  );
}
