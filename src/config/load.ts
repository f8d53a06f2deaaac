import { readFileSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parseDocument } from 'yaml';
import type { z } from 'zod';
import { GatewayError, messageOf } from '../errors.js';
import { crossProblems } from './checks.js';
import { DEFAULT_CONFIG } from './defaults.js';
import { keyText } from './fields.js';
import { type Config, configSchema, type SinkConfig } from './schema.js';

const FILE_BYTES_MAX = 1024 * 1024;
const RELAY_FILES = [
  'tokenFile',
  'caFile',
  'certFile',
  'keyFile',
  'secretFile',
  'signingKeyFile',
] as const;
/** More problems than this are counted, not listed. */
const PROBLEMS_SHOWN_MAX = 50;

/**
 * Reads, checks and completes a configuration; without a file, the embedded default. Relative paths
 * are relative to the file's directory (the default's: to the working directory).
 * @throws {GatewayError} D4GW_E_CONFIG with every problem, one a line
 */
export function loadConfig(file?: string): Config {
  if (file === undefined) return checkConfig(DEFAULT_CONFIG, process.cwd(), 'embedded default');
  return checkConfig(readYaml(file), dirname(resolve(file)), file);
}

/**
 * Checks and completes a configuration that was read already.
 * @param base directory that relative paths are relative to
 * @param source begins each line of an error: the file's name
 * @throws {GatewayError} D4GW_E_CONFIG with every problem, one a line
 */
export function checkConfig(value: unknown, base: string, source: string): Config {
  const parsed = configSchema.safeParse(value);
  if (!parsed.success) throw configError(source, schemaProblems(parsed.error.issues));
  const config = withAbsolutePaths(parsed.data, base);
  const problems = crossProblems(config);
  if (problems.length > 0) throw configError(source, problems);
  return config;
}

function readYaml(file: string): unknown {
  let text: string;
  try {
    const stats = statSync(file);
    if (!stats.isFile()) throw new GatewayError('D4GW_E_CONFIG', `${file}: not a file`);
    if (stats.size > FILE_BYTES_MAX) {
      throw new GatewayError(
        'D4GW_E_CONFIG',
        `${file}: ${stats.size} bytes, expected at most ${FILE_BYTES_MAX}`,
      );
    }
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if (error instanceof GatewayError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? 'does not exist' : `can't be read (${code})`;
    throw new GatewayError('D4GW_E_CONFIG', `${file}: ${why}`, { cause: error });
  }
  return parseYaml(text, file);
}

function parseYaml(text: string, file: string): unknown {
  const document = parseDocument(text, { prettyErrors: true, logLevel: 'error' });
  const faults = [...document.errors, ...document.warnings];
  if (faults.length > 0) {
    // The first line of a message holds the fault and its place; the others draw it.
    throw configError(
      file,
      faults.map(({ code, message }) =>
        code === 'MULTIPLE_DOCS'
          ? 'holds several YAML documents, expected one'
          : message.split('\n')[0]!.replace(/:$/, ''),
      ),
    );
  }
  let value: unknown;
  try {
    // The schema would pass over `__proto__` without a word.
    value = document.toJS({
      reviver: (key, inner) => {
        if (key === '__proto__') throw new Error('__proto__: unknown key');
        return inner;
      },
    });
  } catch (error) {
    // Also aliases that expand without end.
    throw configError(file, [messageOf(error)]);
  }
  if (value === null || value === undefined) {
    throw configError(file, ['empty; expected at least listen, sinks and routes']);
  }
  return value;
}

/** The problems that the schema found, in the order of the schema's keys, one line each. */
function schemaProblems(issues: readonly z.core.$ZodIssue[]): string[] {
  return [...new Set(issues.flatMap((issue) => issueLines(issue, [])))];
}

function issueLines(issue: z.core.$ZodIssue, parents: readonly PropertyKey[]): string[] {
  const path = [...parents, ...issue.path];
  if (issue.code === 'invalid_union') {
    // An alternative that failed only further in is the one that was meant.
    const meant = issue.errors.find(
      (branch) => branch.length > 0 && branch.every((inner) => inner.path.length > 0),
    );
    if (meant) return meant.flatMap((inner) => issueLines(inner, path));
  }
  const at = pathText(path);
  return issue.code === 'unrecognized_keys'
    ? issue.message.split('\n').map((line) => (at ? `${at}.${line}` : line))
    : [at ? `${at}: ${issue.message}` : issue.message];
}

function pathText(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, key) => {
    if (typeof key === 'number') return `${text}[${key}]`;
    return text ? `${text}.${keyText(String(key))}` : keyText(String(key));
  }, '');
}

function configError(source: string, problems: readonly string[]): GatewayError {
  const lines = problems.slice(0, PROBLEMS_SHOWN_MAX).map((problem) => `${source}: ${problem}`);
  const more = problems.length - lines.length;
  if (more > 0) lines.push(`${source}: ${more} more problems`);
  return new GatewayError('D4GW_E_CONFIG', lines.join('\n'));
}

function withAbsolutePaths(config: Config, base: string): Config {
  const absolute = (path: string) => resolve(base, path);
  const { admission } = config;
  return {
    ...config,
    dataDir: absolute(config.dataDir),
    admission: { ...admission, ...absoluteFiles(admission, ['sharedSecretFile'], absolute) },
    ...(config.control?.tls
      ? {
          control: {
            ...config.control,
            tls: absoluteFiles(config.control.tls, ['certFile', 'keyFile'], absolute),
          },
        }
      : {}),
    alerts: {
      ...config.alerts,
      webhooks: config.alerts.webhooks.map((webhook) => ({
        ...webhook,
        ...absoluteFiles(webhook, ['secretFile'], absolute),
      })),
    },
    listen: config.listen.map((entry) => {
      if ('unix' in entry) return { unix: { path: absolute(entry.unix.path) } };
      if ('tcp' in entry) return entry;
      const secure = 'tls' in entry ? entry.tls : entry.wss;
      const files = absoluteFiles(secure, ['certFile', 'keyFile', 'caFile'], absolute);
      return 'tls' in entry
        ? { tls: { ...entry.tls, ...files } }
        : { wss: { ...entry.wss, ...files } };
    }),
    sinks: Object.fromEntries(
      Object.entries(config.sinks).map(([name, sink]) => [name, absoluteSink(sink, absolute)]),
    ),
  };
}

function absoluteSink(sink: SinkConfig, absolute: (path: string) => string): SinkConfig {
  if (sink.kind === 'files' || sink.kind === 'archive') {
    return { ...sink, dir: absolute(sink.dir) };
  }
  if (sink.kind !== 'relay') return sink;
  const spool = { ...sink.spool, ...absoluteFiles(sink.spool, ['dir'], absolute) };
  return { ...sink, ...absoluteFiles(sink, RELAY_FILES, absolute), spool };
}

/** Those of `keys` that are given, made absolute. */
function absoluteFiles<Key extends string>(
  from: { [key in Key]?: string | undefined },
  keys: readonly Key[],
  absolute: (path: string) => string,
): { [key in Key]?: string } {
  const found: { [key in Key]?: string } = {};
  for (const key of keys) {
    const path = from[key];
    if (path !== undefined) found[key] = absolute(path);
  }
  return found;
}
