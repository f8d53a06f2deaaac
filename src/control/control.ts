import type { Logger } from 'pino';
import { Alerts, type Watched } from '../alerts/alerts.js';
import type { Config, ControlConfig } from '../config/schema.js';
import { messageOf } from '../errors.js';
import { HistoryStore } from '../history/store.js';
import { RateLimitedLog } from '../log/rate.js';
import { FlowMeter } from '../stats/flow-meter.js';
import { certificateRoutes } from './api/certificates.js';
import { fileRoutes } from './api/files.js';
import { gatewayRoutes } from './api/gateway.js';
import { healthRoutes } from './api/health.js';
import { historyRoutes } from './api/history.js';
import { loginRoutes } from './api/login.js';
import { peerRoutes } from './api/peers.js';
import { referenceRoutes } from './api/reference.js';
import { sensorRoutes } from './api/sensors.js';
import { ControlApp } from './app.js';
import { ensureFirstToken } from './auth/first-token.js';
import { Gate } from './auth/gate.js';
import type { ControlContext } from './context.js';
import type { ControlledGateway } from './gateway.js';
import { LiveFeed } from './live.js';
import { Metrics } from './metrics.js';
import { describeRoutes } from './openapi.js';
import { OverviewFeed } from './overview.js';
import type { Route } from './route.js';
import { SensorIndex } from './sensor-index.js';
import { HttpServer } from './server.js';
import { Site } from './site.js';

const TICK_MS = 1_000;
const RECHECK_MS = 5_000;
/** From a certificate that is another until it is shown. */
const RENEWAL_MS = 1_000;
/** The ledger's balance is looked at this often: it reads every session's row. */
const BALANCE_MS = 60_000;
const FIRST_BALANCE_MS = 2_000;

export interface ControlOptions {
  config: ControlConfig;
  /** Paths of PEM files. */
  tls: { certFile: string; keyFile: string; notAfter: string; fingerprint: string } | undefined;
}

type Listen = (port: number, tls: ControlOptions['tls']) => Promise<HttpServer>;

/**
 * The control plane, in the primary process: it looks once a second at what the workers told, and
 * answers from that. It never touches a payload byte.
 */
export class ControlPlane {
  readonly #context: ControlContext;
  readonly #log: Logger;
  readonly #refusals: RateLimitedLog;
  readonly #live: LiveFeed;
  readonly #timers: NodeJS.Timeout[];
  readonly #listen: Listen;
  #server: HttpServer;
  #tls: ControlOptions['tls'];
  #renewal: NodeJS.Timeout | undefined;
  #closed = false;
  /** Where people reach it. */
  readonly url: string;
  /** Where the first admin token was written just now. */
  readonly firstTokenFile: string | undefined;

  /**
   * Makes the first token where there is none, and listens.
   * @throws GatewayError D4GW_E_LISTEN, D4GW_E_CONTROL, D4GW_E_CONFIG
   */
  static async start(
    gateway: ControlledGateway,
    options: ControlOptions,
    log: Logger,
  ): Promise<ControlPlane> {
    const refusals = new RateLimitedLog(log);
    const { config, tls } = options;
    const publicOrigin = config.publicUrl && new URL(config.publicUrl).origin;
    const secure = tls !== undefined || publicOrigin?.startsWith('https:') === true;
    let context: ControlContext | undefined;
    const gate = new Gate(gateway.registry, {
      tls: tls !== undefined,
      secure,
      publicOrigin,
      refused(reason, address) {
        refusals.warn(`control-${reason}`, { address }, 'control: a request was refused');
        context?.metrics.refusedLogin(reason);
      },
    });
    context = makeContext(gateway, gate, log);
    const { host, port } = config;
    try {
      const firstTokenFile = ensureFirstToken(gateway.registry, gateway.config.dataDir);
      const live = new LiveFeed(gate, context.overview.current);
      const { metrics } = context;
      const app = new ControlApp(routesOf(context), Site.load(), gate, log, (route, status) =>
        metrics.answered(route, status),
      );
      const extend = live.extend.bind(live);
      const listen: Listen = (own, pair) =>
        HttpServer.listen({ host, port: own, tls: pair, serve: app.serve, extend });
      const server = await listen(port, tls);
      const scheme = tls === undefined ? 'http' : 'https';
      const own = `${scheme}://${host.includes(':') ? `[${host}]` : host}:${server.port}`;
      const found = { url: publicOrigin ?? own, firstTokenFile, tls };
      return new ControlPlane(context, server, listen, live, refusals, log, found);
    } catch (error) {
      await context.history.close();
      throw error;
    }
  }

  private constructor(
    context: ControlContext,
    server: HttpServer,
    listen: Listen,
    live: LiveFeed,
    refusals: RateLimitedLog,
    log: Logger,
    found: { url: string; firstTokenFile: string | undefined; tls: ControlOptions['tls'] },
  ) {
    this.#context = context;
    this.#server = server;
    this.#listen = listen;
    this.#tls = found.tls;
    this.#live = live;
    this.#refusals = refusals;
    this.#log = log;
    this.url = found.url;
    this.firstTokenFile = found.firstTokenFile;
    this.#timers = [
      setInterval(() => this.#tick(Date.now()), TICK_MS),
      setInterval(() => live.recheck(), RECHECK_MS),
      setInterval(() => void this.#checkBalance(), BALANCE_MS),
      setTimeout(() => void this.#checkBalance(), FIRST_BALANCE_MS),
    ];
  }

  /**
   * Takes other rules and webhooks.
   * @throws GatewayError D4GW_E_CONFIG before anything is taken
   */
  prepareAlerts(config: Config['alerts']): () => void {
    return this.#context.alerts.prepare(config);
  }

  /**
   * Takes another certificate, where it is one: in a moment, so that who asked for it is answered.
   * Every connection ends then, and pages come back by themselves.
   */
  renew(tls: ControlOptions['tls']): void {
    if (tls === undefined || tls.fingerprint === this.#tls?.fingerprint) return;
    this.#tls = tls;
    clearTimeout(this.#renewal);
    this.#renewal = setTimeout(() => void this.#listenAnew(tls), RENEWAL_MS);
  }

  async #listenAnew(tls: ControlOptions['tls']): Promise<void> {
    const { port } = this.#server;
    this.#server.close();
    try {
      const server = await this.#listen(port, tls);
      if (this.#closed) server.close();
      this.#server = server;
      this.#log.info({ url: this.url }, 'the control plane has another certificate');
    } catch (error) {
      // Its port was taken in the moment in which nobody had it.
      this.#log.error({ error: messageOf(error) }, 'the control plane is away; trying again');
      if (!this.#closed) {
        this.#renewal = setTimeout(() => void this.#listenAnew(tls), RENEWAL_MS);
      }
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#renewal);
    for (const timer of this.#timers) clearInterval(timer);
    this.#server.close();
    this.#refusals.close();
    await this.#context.alerts.close();
    await this.#context.history.close();
  }

  #tick(now: number): void {
    const { alerts, overview } = this.#context;
    try {
      alerts.evaluate(now);
      this.#live.update(overview.sample(now), (topic, message) =>
        this.#server.publish(topic, message),
      );
    } catch (error) {
      // Such as a registry that can't be read: the gateway goes on without a page.
      this.#refusals.error('control-tick', { error: messageOf(error) }, 'control: no overview');
    }
  }

  async #checkBalance(): Promise<void> {
    const { gateway, alerts, overview, metrics } = this.#context;
    try {
      const { balanced, imbalances } = await gateway.ledger();
      const balance = { balanced, imbalances: imbalances.length, at: Date.now() };
      alerts.balanced(imbalances);
      overview.balance = balance;
      metrics.balance = balance;
    } catch (error) {
      this.#log.error({ error: messageOf(error) }, 'control: the ledger could not be read');
    }
  }
}

function makeContext(gateway: ControlledGateway, gate: Gate, log: Logger): ControlContext {
  const meter = new FlowMeter();
  const { registry, stats, startedAt } = gateway;
  const heardAt = (sensor: string) => meter.lastAt(sensor);
  const watched: Watched = {
    registry,
    stats,
    startedAt,
    heardAt,
    get certificates() {
      return gateway.certificates;
    },
  };
  const alerts = new Alerts(gateway.config.alerts, watched, log);
  const sensors = new SensorIndex(registry, meter, gateway.sessions);
  const overview = new OverviewFeed(gateway, alerts, sensors);
  const metrics = new Metrics(gateway, alerts);
  const history = HistoryStore.open(gateway.config.dataDir, log);
  gateway.onFlow((flow, at) => {
    meter.take(flow, at);
    history.take(flow, at);
    for (const [, sensor, type, frames, bytes] of flow) {
      metrics.flowed(sensor, type, frames, bytes);
    }
  });
  return { gateway, gate, alerts, meter, sensors, overview, history, metrics };
}

/** Every route that is served; the description is made of the same list. */
export function routesOf(context: ControlContext): Route[] {
  let description: unknown;
  const describe = () => {
    description ??= describeRoutes(routes, context.gateway.version);
    return description;
  };
  const routes = [
    ...referenceRoutes(context),
    ...loginRoutes(context),
    ...gatewayRoutes(context),
    ...certificateRoutes(context),
    ...sensorRoutes(context),
    ...historyRoutes(context),
    ...fileRoutes(context),
    ...peerRoutes(context),
    ...healthRoutes(context, describe),
  ];
  return routes;
}
