import { isDeepStrictEqual } from 'node:util';
import { GatewayError } from '../errors.js';
import { isLink } from './relay-checks.js';
import type { Config, SinkConfig } from './schema.js';

/** What a running gateway takes anew. All else is built into its processes and their memory. */
const RELOADABLE: readonly string[] = [
  'listen',
  'routes',
  'sinks',
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
  problems.push(...sinkProblems(now, next));
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

/** What a sink is built on, by kind. */
const SINK_FIXED: Readonly<Record<SinkConfig['kind'], readonly string[]>> = {
  files: [],
  archive: ['dir', 'compress', 'segmentBytes'],
  relay: ['spool.dir'],
  blackhole: [],
};

function sinkProblems(now: Config, next: Config): string[] {
  return Object.entries(next.sinks).flatMap(([name, sink]) => {
    const before = now.sinks[name];
    if (before === undefined) return [];
    const at = `sinks.${name}`;
    const changed = differences(before, sink, '');
    const fixed = changed.includes('kind')
      ? ['kind']
      : changed.filter((key) => SINK_FIXED[sink.kind].includes(key));
    if (becomesLink(before, sink)) fixed.push('to');
    return fixed.map(
      (key) => `${at}.${key}: a change needs a restart of the gateway, or a sink of another name`,
    );
  });
}

/** A link keeps what it has sent for longer than a plain relay: their spools differ. */
function becomesLink(before: SinkConfig, sink: SinkConfig): boolean {
  if (before.kind !== 'relay' || sink.kind !== 'relay') return false;
  return isLink(before.to) !== isLink(sink.to);
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
