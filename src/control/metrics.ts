import { Gauge, type Metric, Registry as PromRegistry } from 'prom-client';
import type { Alerts } from '../alerts/alerts.js';
import type { Amount } from '../ledger/totals.js';
import type { RefusedLogin } from './auth/gate.js';
import type { ControlledGateway } from './gateway.js';
import {
  type Family,
  primaryFamilies,
  sinkFamilies,
  stateFamilies,
  trafficFamilies,
  workerFamilies,
} from './metric-families.js';
import type { BalanceView } from './overview.js';

/** Series of single sensors, where they are asked for: what comes beyond has none. */
export const SENSOR_SERIES_MAX = 20_000;

/** What the control plane itself counts. */
interface OwnCounts {
  requests: Map<string, number>;
  refusedLogins: Map<RefusedLogin, number>;
  sensors: Map<string, SensorSeries>;
}

interface SensorSeries extends Amount {
  /** As they stand in the text. */
  labels: string;
}

const SENSOR_FAMILIES = [
  ['d4gw_sensor_frames_received_total', 'Frames received of one sensor and type.', 'frames'],
  ['d4gw_sensor_bytes_received_total', 'Payload bytes received of one sensor and type.', 'bytes'],
] as const;

/**
 * The metrics, by prom-client. Every value is computed from what the workers told when somebody asks;
 * nothing is counted twice. Labels are of few values: types, reasons, sinks, workers, routes.
 */
export class Metrics {
  readonly #registry = new PromRegistry();
  readonly #own: OwnCounts = { requests: new Map(), refusedLogins: new Map(), sensors: new Map() };
  readonly #perSensor: boolean;
  #balance: BalanceView | undefined;

  constructor(gateway: ControlledGateway, alerts: Alerts) {
    this.#perSensor = gateway.config.metrics.perSensor;
    const families = [
      ...trafficFamilies(gateway),
      ...sinkFamilies(gateway),
      ...workerFamilies(gateway),
      ...primaryFamilies(gateway),
      ...stateFamilies(gateway, alerts, () => this.#balance),
      ...this.#ownFamilies(),
    ];
    for (const family of families) this.#registry.registerMetric(metricOf(family));
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  set balance(balance: BalanceView) {
    this.#balance = balance;
  }

  async text(): Promise<string> {
    const text = await this.#registry.metrics();
    return this.#perSensor ? `${text}${this.#sensorText()}` : text;
  }

  /** Tens of thousands of series, which the library takes a second for. */
  #sensorText(): string {
    const lines = ['\n'];
    for (const [name, help, unit] of SENSOR_FAMILIES) {
      lines.push(`# HELP ${name} ${help}\n# TYPE ${name} counter\n`);
      for (const series of this.#own.sensors.values()) {
        lines.push(`${name}${series.labels} ${series[unit]}\n`);
      }
    }
    return lines.join('');
  }

  answered(route: string, status: number): void {
    const key = `${route} ${status}`;
    this.#own.requests.set(key, (this.#own.requests.get(key) ?? 0) + 1);
  }

  refusedLogin(reason: RefusedLogin): void {
    const { refusedLogins } = this.#own;
    refusedLogins.set(reason, (refusedLogins.get(reason) ?? 0) + 1);
  }

  /** What a sensor's sessions added; kept only where series for each sensor are asked for. */
  flowed(sensor: string, type: number, frames: number, bytes: number): void {
    if (!this.#perSensor) return;
    const { sensors } = this.#own;
    const key = `${sensor} ${type}`;
    const known = sensors.get(key);
    if (known) {
      known.frames += frames;
      known.bytes += bytes;
    } else if (sensors.size < SENSOR_SERIES_MAX) {
      const labels = `{sensor="${sensor}",type="${type}"}`;
      sensors.set(key, { frames, bytes, labels });
    }
  }

  #ownFamilies(): Family[] {
    const { requests, refusedLogins } = this.#own;
    return [
      {
        name: 'd4gw_control_requests_total',
        help: 'Requests that the control plane answered.',
        labels: ['route', 'status'],
        counter: true,
        values: () =>
          [...requests].map(([key, value]) => {
            const [route, status] = key.split(' ') as [string, string];
            return [{ route, status }, value] as const;
          }),
      },
      {
        name: 'd4gw_control_refused_total',
        help: 'Requests without the right token, role or origin.',
        labels: ['reason'],
        counter: true,
        values: () => [...refusedLogins].map(([reason, value]) => [{ reason }, value] as const),
      },
    ];
  }
}

/**
 * A family whose values are set when it is collected. Counters too: their values are read from
 * elsewhere, which prom-client's own counters can't be given.
 */
function metricOf({ name, help, labels = [], counter, values }: Family): Metric {
  const gauge = new Gauge({
    name,
    help,
    labelNames: [...labels],
    registers: [],
    collect() {
      this.reset();
      for (const [own, value] of values()) this.set(own, value);
    },
  });
  if (counter) (gauge as unknown as { type: string }).type = 'counter';
  return gauge;
}
