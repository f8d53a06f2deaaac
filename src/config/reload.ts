import { isDeepStrictEqual } from 'node:util';
import { GatewayError } from '../errors.js';
import type { Config } from './schema.js';

/**
 * What a running gateway takes anew. All else is built into its processes and their memory, or (the
 * sinks) holds data that is under way.
 */
const RELOADABLE: readonly string[] = [
  'listen',
  'routes',
  'admission.sharedSecretFile',
  'admission.types',
  'admission.metaTypes',
  'admission.duplicateSession',
  'admission.timestampSkewSeconds',
  'limits.maxConnections',
  'limits.maxConnectionsPerIp',
  'limits.handshakeTimeoutMs',
  'limits.firstFrameTimeoutMs',
  'limits.idleTimeoutMs',
  'limits.drainTimeoutMs',
  'alerts',
];

/**
 * The keys in which two configurations differ, such as `sinks.disk.dir`.
 * @param begun the one that the gateway began with
 * @throws GatewayError D4GW_E_CONFIG where one of them needs a restart: naming each
 */
export function reloadedKeys(now: Config, next: Config, begun: Config): string[] {
  const changed = differences(now, next, '');
  const fixed = changed.filter(
    (key) => !RELOADABLE.some((own) => key === own || key.startsWith(`${own}.`)),
  );
  const problems = fixed.map((key) => `${key}: a change needs a restart of the gateway`);
  const { maxConnections } = begun.limits;
  if (next.limits.maxConnections > maxConnections) {
    problems.push(
      `limits.maxConnections: ${next.limits.maxConnections} needs a restart of the gateway: it began with ${maxConnections}`,
    );
  }
  if (problems.length > 0) {
    throw new GatewayError('D4GW_E_CONFIG', `nothing was reloaded:\n${problems.join('\n')}`);
  }
  return changed;
}

function differences(a: unknown, b: unknown, path: string): string[] {
  if (isDeepStrictEqual(a, b)) return [];
  if (!isMapping(a) || !isMapping(b)) return [path];
  const keys = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...keys].flatMap((key) =>
    differences(a[key], b[key], path === '' ? key : `${path}.${key}`),
  );
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
