import type { Logger } from 'pino';
import type { CertificateView } from '../alerts/conditions.js';
import { loadTls } from '../config/certificate.js';
import { lockDataDir, prepareDataDir } from '../config/data-dir.js';
import { gatewayId } from '../config/gateway-id.js';
import { openFilesWarning } from '../config/open-files.js';
import type { Config } from '../config/schema.js';
import { readSharedSecret } from '../config/secret.js';
import { REGISTRY_POLL_MS } from '../constants.js';
import { type ControlOptions, ControlPlane } from '../control/control.js';
import type { ControlledGateway } from '../control/gateway.js';
import { GatewayError, messageOf } from '../errors.js';
import { reportOf } from '../ledger/report.js';
import { type LedgerStore, openLedger } from '../ledger/store.js';
import { createLogger } from '../log/logger.js';
import { RateLimitedLog } from '../log/rate.js';
import { openRegistry } from '../registry/lmdb.js';
import type { Registry } from '../registry/store.js';
import { checkFilesDirectory } from '../sinks/files/files-sink.js';
import { packageVersion } from '../version.js';
import { endName, Reject } from '../wire/reject.js';
import { Acceptor, sourceName } from './acceptor.js';
import { Bookkeeper } from './bookkeeper.js';
import { Duplicates } from './duplicates.js';
import type { SourceStart, ToPrimary, WorkerStart } from './messages.js';
import { Observation } from './observation.js';
import { planProcesses } from './plan.js';
import { Recoveries } from './recovery.js';
import { Supervisor } from './supervisor.js';

/** How long after a stop's deadline the files of workers that were killed may take. */
const RECOVERY_GRACE_MS = 1_000;

/**
 * The primary process: listens, deals connections out, supervises the workers and writes registry
 * and ledger. It never touches a payload byte.
 */
export class Primary {
  readonly #config: Config;
  readonly #log: Logger;
  readonly #registry: Registry;
  readonly #ledger: LedgerStore;
  readonly #unlock: () => void;
  readonly #rejects: RateLimitedLog;
  readonly #bookkeeper: Bookkeeper;
  readonly #duplicates: Duplicates;
  readonly #acceptor: Acceptor;
  readonly #supervisor: Supervisor;
  readonly #sourceNames: string[];
  readonly #poll: NodeJS.Timeout;
  readonly #recoveries: Recoveries;
  readonly #observation: Observation;
  readonly #certificates: readonly CertificateView[];
  readonly #startedAt = Date.now();
  #phase: ControlledGateway['phase'] = 'starting';
  #control: ControlPlane | undefined;
  #stopping: Promise<boolean> | undefined;

  /**
   * Prepares all that can be wrong before anything listens, brings the last run's books in order,
   * starts the workers and listens.
   * @throws GatewayError naming what is wrong
   */
  static async start(config: Config): Promise<Primary> {
    process.umask(0o027);
    prepareDataDir(config.dataDir);
    const unlock = lockDataDir(config.dataDir);
    let primary: Primary | undefined;
    try {
      const log = createLogger(config.log);
      const { control, certificates, ...start } = await prepareStart(config, log);
      const fewFiles = openFilesWarning(config);
      if (fewFiles !== undefined) log.warn(fewFiles);
      const registry = openRegistry(config.dataDir, {});
      const ledger = openLedger(config.dataDir, {});
      primary = new Primary(config, start, certificates, log, registry, ledger, unlock);
      await primary.#recoveries.start();
      await primary.#supervisor.start();
      if (control) await primary.#startControl(control);
      await primary.#listen();
      const { workers, threads } = start;
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
    config: Config,
    start: Omit<WorkerStart, 'index'>,
    certificates: readonly CertificateView[],
    log: Logger,
    registry: Registry,
    ledger: LedgerStore,
    unlock: () => void,
  ) {
    this.#config = config;
    this.#log = log;
    this.#registry = registry;
    this.#ledger = ledger;
    this.#unlock = unlock;
    this.#rejects = new RateLimitedLog(log);
    this.#certificates = certificates;
    const kinds = Object.entries(config.sinks).map(([name, { kind }]) => [name, kind] as const);
    this.#observation = new Observation(start.workers, new Map(kinds));
    this.#recoveries = new Recoveries(config.dataDir, ledger, log);
    this.#sourceNames = start.sources.map(({ name }) => name);
    this.#duplicates = new Duplicates(config.admission.duplicateSession);
    this.#bookkeeper = new Bookkeeper(ledger, registry, log, (worker, ids) =>
      this.#supervisor.send(worker, { t: 'folded', ids }),
    );
    const starts = Array.from({ length: start.workers }, (_, index) => ({ ...start, index }));
    this.#supervisor = new Supervisor(starts, log, {
      message: (index, message) => this.#fromWorker(index, message),
      died: (index, connections) => this.#workerGone(index, connections),
      ready: (index) => {
        for (const sink of this.#observation.held) {
          this.#supervisor.send(index, { t: 'hold', sink, held: true });
        }
      },
      lost: (connection, detail) => {
        this.#acceptor.closed(connection);
        this.#refused(Reject.NO_WORKER, { detail });
      },
    });
    const { maxConnections, maxConnectionsPerIp } = config.limits;
    this.#acceptor = new Acceptor(
      {
        maxConnections,
        maxConnectionsPerIp,
        addressBlocked: (address) => registry.addressBlocked(address),
      },
      {
        accepted: (connection, source, address, socket) => {
          const message = { t: 'socket', connection, source, address } as const;
          if (this.#supervisor.deal(message, socket)) return;
          socket.destroy();
          this.#acceptor.closed(connection);
          const from = { source: this.#sourceNames[source], address };
          this.#refused(Reject.NO_WORKER, { ...from, detail: 'no worker is ready' });
        },
        refused: (code, source, address) =>
          this.#refused(code, { source: this.#sourceNames[source], address }),
        failed: (source, error) => {
          const from = { source: this.#sourceNames[source], error: messageOf(error) };
          this.#rejects.error('accept-failed', from, 'a connection could not be accepted');
        },
      },
    );
    // Keeps the registry's view fresh in this process too: blocked addresses act at accept.
    this.#poll = setInterval(() => registry.version(), REGISTRY_POLL_MS);
  }

  /** What the sources listen on, with the ports that were bound. */
  get sources(): readonly string[] {
    return this.#sourceNames;
  }

  /** Where the control plane is reached, and where its first token was written just now. */
  get control(): Pick<ControlPlane, 'url' | 'firstTokenFile'> | undefined {
    return this.#control;
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
    const { drainTimeoutMs } = this.#config.limits;
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
    await this.#control?.close();
    this.#rejects.close();
    await this.#registry.close();
    await this.#ledger.close();
    this.#unlock();
  }

  async #startControl(options: ControlOptions): Promise<void> {
    const log = this.#log.child({ part: 'control' });
    this.#control = await ControlPlane.start(this.#controlled(), options, log);
    const { url, firstTokenFile } = this.#control;
    this.#log.info({ url }, 'the control plane listens');
    if (firstTokenFile !== undefined) {
      this.#log.info({ file: firstTokenFile }, 'the first admin token was written to this file');
    }
  }

  /** This gateway as the control plane sees it. */
  #controlled(): ControlledGateway {
    const self = this;
    const { stats, sessions, rejects, held } = this.#observation;
    return {
      version: packageVersion(),
      startedAt: this.#startedAt,
      config: this.#config,
      registry: this.#registry,
      certificates: this.#certificates,
      sources: this.#sourceNames,
      stats,
      sessions,
      rejects,
      get phase() {
        return self.#phase;
      },
      get connections() {
        return self.#acceptor.connections;
      },
      ledger: (sensor) => reportOf(this.#ledger, this.#config.dataDir, sensor),
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
    const names = await this.#acceptor.listen(this.#config.listen);
    this.#sourceNames.splice(0, names.length, ...names);
  }

  /** It could not start: nothing is left behind. */
  async #abandon(): Promise<void> {
    await this.#supervisor.stop(this.#config.limits.drainTimeoutMs);
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
      case 'ended':
        this.#bookkeeper.ended(index, message.totals);
        break;
      default:
        break;
    }
  }

  #verified(worker: number, message: Extract<ToPrimary, { t: 'verified' }>): void {
    const { id, slot, generation, sensor, type } = message;
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
    await this.#bookkeeper.flush();
    this.#recoveries.workerEnded(index);
  }
}

type PreparedStart = Omit<WorkerStart, 'index'> & {
  control: ControlOptions | undefined;
  certificates: CertificateView[];
};

/** Reads and checks all that is needed to begin; throws what a user has to mend. */
async function prepareStart(config: Config, log: Logger): Promise<PreparedStart> {
  for (const [name, sink] of Object.entries(config.sinks)) {
    if (sink.kind === 'files') await checkFilesDirectory(name, sink.dir);
  }
  const sources: SourceStart[] = [];
  const certificates: CertificateView[] = [];
  for (const source of config.listen) {
    const name = sourceName(source);
    if ('unix' in source) sources.push({ kind: 'unix', name });
    else if ('tcp' in source) sources.push({ kind: 'tcp', name });
    else {
      const secure = 'tls' in source ? source.tls : source.wss;
      const tls = await loadTls(secure, config.dataDir);
      for (const warning of tls.warnings) log.warn({ source: name }, warning);
      certificates.push({ source: name, notAfter: tls.notAfter });
      const { cert, key, ca, requestCert, rejectUnauthorized } = tls;
      const accept = { requestCert, rejectUnauthorized };
      sources.push({
        kind: 'tls' in source ? 'tls' : 'wss',
        name,
        tls: { cert, key, ...(ca === undefined ? {} : { ca }), ...accept },
        ...('wss' in source ? { path: source.wss.path } : {}),
      });
    }
  }
  const { mode, sharedSecretFile } = config.admission;
  const secret = mode === 'shared-secret' ? readSecret(sharedSecretFile!) : undefined;
  return {
    config,
    gateway: gatewayId(config.dataDir),
    ...planProcesses(config),
    ...(secret === undefined ? {} : { sharedSecret: secret.toString('base64') }),
    sources,
    control: await prepareControl(config, certificates, log),
    certificates,
  };
}

async function prepareControl(
  { control: config, dataDir }: Config,
  certificates: CertificateView[],
  log: Logger,
): Promise<ControlOptions | undefined> {
  if (!config?.tls) return config && { config, tls: undefined };
  const tls = await loadTls(config.tls, dataDir);
  for (const warning of tls.warnings) log.warn({ source: 'control' }, warning);
  const { certFile, keyFile, notAfter } = tls;
  certificates.push({ source: 'control', notAfter });
  return { config, tls: { certFile, keyFile } };
}

function readSecret(file: string): Buffer {
  let read: ReturnType<typeof readSharedSecret>;
  try {
    read = readSharedSecret(file);
  } catch (error) {
    throw new GatewayError('D4GW_E_CONFIG', `admission.sharedSecretFile: ${messageOf(error)}`);
  }
  if ('secret' in read) return read.secret;
  throw new GatewayError('D4GW_E_CONFIG', `admission.sharedSecretFile: ${file} ${read.problem}`);
}
