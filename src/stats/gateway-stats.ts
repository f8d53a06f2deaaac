import type { Amount } from '../ledger/totals.js';
import type { SinkStats, Tallies, WorkerStats } from './messages.js';

/** A worker that has not told for so long does not answer. */
export const STALE_MS = 5_000;

/** The newest of one worker. */
export interface WorkerView {
  index: number;
  /** Undefined while it is starting. */
  stats: WorkerStats | undefined;
  /** When it told that, ms since the epoch. */
  at: number;
  /** How often it died. */
  deaths: number;
}

/** One sink over all workers. */
export interface SinkView {
  name: string;
  kind: string;
  /**
   * `stopped`: held by an operator. `failing`: on some worker it delivers nothing now. `leaving`: it
   * was removed, and serves the sessions that began with it.
   */
  state: 'ok' | 'full' | 'failing' | 'stopped' | 'leaving';
  /** It takes what comes; one that fails may do so, and keep it. */
  takes: boolean;
  delivered: Amount;
  lastError: { text: string; at: number } | null;
  spool: { bytes: number; maxBytes: number } | null;
  lagSeconds: number | null;
  dropped: Record<string, Amount>;
  figures: Record<string, number>;
}

type Totals = Tallies & { dropped: Record<string, Record<string, Amount>> };

/**
 * What all workers came to since the gateway began. Those that died count with what they last told:
 * what they had in hand after that the ledger settles.
 */
export class GatewayStats {
  #sinkKinds: ReadonlyMap<string, string>;
  #leaving: readonly string[] = [];
  readonly #workers: WorkerView[];
  readonly #held: ReadonlySet<string>;
  #retired = noTotals();
  /** By worker: the process that ended last. */
  readonly #gone = new Map<number, number>();
  readonly #refused: Record<string, number> = {};

  /** @param held names of the sinks that an operator holds */
  constructor(workers: number, sinkKinds: ReadonlyMap<string, string>, held: ReadonlySet<string>) {
    this.#workers = Array.from({ length: workers }, (_, index) => ({
      index,
      stats: undefined,
      at: 0,
      deaths: 0,
    }));
    this.#sinkKinds = sinkKinds;
    this.#held = held;
  }

  /**
   * The sinks are others.
   * @param leaving names of those that were removed, and still finish
   */
  sinksAre(kinds: ReadonlyMap<string, string>, leaving: readonly string[]): void {
    this.#sinkKinds = kinds;
    this.#leaving = leaving;
  }

  told(worker: number, stats: WorkerStats, at: number): void {
    const view = this.#workers[worker]!;
    // The last words of a process that is counted already.
    const gone = this.#gone.get(worker);
    if (gone !== undefined && stats.pid === gone) return;
    // What it added may be long: it has its own way.
    const { flow: _, ...rest } = stats;
    view.stats = rest;
    view.at = at;
  }

  /** @param died false where it ended because the gateway stops */
  workerGone(worker: number, died: boolean): void {
    const view = this.#workers[worker]!;
    if (view.stats) {
      addTotals(this.#retired, totalsOf(view.stats));
      this.#gone.set(worker, view.stats.pid);
    }
    view.stats = undefined;
    if (died) view.deaths += 1;
  }

  /** A connection ended before it had a session. */
  refused(reason: string): void {
    this.#refused[reason] = (this.#refused[reason] ?? 0) + 1;
  }

  get refusals(): Readonly<Record<string, number>> {
    return this.#refused;
  }

  get workers(): readonly Readonly<WorkerView>[] {
    return this.#workers;
  }

  totals(): Totals {
    const totals = noTotals();
    addTotals(totals, this.#retired);
    for (const { stats } of this.#workers) if (stats) addTotals(totals, totalsOf(stats));
    return totals;
  }

  #calm(sink: string): 'ok' | 'leaving' {
    return this.#leaving.includes(sink) ? 'leaving' : 'ok';
  }

  sinks(totals = this.totals()): SinkView[] {
    return [...this.#sinkKinds].map(([name, kind]) => {
      const own = this.#workers.flatMap(
        ({ stats }) => stats?.sinks.find((sink) => sink.name === name) ?? [],
      );
      const isHeld = this.#held.has(name);
      const isFailing = own.some(({ state }) => state === 'failing');
      const isFull = own.some(({ full }) => full);
      const errors = own.flatMap(({ lastError }) => lastError ?? []);
      const spools = own.flatMap(({ spool }) => spool ?? []);
      const lags = own.flatMap(({ lagSeconds }) => lagSeconds ?? []);
      return {
        name,
        kind,
        state: isHeld ? 'stopped' : isFailing ? 'failing' : isFull ? 'full' : this.#calm(name),
        takes: !isHeld && own.every(takesFrames),
        delivered: totals.delivered[name] ?? { frames: 0, bytes: 0 },
        lastError: errors.sort((a, b) => b.at - a.at)[0] ?? null,
        spool: spools.length === 0 ? null : sumOf(spools, { bytes: 0, maxBytes: 0 }),
        lagSeconds: lags.length === 0 ? null : Math.max(...lags),
        dropped: totals.dropped[name] ?? {},
        figures: figuresOf(own),
      };
    });
  }
}

/** One that is full takes again as soon as it has delivered something: not where it can't. */
function takesFrames({ state, isKeeping, full }: SinkStats): boolean {
  return state === 'ok' || (isKeeping === true && !full);
}

function noTotals(): Totals {
  return { received: {}, rejected: {}, delivered: {}, dropped: {} };
}

function totalsOf({ tallies, sinks }: WorkerStats): Totals {
  const dropped = Object.fromEntries(sinks.map((sink) => [sink.name, sink.dropped ?? {}]));
  return { ...tallies, dropped };
}

function addTotals(to: Totals, from: Totals): void {
  addEach(to.received, from.received);
  addEach(to.rejected, from.rejected);
  addEach(to.delivered, from.delivered);
  for (const [sink, reasons] of Object.entries(from.dropped)) {
    to.dropped[sink] ??= {};
    addEach(to.dropped[sink], reasons);
  }
}

function addEach(to: Record<string, Amount>, from: Record<string, Amount>): void {
  for (const [key, { frames, bytes }] of Object.entries(from)) {
    to[key] ??= { frames: 0, bytes: 0 };
    to[key].frames += frames;
    to[key].bytes += bytes;
  }
}

function sumOf(
  spools: readonly { bytes: number; maxBytes: number }[],
  total: { bytes: number; maxBytes: number },
) {
  for (const { bytes, maxBytes } of spools) {
    total.bytes += bytes;
    total.maxBytes += maxBytes;
  }
  return total;
}

function figuresOf(sinks: readonly SinkStats[]): Record<string, number> {
  const total: Record<string, number> = {};
  for (const { figures } of sinks) {
    for (const [name, value] of Object.entries(figures ?? {})) {
      total[name] = (total[name] ?? 0) + value;
    }
  }
  return total;
}
