import type { Logger } from 'pino';
import { type Actor, GATEWAY_ACTOR } from '../audit/entry.js';
import { lockDataDir, prepareDataDir } from '../config/data-dir.js';
import { FileWatch } from '../config/file-watch.js';
import { openFilesWarning } from '../config/open-files.js';
import type { Config } from '../config/schema.js';
import { REGISTRY_POLL_MS } from '../constants.js';
import { type ControlOptions, ControlPlane } from '../control/control.js';
import type { ControlledGateway } from '../control/gateway.js';
import { NoControlBinary } from '../control/server.js';
import { messageOf } from '../errors.js';
import { reportOf } from '../ledger/report.js';
import { type LedgerStore, openLedger } from '../ledger/store.js';
import { LinkStore } from '../link/store.js';
import { createLogger } from '../log/logger.js';
import { RateLimitedLog } from '../log/rate.js';
import { openRegistry } from '../registry/lmdb.js';
import type { Registry } from '../registry/store.js';
import { relaySpools } from '../sinks/relay/prepare.js';
import { packageVersion } from '../version.js';
import { endName, Reject } from '../wire/reject.js';
import { Acceptor } from './acceptor.js';
import { Bookkeeper } from './bookkeeper.js';
import { custodyHolds } from './custody.js';
import { Duplicates } from './duplicates.js';
import { LinkClaims } from './link-claims.js';
import type { ToPrimary, WorkerStart } from './messages.js';
import { Observation } from './observation.js';
import { certificateFiles, type PreparedSource, prepareControl, prepareStart } from './prepare.js';
import { Recoveries } from './recovery.js';
import { Reloader } from './reloader.js';
import { SinkBook } from './sink-book.js';
import { SinkRollout } from './sink-rollout.js';
import { SourceBook } from './source-book.js';
import { Supervisor } from './supervisor.js';

/** How long after a stop's deadline the files of workers that were killed may take. */
const RECOVERY_GRACE_MS = 1_000;

/**
 * The primary process: listens, deals connections out, supervises the workers and writes registry
 * and ledger. It never touches a payload byte.
 */
export class Primary {
  readonly #read: () => Config;
  readonly #reloader: Reloader;
  readonly #log: Logger;
  readonly #registry: Registry;
  readonly #ledger: LedgerStore;
  readonly #unlock: () => void;
  readonly #rejects: RateLimitedLog;
  readonly #bookkeeper: Bookkeeper;
  readonly #duplicates: Duplicates;
  readonly #acceptor: Acceptor;
  readonly #supervisor: Supervisor;
  readonly #sources: SourceBook;
  readonly #sinks: SinkBook;
  readonly #rollout: SinkRollout;
  /** What other gateways that link to this one brought. */
  readonly #links: LinkStore;
  readonly #claims: LinkClaims;
  readonly #poll: NodeJS.Timeout;
  readonly #watch: FileWatch;
  readonly #recoveries: Recoveries;
  readonly #observation: Observation;
  readonly #startedAt = Date.now();
  #phase: ControlledGateway['phase'] = 'starting';
  #control: ControlPlane | undefined;
  /** When its certificate expires, ISO 8601. */
  #controlExpires: string | undefined;
  #stopping: Promise<boolean> | undefined;

  /**
   * Prepares all that can be wrong before anything listens, brings the last run's books in order,
   * starts the workers and listens.
   * @param read reads the configuration anew, for a reload
   * @throws GatewayError naming what is wrong
   */
  static async start(config: Config, read: () => Config = () => config): Promise<Primary> {
    process.umask(0o027);
    prepareDataDir(config.dataDir);
    const unlock = lockDataDir(config.dataDir);
    let primary: Primary | undefined;
    try {
      const log = createLogger(config.log);
      const prepared = await prepareStart(config, log);
      const fewFiles = openFilesWarning(config);
      if (fewFiles !== undefined) log.warn(fewFiles);
      const registry = openRegistry(config.dataDir, {});
      const ledger = openLedger(config.dataDir, {});
      primary = new Primary(prepared, read, log, registry, ledger, unlock);
      await primary.#recoveries.start();
      await primary.#supervisor.start();
      if (prepared.control) await primary.#startControl(prepared.control);
      await primary.#listen();
      const { workers, threads } = prepared.start;
      log.info({ sources: primary.sources, workers, threads }, 'listening');
      primary.#phase = 'running';
      return primary;
    } catch (error) {
      if (primary) await primary.#abandon();
      else unlock();
      throw error;
    }
  }

  private constructor(
    { start, sources }: { start: Omit<WorkerStart, 'index'>; sources: PreparedSource[] },
    read: () => Config,
    log: Logger,
    registry: Registry,
    ledger: LedgerStore,
    unlock: () => void,
  ) {
    const { config } = start;
    this.#read = read;
    this.#log = log;
    this.#registry = registry;
    this.#ledger = ledger;
    this.#unlock = unlock;
    this.#rejects = new RateLimitedLog(log);
    this.#sinks = new SinkBook(config.sinks, start.workers);
    this.#observation = new Observation(start.workers, kindsOf(config.sinks));
    this.#links = LinkStore.open(config.dataDir);
    const holds = custodyHolds(config.dataDir, () => this.#sinks.sinks);
    this.#recoveries = new Recoveries(config.dataDir, ledger, log, { holds, links: this.#links });
    this.#sources = new SourceBook(sources);
    this.#duplicates = new Duplicates(config.admission.duplicateSession);
    this.#bookkeeper = new Bookkeeper(ledger, registry, log, (worker, ids) =>
      this.#supervisor.send(worker, { t: 'folded', ids }),
    );
    const starts = Array.from({ length: start.workers }, (_, index) => ({ ...start, index }));
    this.#supervisor = new Supervisor(starts, log, {
      message: (index, message) => this.#fromWorker(index, message),
      died: (index, connections) => this.#workerGone(index, connections),
      ready: (index) => {
        this.#sinksLeft(this.#sinks.workerGone(index));
        for (const sink of this.#observation.held) {
          this.#supervisor.send(index, { t: 'hold', sink, held: true });
        }
      },
      lost: (connection, detail) => {
        this.#acceptor.closed(connection);
        this.#refused(Reject.NO_WORKER, { detail });
      },
    });
    this.#rollout = new SinkRollout(this.#supervisor);
    this.#claims = new LinkClaims({
      granted: (link, { worker, claim }) =>
        this.#supervisor.send(worker, { t: 'link-granted', link, claim }),
      release: (link, { worker, claim }) =>
        this.#supervisor.send(worker, { t: 'link-release', link, claim }),
    });
    const { maxConnections, maxConnectionsPerIp } = config.limits;
    this.#acceptor = new Acceptor(
      {
        maxConnections,
        maxConnectionsPerIp,
        addressBlocked: (address) => registry.addressBlocked(address),
      },
      {
        accepted: (connection, source, address, handle) => {
          const message = { t: 'socket', connection, source, address } as const;
          if (this.#supervisor.deal(message, handle)) return;
          handle.close();
          this.#acceptor.closed(connection);
          const from = { source: this.#sources.nameOf(source), address };
          this.#refused(Reject.NO_WORKER, { ...from, detail: 'no worker is ready' });
        },
        refused: (code, source, address) =>
          this.#refused(code, { source: this.#sources.nameOf(source), address }),
        failed: (source, error) => {
          const from = { source: this.#sources.nameOf(source), error: messageOf(error) };
          this.#rejects.error('accept-failed', from, 'a connection could not be accepted');
        },
      },
    );
    this.#reloader = new Reloader(
      {
        begun: config,
        sources: this.#sources,
        acceptor: this.#acceptor,
        supervisor: this.#supervisor,
        sinks: this.#sinks,
        rollout: this.#rollout,
        prepare: (next) => this.#prepareReload(next),
      },
      log,
    );
    this.#watch = new FileWatch(
      () => certificateFiles(this.#reloader.config),
      () => void this.#certificatesChanged(),
    );
    // Keeps the registry's view fresh in this process too: blocked addresses act at accept.
    this.#poll = setInterval(() => registry.version(), REGISTRY_POLL_MS);
  }

  /** What the sources listen on, with the ports that were bound. */
  get sources(): readonly string[] {
    return this.#sources.names;
  }

  /** Where the control plane is reached, and where its first token was written just now. */
  get control(): Pick<ControlPlane, 'url' | 'firstTokenFile'> | undefined {
    return this.#control;
  }

  /**
   * Takes the configuration, certificates and secrets anew. Both outcomes go on the audit trail.
   * @throws GatewayError naming what is wrong: then the old configuration is in force
   */
  async reload(actor: Actor = GATEWAY_ACTOR): Promise<{ changed: string[] }> {
    const registry = this.#registry.as(actor);
    const subject = 'configuration';
    // What was done, or refused, is so whether the trail can tell of it or not.
    const record = (act: string, after: object) =>
      registry.record({ act, subject, after }).catch((error) => {
        this.#log.error({ error: messageOf(error) }, 'a reload is not on the audit trail');
      });
    try {
      const { changed } = await this.#reloader.reload(this.#read);
      await record('config.reload', { changed });
      return { changed };
    } catch (error) {
      const reason = messageOf(error);
      this.#log.error({ error: reason }, 'nothing was reloaded');
      await record('config.reload-refused', { reason });
      throw error;
    }
  }

  /** A certificate, key or CA file is another: that alone is taken, not the configuration's file. */
  async #certificatesChanged(): Promise<void> {
    try {
      await this.#reloader.reload(() => this.#reloader.config);
    } catch (error) {
      // Such as a key that was replaced before its certificate: the next change tries again.
      const reason = messageOf(error);
      this.#log.error({ error: reason }, 'a changed certificate could not be taken');
    }
  }

  /** What of a reload is the primary's own. */
  async #prepareReload(config: Config): Promise<() => void> {
    const { limits, admission, alerts } = config;
    const control = await prepareControl(config, this.#log);
    const takeAlerts = this.#control?.prepareAlerts(alerts);
    return () => {
      takeAlerts?.();
      this.#control?.renew(control?.tls);
      this.#controlExpires = control?.tls?.notAfter;
      this.#acceptor.limit(limits);
      this.#duplicates.mode = admission.duplicateSession;
      this.#sinksChanged();
    };
  }

  #sinksChanged(): void {
    const { sinks, leaving } = this.#sinks;
    const { held, stats } = this.#observation;
    // What was removed has to finish what it took.
    for (const name of leaving) {
      if (!held.delete(name)) continue;
      this.#supervisor.broadcast({ t: 'hold', sink: name, held: false });
    }
    stats.sinksAre(kindsOf(sinks), leaving);
  }

  #sinksLeft(names: readonly string[]): void {
    if (names.length === 0) return;
    for (const sink of names) this.#log.info({ sink }, 'a sink that was removed has finished');
    this.#sinksChanged();
  }

  /**
   * Stops accepting, finishes what was received, closes the files. Called again it ends all at once.
   * @returns whether everything was finished before the deadline
   */
  stop(): Promise<boolean> {
    if (this.#stopping) {
      this.#recoveries.abort();
      this.#supervisor.kill();
    }
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<boolean> {
    this.#log.info('stopping: nothing more is accepted');
    this.#phase = 'stopping';
    await this.#reloader.close();
    const { drainTimeoutMs } = this.#reloader.config.limits;
    const deadline = Date.now() + drainTimeoutMs;
    await this.#acceptor.close();
    const drained = await this.#supervisor.stop(drainTimeoutMs);
    const left = Math.max(deadline - Date.now(), RECOVERY_GRACE_MS);
    const clean = (await this.#recoveries.finish(left)) && drained;
    await this.#bookkeeper.flush();
    await this.#close();
    this.#log[clean ? 'info' : 'error']({ clean }, 'stopped');
    return clean;
  }

  async #close(): Promise<void> {
    clearInterval(this.#poll);
    this.#watch.close();
    await this.#control?.close();
    this.#rejects.close();
    this.#observation.close();
    await this.#registry.close();
    await this.#ledger.close();
    await this.#links.close();
    this.#unlock();
  }

  async #startControl(options: ControlOptions): Promise<void> {
    const log = this.#log.child({ part: 'control' });
    try {
      this.#control = await ControlPlane.start(this.#controlled(options), options, log);
    } catch (error) {
      if (!(error instanceof NoControlBinary)) throw error;
      // Sensors are served all the same: they are what the gateway is for.
      const text = 'there is no control plane: no page, API, metrics, history or alerts';
      this.#log.error({ error: messageOf(error) }, text);
      return;
    }
    const { url, firstTokenFile } = this.#control;
    this.#log.info({ url }, 'the control plane listens');
    if (firstTokenFile !== undefined) {
      this.#log.info({ file: firstTokenFile }, 'the first admin token was written to this file');
    }
  }

  /** This gateway as the control plane sees it. */
  #controlled({ tls }: ControlOptions): ControlledGateway {
    const self = this;
    this.#controlExpires = tls?.notAfter;
    const { stats, own, sessions, rejects, held } = this.#observation;
    return {
      version: packageVersion(),
      startedAt: this.#startedAt,
      get config() {
        return self.#reloader.config;
      },
      registry: this.#registry,
      get certificates() {
        const notAfter = self.#controlExpires;
        const own = notAfter === undefined ? [] : [{ source: 'control', notAfter }];
        return [...self.#sources.certificates, ...own];
      },
      get sources() {
        return self.#sources.names;
      },
      reload: (actor) => this.reload(actor),
      stats,
      own,
      sessions,
      rejects,
      get phase() {
        return self.#phase;
      },
      get connections() {
        return self.#acceptor.connections;
      },
      ledger: (sensor) => {
        const { config: now } = this.#reloader;
        const { dataDir } = now;
        const { sinks } = this.#sinks;
        return reportOf(this.#ledger, dataDir, sensor, relaySpools({ dataDir, sinks }));
      },
      endSession(id, code, detail) {
        const place = sessions.get(id);
        if (!place) return false;
        const { worker, slot, generation } = place;
        self.#supervisor.send(worker, { t: 'end', slot, generation, code, detail });
        return true;
      },
      holdSink(sink, isHeld) {
        if (isHeld) held.add(sink);
        else held.delete(sink);
        self.#supervisor.broadcast({ t: 'hold', sink, held: isHeld });
      },
      onFlow: (listener) => this.#observation.onFlow(listener),
    };
  }

  async #listen(): Promise<void> {
    const names = await this.#acceptor.listen(this.#reloader.config.listen);
    for (const [number, name] of names.entries()) this.#sources.named(number, name);
  }

  /** It could not start: nothing is left behind. */
  async #abandon(): Promise<void> {
    await this.#supervisor.stop(this.#reloader.config.limits.drainTimeoutMs);
    await this.#recoveries.finish(0);
    await this.#close();
  }

  /** A connection ended before a worker had it: the ledger counts it, a few are logged. */
  #refused(
    code: number,
    fields: { source?: string | undefined; address?: string | undefined; detail?: string },
  ): void {
    const reason = endName(code);
    this.#rejects.warn(reason, fields, 'rejected');
    this.#observation.refused(reason, fields.address, fields.detail ?? '');
    this.#bookkeeper.refused(reason);
  }

  #fromWorker(index: number, message: ToPrimary): void {
    this.#observation.fromWorker(index, message);
    switch (message.t) {
      case 'closed':
        if (this.#supervisor.connectionClosed(index, message.connection)) {
          this.#acceptor.closed(message.connection);
        }
        break;
      case 'refused':
        this.#bookkeeper.refused(message.reason);
        break;
      case 'rejected': {
        const { sensor: uuid, reason, detail, address } = message;
        const at = Date.now();
        this.#bookkeeper.activity({ kind: 'reject', uuid, reason, detail, address, at });
        break;
      }
      case 'note':
        this.#bookkeeper.activity({
          kind: 'note',
          uuid: message.sensor,
          text: message.text,
          at: Date.now(),
        });
        break;
      case 'activity':
        for (const { sensor: uuid, at, address } of message.seen) {
          this.#bookkeeper.activity({ kind: 'seen', uuid, at, address });
        }
        break;
      case 'verified':
        this.#verified(index, message);
        break;
      case 'over':
        this.#duplicates.over(message.id);
        break;
      case 'link-claim':
        this.#claims.claim(message.link, { worker: index, claim: message.claim });
        break;
      case 'link-free':
        this.#claims.free(message.link, { worker: index, claim: message.claim });
        break;
      case 'ended':
        this.#bookkeeper.ended(index, message.totals);
        break;
      case 'sinks-ready':
        this.#rollout.answered(index, message);
        break;
      case 'sink-gone': {
        const name = this.#sinks.gone(index, message.slot, message.revision);
        if (name !== undefined) this.#sinksLeft([name]);
        break;
      }
      default:
        break;
    }
  }

  #verified(worker: number, message: Extract<ToPrimary, { t: 'verified' }>): void {
    const { id, slot, generation, sensor, type, linked } = message;
    // Its sensor's own gateway has seen to that.
    if (linked) return;
    const order = this.#duplicates.verified({ id, slot, generation, worker }, sensor, type);
    if (!order) return;
    const { place, code, detail } = order;
    const ref = { slot: place.slot, generation: place.generation };
    this.#supervisor.send(place.worker, { t: 'end', ...ref, code, detail });
  }

  async #workerGone(index: number, connections: readonly number[]): Promise<void> {
    for (const connection of connections) this.#acceptor.closed(connection);
    this.#duplicates.workerGone(index);
    this.#observation.workerGone(index, this.#phase !== 'stopping');
    this.#rollout.workerGone(index);
    const links = this.#claims.workerDied(index);
    await this.#bookkeeper.flush();
    this.#recoveries.workerEnded(index);
    void this.#recoveries.settled().then(() => this.#claims.settled(links));
  }
}

function kindsOf(sinks: Config['sinks']): Map<string, string> {
  return new Map(Object.entries(sinks).map(([name, { kind }]) => [name, kind]));
}
