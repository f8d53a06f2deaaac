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
  const relays = Object.entries(config.sinks).filter(
    (entry): entry is [string, RelaySinkConfig] => entry[1].kind === 'relay',
  );
  return relays.flatMap(([name, sink], index) => {
    const problems = problemsOf(`sinks.${name}`, sink, config, fileProblem);
    const { dir } = sink.spool;
    const other = relays.slice(0, index).find((entry) => dir && entry[1].spool.dir === dir);
    if (other) problems.push(`sinks.${name}.spool.dir: ${shown(dir)} is the spool of ${other[0]}`);
    return problems;
  });
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
  problems.push(...linkProblems(at, sink, fileProblem));
  if (mode === 'preserve') {
    for (const [key, value] of Object.entries({ secretFile, signingKeyFile })) {
      if (value !== undefined) problems.push(`${at}.${key}: only with mode resign`);
    }
  }
  const target = targetProblem(`${at}.to`, to, config);
  return target ? [...problems, target] : problems;
}

/** What concerns a relay to another gateway alone. */
function linkProblems(
  at: string,
  { to, tokenFile, mode, verify }: RelaySinkConfig,
  fileProblem: (at: string, file: string) => string | undefined,
): string[] {
  const problems: string[] = [];
  if (!isLink(to)) {
    if (tokenFile !== undefined) {
      problems.push(`${at}.tokenFile: only for wss://, and to is ${shown(to)}`);
    }
    return problems;
  }
  if (tokenFile === undefined) {
    problems.push(
      `${at}.tokenFile: missing; \`d4gw link add\` at the other gateway prints a token`,
    );
  } else {
    const problem = fileProblem(`${at}.tokenFile`, tokenFile);
    if (problem) problems.push(problem);
  }
  if (mode === 'resign') problems.push(`${at}.mode: resign is not for wss://; use preserve`);
  if (!verify) problems.push(`${at}.verify: a link is always verified; give caFile`);
  return problems;
}

/** Whether a relay is a link to another gateway. */
export function isLink(to: string): boolean {
  return to.startsWith('wss://');
}

/** Its address, as that of a TLS server. */
export function plainTarget(to: string): string {
  return to.replace(/^wss:/, 'tls:');
}

function targetProblem(at: string, to: string, { listen }: Config): string | undefined {
  try {
    const target = parseTarget(plainTarget(to));
    if (target.kind === 'stdout') return `${at}: ${shown(to)} given, expected tls:// or tcp://`;
    const { host, port } = target;
    const own = listen.findIndex((entry) => {
      const source = 'unix' in entry ? undefined : Object.values(entry)[0];
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
