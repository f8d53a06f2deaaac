import type { Logger } from 'pino';
import type { Config } from '../config/schema.js';
import { readSharedSecret } from '../config/secret.js';
import { GatewayError, messageOf } from '../errors.js';
import type { Imbalance } from '../ledger/balance.js';
import type { Registry } from '../registry/store.js';
import type { GatewayStats } from '../stats/gateway-stats.js';
import { type Alert, AlertBook, type Condition } from './book.js';
import {
  type CertificateView,
  certificateConditions,
  sinkConditions,
  workerConditions,
} from './conditions.js';
import { Silence } from './silence.js';
import { shownUrl, Webhook, type WebhookStats } from './webhook.js';

/** What alerts are about. */
export interface Watched {
  readonly registry: Registry;
  readonly stats: GatewayStats;
  readonly certificates: readonly CertificateView[];
  readonly startedAt: number;
  /** When a sensor was last heard, where that is newer than its record; ms since the epoch. */
  heardAt(sensor: string): number | undefined;
}

interface NamedWebhook {
  /** As it may be shown. */
  url: string;
  webhook: Webhook;
}

/** Finds what a person should look at, and says so: in the log, and to webhooks. */
export class Alerts {
  readonly #watched: Watched;
  readonly #log: Logger;
  #silence: Silence;
  #webhooks: NamedWebhook[];
  readonly #book: AlertBook;
  readonly #deaths = new Map<number, number>();
  readonly #restarts = new Map<number, number>();
  #imbalances: readonly Imbalance[] = [];

  /** @throws GatewayError D4GW_E_CONFIG where a webhook's secret can't be read */
  constructor(config: Config['alerts'], watched: Watched, log: Logger) {
    this.#watched = watched;
    this.#log = log;
    this.#silence = new Silence(watched.registry, config.silence, watched.startedAt);
    this.#webhooks = this.#webhooksOf(config);
    this.#book = new AlertBook((alert) => this.#tell(alert));
  }

  /**
   * Reads what other rules and webhooks need; what it returns takes them. A webhook that stays as it
   * was keeps what waits for it.
   * @throws GatewayError D4GW_E_CONFIG
   */
  prepare(config: Config['alerts']): () => void {
    const webhooks = this.#webhooksOf(config);
    return () => {
      const { registry, startedAt } = this.#watched;
      this.#silence = new Silence(registry, config.silence, startedAt);
      const before = this.#webhooks;
      this.#webhooks = webhooks.map(
        (next) => before.find(({ webhook }) => webhook.isSame(next.webhook)) ?? next,
      );
      for (const old of before) {
        if (!this.#webhooks.includes(old)) void old.webhook.close();
      }
    };
  }

  #webhooksOf({ webhooks }: Config['alerts']): NamedWebhook[] {
    return webhooks.map(({ url, secretFile }, index) => {
      const secret = secretFile === undefined ? undefined : readSecret(secretFile, index);
      return { url: shownUrl(url), webhook: new Webhook({ url, secret }, this.#log) };
    });
  }

  get open(): Alert[] {
    return this.#book.open;
  }

  get closed(): readonly Alert[] {
    return this.#book.closed;
  }

  get webhooks(): ({ url: string } & WebhookStats)[] {
    return this.#webhooks.map(({ url, webhook }) => ({ url, ...webhook.stats }));
  }

  /** UUIDs of the sensors that are silent for longer than they should be. */
  silentSensors(): string[] {
    return this.#book.open.flatMap(({ kind, subject }) =>
      kind === 'sensor-silent' ? subject : [],
    );
  }

  isSilent(sensor: string): boolean {
    return this.#book.has(`sensor-silent/${sensor}`);
  }

  /** What the ledger was last found to say. */
  balanced(imbalances: readonly Imbalance[]): void {
    this.#imbalances = imbalances;
  }

  /** Looks at everything; called once a second. */
  evaluate(now: number): void {
    const { stats, certificates } = this.#watched;
    for (const { index, deaths } of stats.workers) {
      if (deaths > (this.#deaths.get(index) ?? 0)) this.#restarts.set(index, now);
      this.#deaths.set(index, deaths);
    }
    this.#book.update(
      [
        ...sinkConditions(stats.sinks()),
        ...workerConditions(stats.workers, this.#restarts, now),
        ...certificateConditions(certificates, now),
        ...this.#ledgerConditions(),
        ...this.#silence.conditions((sensor) => this.#watched.heardAt(sensor), now),
      ],
      now,
    );
  }

  async close(): Promise<void> {
    await Promise.all(this.#webhooks.map(({ webhook }) => webhook.close()));
  }

  #ledgerConditions(): Condition[] {
    const [first] = this.#imbalances;
    if (!first) return [];
    return [
      {
        key: 'ledger-imbalance',
        kind: 'ledger-imbalance',
        severity: 'critical',
        subject: 'ledger',
        text:
          `the ledger is out of balance in ${this.#imbalances.length} places, the first being ` +
          `sensor ${first.sensor}, type ${first.type}, sink ${first.sink}: see \`d4gw ledger\``,
      },
    ];
  }

  #tell(alert: Alert): void {
    const { kind, severity, subject, text, closedAt } = alert;
    const isOpen = closedAt === undefined;
    const fields = { alert: kind, subject };
    if (isOpen) this.#log[severity === 'critical' ? 'error' : 'warn'](fields, `alert: ${text}`);
    else this.#log.info(fields, `alert over: ${text}`);
    const event = alertJson(alert);
    for (const { webhook } of this.#webhooks) {
      webhook.post({ event: isOpen ? 'opened' : 'closed', alert: event });
    }
  }
}

/** An alert as programs get it; times in ISO 8601. */
export function alertJson({ key, kind, severity, subject, text, openedAt, closedAt }: Alert) {
  return {
    key,
    kind,
    severity,
    subject,
    text,
    openedAt: new Date(openedAt).toISOString(),
    closedAt: closedAt === undefined ? null : new Date(closedAt).toISOString(),
  };
}

function readSecret(file: string, index: number): Buffer {
  const at = `alerts.webhooks[${index}].secretFile`;
  try {
    const read = readSharedSecret(file);
    if ('secret' in read) return read.secret;
    throw new Error(read.problem);
  } catch (error) {
    throw new GatewayError('D4GW_E_CONFIG', `${at}: ${file}: ${messageOf(error)}`);
  }
}
