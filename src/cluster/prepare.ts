import type { Logger } from 'pino';
import { loadTls } from '../config/certificate.js';
import { gatewayId } from '../config/gateway-id.js';
import type { Config, ListenConfig } from '../config/schema.js';
import { readSharedSecret } from '../config/secret.js';
import type { ControlOptions } from '../control/control.js';
import { GatewayError, messageOf } from '../errors.js';
import { checkFilesDirectory } from '../sinks/files/files-sink.js';
import { prepareRelay } from '../sinks/relay/prepare.js';
import { checkSpools } from '../spool/check.js';
import { sourceName } from './acceptor.js';
import { spoolsOf } from './custody.js';
import type { SourceStart, WorkerStart } from './messages.js';
import { planProcesses } from './plan.js';

/** A listener with all that was read for it. */
export interface PreparedSource {
  config: ListenConfig;
  start: SourceStart;
  /** When its certificate expires, ISO 8601. */
  notAfter: string | undefined;
}

/** Reads and checks all that is needed to begin; throws what a user has to mend. */
export async function prepareStart(config: Config, log: Logger) {
  await prepareSinks(config, Object.keys(config.sinks));
  const sources = await prepareSources(config, log);
  const sharedSecret = prepareSecret(config);
  const start: Omit<WorkerStart, 'index'> = {
    config,
    gateway: gatewayId(config.dataDir),
    ...planProcesses(config),
    ...(sharedSecret === undefined ? {} : { sharedSecret }),
    sources: sources.map((source) => source.start),
    slots: Object.keys(config.sinks),
  };
  return { start, sources, control: await prepareControl(config, log) };
}

/**
 * Proves that sinks can be what the configuration says.
 * @param names of those that are new, or are to change
 * @throws GatewayError D4GW_E_SINK, D4GW_E_CERTIFICATE or D4GW_E_SPOOL
 */
export async function prepareSinks(
  { sinks, dataDir }: Config,
  names: readonly string[],
): Promise<void> {
  for (const name of names) {
    const sink = sinks[name]!;
    if (sink.kind === 'files' || sink.kind === 'archive') {
      await checkFilesDirectory(name, sink.dir);
    } else if (sink.kind === 'relay') prepareRelay(name, sink, dataDir);
    const spools = spoolsOf(name, sink, dataDir);
    if (spools !== undefined) await checkSpools(spools);
  }
}

/**
 * Reads and checks what the listeners need, in the order of the configuration.
 * @throws GatewayError D4GW_E_CERTIFICATE
 */
export async function prepareSources(config: Config, log: Logger): Promise<PreparedSource[]> {
  const prepared: PreparedSource[] = [];
  for (const source of config.listen) prepared.push(await prepareSource(source, config, log));
  return prepared;
}

async function prepareSource(
  source: ListenConfig,
  { dataDir }: Config,
  log: Logger,
): Promise<PreparedSource> {
  const name = sourceName(source);
  const plain = (kind: 'unix' | 'tcp') => {
    return { config: source, start: { kind, name }, notAfter: undefined };
  };
  if ('unix' in source) return plain('unix');
  if ('tcp' in source) return plain('tcp');
  const secure = 'tls' in source ? source.tls : source.wss;
  const tls = await loadTls(secure, dataDir);
  for (const warning of tls.warnings) log.warn({ source: name }, warning);
  const { cert, key, ca, requestCert, rejectUnauthorized } = tls;
  const accept = { requestCert, rejectUnauthorized };
  const start: SourceStart = {
    kind: 'tls' in source ? 'tls' : 'wss',
    name,
    tls: { cert, key, ...(ca === undefined ? {} : { ca }), ...accept },
    ...('wss' in source ? { path: source.wss.path } : {}),
  };
  return { config: source, start, notAfter: tls.notAfter };
}

/** The files that certificates, keys and CAs are read from, where an operator gave them. */
export function certificateFiles({ listen, control }: Config): string[] {
  const { certFile: cert, keyFile: key } = control?.tls ?? {};
  const own = [cert, key].filter((file) => file !== undefined);
  const others = listen.flatMap((source) => {
    const secure = 'tls' in source ? source.tls : 'wss' in source ? source.wss : undefined;
    const { certFile, keyFile, caFile } = secure ?? {};
    return [certFile, keyFile, caFile].filter((file) => file !== undefined);
  });
  return [...own, ...others];
}

/** The admin server's part of the configuration, with its certificate where it speaks TLS. */
export async function prepareControl(
  { control: config, dataDir }: Config,
  log: Logger,
): Promise<ControlOptions | undefined> {
  if (!config?.tls) return config && { config, tls: undefined };
  const tls = await loadTls(config.tls, dataDir);
  for (const warning of tls.warnings) log.warn({ source: 'control' }, warning);
  const { certFile, keyFile, notAfter, fingerprint256: fingerprint } = tls;
  return { config, tls: { certFile, keyFile, notAfter, fingerprint } };
}

/**
 * The shared secret, base64, where the configuration has one.
 * @throws GatewayError D4GW_E_CONFIG
 */
export function prepareSecret({ admission }: Config): string | undefined {
  const { mode, sharedSecretFile: file } = admission;
  if (mode !== 'shared-secret' || file === undefined) return undefined;
  let read: ReturnType<typeof readSharedSecret>;
  try {
    read = readSharedSecret(file);
  } catch (error) {
    throw new GatewayError('D4GW_E_CONFIG', `admission.sharedSecretFile: ${messageOf(error)}`);
  }
  if ('secret' in read) return read.secret.toString('base64');
  throw new GatewayError('D4GW_E_CONFIG', `admission.sharedSecretFile: ${file} ${read.problem}`);
}
