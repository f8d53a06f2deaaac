import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createSecureContext } from 'node:tls';
import { isLink } from '../../config/relay-checks.js';
import type { Config, RelaySinkConfig } from '../../config/schema.js';
import { GatewayError, messageOf } from '../../errors.js';
import type { SecureOptions } from '../../net/connection.js';
import type { Mends } from '../../net/connection-error.js';
import { relaySecrets, secretPaths } from './secrets.js';

const PEM_BYTES_MAX = 1024 * 1024;

/** How errors of a relay's connections are mended: in the words of its configuration. */
export const RELAY_MENDS: Mends = {
  plain: 'give tcp:// in the place of tls://',
  clientCertificate: 'certFile and keyFile',
  authority:
    "Give its authority's certificate, or its own where it signed it itself, as caFile; a gateway " +
    'keeps its own as data/tls/cert.pem',
  servername: 'servername',
};

/** Where a relay's spools are: one directory a worker. */
export function spoolRoot(dataDir: string, name: string, config: RelaySinkConfig): string {
  return config.spool.dir ?? join(dataDir, 'spool', name);
}

/** The spools of all relays of a configuration, by name. */
export function relaySpools({ sinks, dataDir }: Pick<Config, 'sinks' | 'dataDir'>) {
  const found: Record<string, string> = {};
  for (const [name, sink] of Object.entries(sinks)) {
    if (sink.kind === 'relay') found[name] = spoolRoot(dataDir, name, sink);
  }
  return found;
}

/**
 * Proves before the gateway starts that a relay's files can be used, and makes the secrets that are
 * missing.
 * @throws GatewayError D4GW_E_SINK, D4GW_E_SPOOL or D4GW_E_CERTIFICATE
 */
export function prepareRelay(name: string, config: RelaySinkConfig, dataDir: string): void {
  secureOptions(name, config);
  proveWritable(name, spoolRoot(dataDir, name, config));
  if (isLink(config.to)) linkToken(name, config);
  if (config.mode === 'resign') relaySecrets(secretPaths(dataDir, name, config));
}

/** A worker that can't open its spool would begin anew without end. */
function proveWritable(name: string, root: string): void {
  const probe = join(root, `.probe-${process.pid}`);
  try {
    mkdirSync(root, { recursive: true });
    writeFileSync(probe, '');
    rmSync(probe);
  } catch (cause) {
    const text = `sinks.${name}: its spool can't be in ${root}: ${messageOf(cause)}`;
    throw new GatewayError('D4GW_E_SPOOL', text, { cause });
  }
}

const TOKEN_FORM = /^[A-Za-z0-9_-]{16,256}$/;
const OTHERS = 0o077;

/**
 * The token that a link is opened with.
 * @throws GatewayError D4GW_E_SINK, without a word of what the file holds
 */
export function linkToken(name: string, { tokenFile }: RelaySinkConfig): string {
  const at = `sinks.${name}.tokenFile: ${tokenFile}`;
  let text: string;
  let mode: number;
  try {
    mode = statSync(tokenFile!).mode;
    text = readFileSync(tokenFile!, 'latin1').replace(/\r?\n$/, '');
  } catch (cause) {
    throw new GatewayError('D4GW_E_SINK', `${at}: ${messageOf(cause)}`, { cause });
  }
  if ((mode & OTHERS) !== 0) {
    const mend = `mend with: chmod 600 ${tokenFile}`;
    throw new GatewayError('D4GW_E_SINK', `${at} is open to other users; ${mend}`);
  }
  if (!TOKEN_FORM.test(text)) {
    const mend = 'put there what `d4gw link add` printed at the other gateway, and nothing else';
    throw new GatewayError('D4GW_E_SINK', `${at} holds no link token; ${mend}`);
  }
  return text;
}

/**
 * What a TLS connection to the upstream needs.
 * @throws GatewayError D4GW_E_CERTIFICATE
 */
export function secureOptions(name: string, config: RelaySinkConfig): SecureOptions {
  const { caFile, certFile, keyFile, servername, verify } = config;
  const options: SecureOptions = {
    rejectUnauthorized: verify,
    ...(caFile === undefined ? {} : { ca: readPem(name, 'caFile', caFile) }),
    ...(certFile === undefined ? {} : { cert: readPem(name, 'certFile', certFile) }),
    ...(keyFile === undefined ? {} : { key: readPem(name, 'keyFile', keyFile) }),
    ...(servername === undefined ? {} : { servername }),
  };
  if (typeof options.ca === 'string' && !options.ca.includes('BEGIN CERTIFICATE')) {
    throw fail(`sinks.${name}.caFile: ${caFile} holds no PEM certificate`);
  }
  try {
    createSecureContext(options);
  } catch (cause) {
    const files = [caFile, certFile, keyFile].filter((file) => file !== undefined).join(', ');
    throw fail(`sinks.${name}: ${files} can't be used for TLS: ${messageOf(cause)}`, cause);
  }
  return options;
}

function readPem(name: string, key: string, file: string): string {
  try {
    if (statSync(file).size > PEM_BYTES_MAX) throw new Error(`over ${PEM_BYTES_MAX} bytes`);
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw fail(`sinks.${name}.${key}: ${file}: ${messageOf(cause)}`, cause);
  }
}

function fail(message: string, cause?: unknown): GatewayError {
  return new GatewayError('D4GW_E_CERTIFICATE', message, { cause });
}
