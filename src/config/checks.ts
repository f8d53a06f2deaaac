import { accessSync, constants, statSync } from 'node:fs';
import { isAbsolute, relative } from 'node:path';
import { PATH_BYTES_MAX } from '../ledger/journal-layout.js';
import { assemblyBlockBytes } from '../ring/assembly-block.js';
import { TYPE_EXTENDED, TYPE_META } from '../wire/types.js';
import { shown } from './fields.js';
import { relayProblems } from './relay-checks.js';
import type { ArchiveSinkConfig, Config, FilesSinkConfig, ListenConfig } from './schema.js';
import { readSharedSecret } from './secret.js';
import { didYouMean } from './suggest.js';
import { formatBytes } from './units.js';

/** `sun_path` of a Linux unix socket holds 108 bytes with its final zero. */
const SOCKET_PATH_BYTES_MAX = 107;
/** What a files sink adds to its directory at most: UUID, type, date, meta type, name, endings. */
const SINK_FILE_BYTES_MAX = 200;
/** The journal names each open file in a row of fixed size. */
const SINK_DIR_BYTES_MAX = PATH_BYTES_MAX - SINK_FILE_BYTES_MAX;

/**
 * What concerns several keys at once, or the files that they name: one line a problem, with its
 * path. Expects absolute paths.
 */
export function crossProblems(config: Config): string[] {
  return [
    ...limitProblems(config),
    ...admissionProblems(config),
    ...listenProblems(config.listen),
    ...sinkProblems(config),
    ...relayProblems(config, fileProblem),
    ...routeProblems(config),
    ...controlProblems(config),
    ...webhookProblems(config),
  ];
}

function limitProblems({ limits }: Config): string[] {
  const blockBytes = assemblyBlockBytes(limits.maxPayloadBytes);
  return limits.assemblyBytes < blockBytes
    ? [
        `limits.assemblyBytes: ${limits.assemblyBytes} given, expected at least ` +
          `${formatBytes(blockBytes)}: a frame of limits.maxPayloadBytes must fit`,
      ]
    : [];
}

function admissionProblems({ admission }: Config): string[] {
  const { mode, sharedSecretFile, types, metaTypes } = admission;
  const problems: string[] = [];
  if (mode === 'shared-secret' && sharedSecretFile === undefined) {
    problems.push('admission.sharedSecretFile: missing; mode shared-secret needs it');
  }
  if (sharedSecretFile !== undefined) {
    const at = 'admission.sharedSecretFile';
    const unreadable = fileProblem(at, sharedSecretFile);
    if (unreadable) problems.push(unreadable);
    else {
      const read = readSharedSecret(sharedSecretFile);
      if ('problem' in read) problems.push(`${at}: ${shown(sharedSecretFile)} ${read.problem}`);
    }
  }
  if (types.includes(TYPE_EXTENDED)) {
    if (!types.includes(TYPE_META)) {
      problems.push('admission.types: type 254 needs type 2, its meta header');
    }
    if (metaTypes.length === 0) {
      problems.push("admission.metaTypes: empty; type 254 needs at least one ('*' takes all)");
    }
  }
  return problems;
}

function listenProblems(listen: readonly ListenConfig[]): string[] {
  const problems: string[] = [];
  listen.forEach((entry, index) => {
    const at = `listen[${index}]`;
    const earlier = listen.slice(0, index).findIndex((other) => collide(entry, other));
    if (earlier >= 0) problems.push(`${at}: ${described(entry)} is taken by listen[${earlier}]`);
    if ('tls' in entry) problems.push(...tlsProblems(`${at}.tls`, entry.tls));
    if ('wss' in entry) problems.push(...tlsProblems(`${at}.wss`, entry.wss));
    if ('unix' in entry && Buffer.byteLength(entry.unix.path) > SOCKET_PATH_BYTES_MAX) {
      problems.push(
        `${at}.unix.path: ${shown(entry.unix.path)} is longer than the ` +
          `${SOCKET_PATH_BYTES_MAX} bytes that a socket's path may have`,
      );
    }
  });
  return problems;
}

type TlsListen = Extract<ListenConfig, { tls: unknown }>['tls'];

type TlsFilesOf = Pick<TlsListen, 'certFile' | 'keyFile' | 'caFile' | 'clientCert'>;

function tlsProblems(at: string, files: TlsFilesOf): string[] {
  const { certFile, keyFile, caFile, clientCert } = files;
  const problems: string[] = [];
  if (certFile === undefined && keyFile !== undefined) {
    problems.push(`${at}.certFile: missing; keyFile needs it`);
  }
  if (keyFile === undefined && certFile !== undefined) {
    problems.push(`${at}.keyFile: missing; certFile needs it`);
  }
  if (clientCert !== 'none' && caFile === undefined) {
    problems.push(`${at}.caFile: missing; clientCert ${clientCert} needs it`);
  }
  for (const [key, file] of Object.entries({ certFile, keyFile, caFile })) {
    const problem = file === undefined ? undefined : fileProblem(`${at}.${key}`, file);
    if (problem) problems.push(problem);
  }
  return problems;
}

function addressOf(entry: ListenConfig): { host: string; port: number } | undefined {
  if ('unix' in entry) return undefined;
  if ('tls' in entry) return entry.tls;
  return 'wss' in entry ? entry.wss : entry.tcp;
}

function described(entry: ListenConfig): string {
  const address = addressOf(entry);
  return address ? `port ${address.port}` : 'unix' in entry ? shown(entry.unix.path) : '';
}

/** Whether two sources could not both listen. `::` takes IPv4 addresses too. */
function collide(a: ListenConfig, b: ListenConfig): boolean {
  if ('unix' in a || 'unix' in b) {
    return 'unix' in a && 'unix' in b && a.unix.path === b.unix.path;
  }
  const [one, other] = [addressOf(a), addressOf(b)];
  if (!one || !other || one.port === 0 || one.port !== other.port) return false;
  const covers = (host: string, inner: string) =>
    host === inner || host === '::' || (host === '0.0.0.0' && !inner.includes(':'));
  return covers(one.host, other.host) || covers(other.host, one.host);
}

function sinkProblems({ sinks }: Config): string[] {
  const problems: string[] = [];
  const files = Object.entries(sinks).filter(
    (entry): entry is [string, FilesSinkConfig | ArchiveSinkConfig] => 'dir' in entry[1],
  );
  files.forEach(([name, { dir, kind }], index) => {
    const dirBytes = Buffer.byteLength(dir);
    if (kind === 'files' && dirBytes > SINK_DIR_BYTES_MAX) {
      problems.push(
        `sinks.${name}.dir: ${shown(dir)} has ${dirBytes} bytes, expected at most ` +
          `${SINK_DIR_BYTES_MAX}: the ledger's journal holds no longer paths of files`,
      );
    }
    const other = files
      .slice(0, index)
      .find(([, { dir: taken }]) => isWithin(dir, taken) || isWithin(taken, dir));
    if (other) {
      problems.push(`sinks.${name}.dir: ${shown(dir)} overlaps the directory of ${other[0]}`);
    }
  });
  return problems;
}

function isWithin(path: string, dir: string): boolean {
  const way = relative(dir, path);
  return way === '' || (way !== '..' && !way.startsWith('../') && !isAbsolute(way));
}

function routeProblems({ routes, sinks }: Config): string[] {
  const names = Object.keys(sinks);
  return routes.flatMap(({ match, to }, index) => {
    const problems = to.flatMap((name, place) => {
      const at = `routes[${index}].to[${place}]`;
      if (!names.includes(name)) {
        return [`${at}: ${shown(name)} is no sink${didYouMean(name, names)}`];
      }
      return to.indexOf(name) < place ? [`${at}: ${shown(name)} is given twice`] : [];
    });
    if (match.metaTypes !== undefined && match.types?.includes(TYPE_EXTENDED) === false) {
      problems.push(
        `routes[${index}].match: matches nothing: metaTypes needs type 254, which types leaves out`,
      );
    }
    return problems;
  });
}

function controlProblems({ control, listen }: Config): string[] {
  if (!control) return [];
  const { host, port, tls, insecure } = control;
  const problems: string[] = [];
  if (tls) problems.push(...tlsProblems('control.tls', { ...tls, clientCert: 'none' }));
  if (!tls && !insecure && !isLoopback(host)) {
    problems.push(
      `control.host: ${shown(host)} is reached from elsewhere, and tokens would travel in the ` +
        'clear: give control.tls ({} for a certificate of its own), listen on 127.0.0.1, or set ' +
        'control.insecure: true',
    );
  }
  const own: ListenConfig = { tcp: { host, port } };
  const other = listen.findIndex((entry) => collide(own, entry));
  if (other >= 0) problems.push(`control.port: ${port} is taken by listen[${other}]`);
  return problems;
}

function webhookProblems({ alerts, control }: Config): string[] {
  if (!control && alerts.webhooks.length + alerts.silence.length > 0) {
    return ['alerts: the control plane sees to them: give control too, such as control: {}'];
  }
  return alerts.webhooks.flatMap(({ secretFile }, index) => {
    if (secretFile === undefined) return [];
    const at = `alerts.webhooks[${index}].secretFile`;
    const unreadable = fileProblem(at, secretFile);
    if (unreadable) return [unreadable];
    const read = readSharedSecret(secretFile);
    return 'problem' in read ? [`${at}: ${shown(secretFile)} ${read.problem}`] : [];
  });
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
}

/** Says why a file can't be read, or nothing. */
function fileProblem(at: string, file: string): string | undefined {
  try {
    if (!statSync(file).isFile()) return `${at}: ${shown(file)} is not a file`;
    accessSync(file, constants.R_OK);
    return undefined;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? 'does not exist' : `can't be read (${code})`;
    return `${at}: ${shown(file)} ${why}`;
  }
}
