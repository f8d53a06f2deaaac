import { networkInterfaces } from 'node:os';
import { GatewayError } from '../errors.js';
import { parseTarget } from '../net/target.js';
import { shown } from './fields.js';
import type { RelaySinkConfig } from './relay-schema.js';
import type { Config } from './schema.js';

/**
 * What concerns several keys of a relay, or the files that they name: one line a problem.
 * @param fileProblem says why a file can't be read
 */
export function relayProblems(
  config: Config,
  fileProblem: (at: string, file: string) => string | undefined,
): string[] {
  return Object.entries(config.sinks).flatMap(([name, sink]) =>
    sink.kind === 'relay' ? problemsOf(`sinks.${name}`, sink, config, fileProblem) : [],
  );
}

function problemsOf(
  at: string,
  sink: RelaySinkConfig,
  config: Config,
  fileProblem: (at: string, file: string) => string | undefined,
): string[] {
  const { caFile, certFile, keyFile, verify, to, mode, secretFile, signingKeyFile } = sink;
  const problems: string[] = [];
  for (const [key, file] of Object.entries({ caFile, certFile, keyFile })) {
    const problem = file === undefined ? undefined : fileProblem(`${at}.${key}`, file);
    if (problem) problems.push(problem);
  }
  if (certFile === undefined && keyFile !== undefined) {
    problems.push(`${at}.certFile: missing; keyFile needs it`);
  }
  if (keyFile === undefined && certFile !== undefined) {
    problems.push(`${at}.keyFile: missing; certFile needs it`);
  }
  if (!verify && caFile !== undefined) {
    problems.push(`${at}.verify: false contradicts caFile; leave one of them out`);
  }
  if (to.startsWith('tcp:')) {
    const { servername } = sink;
    for (const [key, value] of Object.entries({ caFile, certFile, keyFile, servername })) {
      if (value !== undefined) problems.push(`${at}.${key}: only for TLS, and to is ${shown(to)}`);
    }
  }
  if (mode === 'preserve') {
    for (const [key, value] of Object.entries({ secretFile, signingKeyFile })) {
      if (value !== undefined) problems.push(`${at}.${key}: only with mode resign`);
    }
  }
  const target = targetProblem(`${at}.to`, to, config);
  return target ? [...problems, target] : problems;
}

function targetProblem(at: string, to: string, { listen }: Config): string | undefined {
  try {
    const target = parseTarget(to);
    if (target.kind === 'stdout') return `${at}: ${shown(to)} given, expected tls:// or tcp://`;
    const { host, port } = target;
    const own = listen.findIndex((entry) => {
      const source = 'tls' in entry ? entry.tls : 'tcp' in entry ? entry.tcp : undefined;
      return source !== undefined && source.port === port && isOwn(host, source.host);
    });
    if (own < 0) return undefined;
    return `${at}: ${shown(to)} is this gateway's own listen[${own}]: what it relays would come back`;
  } catch (error) {
    if (error instanceof GatewayError) return `${at}: ${error.message}`;
    throw error;
  }
}

/** Whether a connection to `host` would come to a source on `listening`, as far as it is seen here. */
function isOwn(host: string, listening: string): boolean {
  const plain = host.toLowerCase();
  if (plain === listening) return true;
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  const isHere =
    plain === 'localhost' ||
    plain.startsWith('127.') ||
    addresses.some(({ address }) => address === plain);
  const isEvery = listening === '::' || listening === '0.0.0.0';
  const isLoopback = listening === 'localhost' || listening === '127.0.0.1' || listening === '::1';
  return isHere && (isEvery || (isLoopback && plain === 'localhost'));
}
