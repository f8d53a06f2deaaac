import { type Alerts, alertJson } from '../alerts/alerts.js';
import type { HistoryPoint } from '../history/store.js';
import type { Amount } from '../ledger/totals.js';
import { iso } from '../registry/view.js';
import type { SinkView } from '../stats/gateway-stats.js';
import type { ThreadStats } from '../stats/messages.js';
import type { ProcessView } from '../stats/own-process.js';
import type { Overview } from './api/schemas.js';
import type { ControlledGateway } from './gateway.js';
import type { SensorIndex } from './sensor-index.js';

/** One point of the last hour. */
export const POINT_MS = 5_000;
export const POINTS_MAX = 720;
/** Alerts that the overview shows; all are at `/api/v1/alerts`. */
const ALERTS_SHOWN = 20;
const MINUTE_MS = 60_000;

/**
 * What the rates of the moment are counted over. Workers tell once a second: over a single one, a
 * word that comes a little late would show as nothing, and the next as twice the rate.
 */
const RATE_MS = 3_000;

interface Point {
  at: number;
  received: Record<string, Amount>;
}

interface Sample extends Point {
  rejected: Record<string, Amount>;
}

/** What the ledger was last found to say, and when. */
export interface BalanceView {
  balanced: boolean;
  imbalances: number;
  at: number;
}

/** The state of everything at a glance, made once a second and the same for all who look. */
export class OverviewFeed {
  readonly #gateway: ControlledGateway;
  readonly #alerts: Alerts;
  readonly #sensors: SensorIndex;
  #points: Point[] = [];
  /** Of the last `RATE_MS`, oldest first: what rates are counted from. */
  #recent: Sample[];
  #balance: BalanceView | undefined;
  #current: Overview;

  constructor(gateway: ControlledGateway, alerts: Alerts, sensors: SensorIndex) {
    this.#gateway = gateway;
    this.#alerts = alerts;
    this.#sensors = sensors;
    this.#recent = [{ at: Date.now(), received: {}, rejected: {} }];
    this.#current = this.sample(Date.now());
  }

  get current(): Overview {
    return this.#current;
  }

  set balance(balance: BalanceView) {
    this.#balance = balance;
  }

  /**
   * Rates of the last hour: by type, bytes and frames per second in steps of `POINT_MS`.
   * @param past minutes by type, for what was before this gateway began
   */
  series(past: ReadonlyMap<number, readonly HistoryPoint[]> = new Map()) {
    const begin = this.#points[0]?.at ?? Date.now();
    const missing = POINTS_MAX - Math.max(this.#points.length - 1, 0);
    const before = [...past.values()].some((points) => points.length > 0)
      ? Array.from({ length: missing }, (_, index) => begin - (missing - 1 - index) * POINT_MS)
      : [];
    const steps = this.#points.slice(1);
    const types = new Set([
      ...[...past.keys()].map(String),
      ...this.#points.flatMap(({ received }) => Object.keys(received)),
    ]);
    const rates = (unit: keyof Amount, type: string) => [
      ...minuteRates(past.get(Number(type)) ?? [], unit, before),
      ...steps.map(({ at, received }, index) => {
        const last = this.#points[index]!;
        const added = (received[type]?.[unit] ?? 0) - (last.received[type]?.[unit] ?? 0);
        return Math.max(added, 0) / ((at - last.at) / 1000);
      }),
    ];
    return {
      stepSeconds: POINT_MS / 1000,
      times: [...before, ...steps.map(({ at }) => at)].map(iso),
      types: Object.fromEntries(
        [...types].map((type) => [
          type,
          { bytesPerSecond: rates('bytes', type), framesPerSecond: rates('frames', type) },
        ]),
      ),
    };
  }

  /** Looks again. */
  sample(now: number): Overview {
    const { stats, sessions, connections, phase, startedAt, version } = this.#gateway;
    const totals = stats.totals();
    const { received, rejected } = totals;
    while (this.#recent.length > 1 && now - this.#recent[1]!.at >= RATE_MS) this.#recent.shift();
    const since = this.#recent[0]!;
    this.#recent.push({ at: now, received, rejected });
    const seconds = Math.max((now - since.at) / 1000, 0.001);
    const rates = ratesOf(received, since.received, seconds);
    const rejectRates = ratesOf(rejected, since.rejected, seconds);
    if (now - (this.#points.at(-1)?.at ?? 0) >= POINT_MS) {
      this.#points.push({ at: now, received: totals.received });
      if (this.#points.length > POINTS_MAX + 1) this.#points.shift();
    }
    const { open } = this.#alerts;
    this.#current = {
      at: new Date(now).toISOString(),
      gateway: { version, phase, startedAt: iso(startedAt) },
      connections,
      sessions: sessions.size,
      sensors: this.#sensors.states(),
      received: totals.received,
      receivedPerSecond: rates,
      rejected: totals.rejected,
      rejectedPerSecond: rejectRates,
      refused: { ...stats.refusals },
      sinks: stats.sinks(totals).map(sinkJson),
      workers: stats.workers.map(({ index, stats: own, at, deaths }) => ({
        index,
        deaths,
        state: own === undefined ? ('starting' as const) : ('running' as const),
        toldAt: own === undefined ? null : iso(at),
        ...(own === undefined ? NOT_RUNNING : workerFigures(own)),
      })),
      primary: primaryFigures(this.#gateway.own.sample()),
      ledger: this.#balance
        ? {
            balanced: this.#balance.balanced,
            imbalances: this.#balance.imbalances,
            at: iso(this.#balance.at),
          }
        : null,
      alerts: { open: open.length, first: open.slice(0, ALERTS_SHOWN).map(alertJson) },
    };
    return this.#current;
  }
}

/** A sink as programs get it; times in ISO 8601. */
export function sinkJson({ lastError, ...sink }: SinkView) {
  const error = lastError && { text: lastError.text, at: new Date(lastError.at).toISOString() };
  return { ...sink, lastError: error };
}

type FiguresOf = NonNullable<ControlledGateway['stats']['workers'][number]['stats']>;

const NO_THREAD: Omit<ThreadStats, 'gc'> = {
  loopDelayMs: { mean: 0, p99: 0, max: 0 },
  utilization: 0,
};
const NOT_RUNNING = {
  pid: null,
  connections: 0,
  sessions: 0,
  ringUsedRatio: 0,
  cpuSeconds: 0,
  rssBytes: 0,
  io: NO_THREAD,
  sink: NO_THREAD,
};

function shown({ loopDelayMs, utilization }: ThreadStats) {
  return { loopDelayMs, utilization };
}

function primaryFigures({ pid, cpu, rssBytes, loop }: ProcessView) {
  return { pid, cpuSeconds: cpu.user + cpu.system, rssBytes, loop: shown(loop) };
}

function workerFigures({ pid, connections, sessions, ring, cpu, rssBytes, io, thread }: FiguresOf) {
  return {
    pid,
    connections,
    sessions,
    ringUsedRatio: ring.usedBytes / ring.bytes,
    cpuSeconds: cpu.user + cpu.system,
    rssBytes,
    io: shown(io),
    sink: shown(thread),
  };
}

/** The rate at each of some times, from what came in the minutes that they are in. */
function minuteRates(
  points: readonly HistoryPoint[],
  unit: keyof Amount,
  times: readonly number[],
): number[] {
  const minutes = new Map(points.map((point) => [point.at, point[unit]]));
  return times.map((at) => (minutes.get(at - (at % MINUTE_MS)) ?? 0) / (MINUTE_MS / 1000));
}

function ratesOf(
  now: Record<string, Amount>,
  before: Record<string, Amount>,
  seconds: number,
): Record<string, Amount> {
  return Object.fromEntries(
    Object.entries(now).map(([key, { frames, bytes }]) => [
      key,
      {
        frames: Math.max(frames - (before[key]?.frames ?? 0), 0) / seconds,
        bytes: Math.max(bytes - (before[key]?.bytes ?? 0), 0) / seconds,
      },
    ]),
  );
}
