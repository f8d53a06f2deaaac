import { isLink, plainTarget } from '../../config/relay-checks.js';
import type { RelaySinkConfig } from '../../config/schema.js';
import { RateLimitedLog } from '../../log/rate.js';
import { parseTarget } from '../../net/target.js';
import type { SinkHost } from '../sink.js';
import { LinkUpstream } from './link/link-upstream.js';
import { PlainUpstream } from './plain-upstream.js';
import { linkToken, RELAY_MENDS, secureOptions } from './prepare.js';
import { type RelaySending, RelaySink } from './relay-sink.js';
import { relaySecrets, secretPaths } from './secrets.js';

/**
 * A relay as the configuration describes it, with the upstream that the scheme of `to` asks for.
 * @throws GatewayError D4GW_E_SINK or D4GW_E_CERTIFICATE
 */
export function createRelay(name: string, config: RelaySinkConfig, host: SinkHost): RelaySink {
  const limitedLog = new RateLimitedLog(host.log);
  const sendingOf = (given: RelaySinkConfig) =>
    isLink(given.to) ? link(name, given, host, limitedLog) : plain(name, given, host, limitedLog);
  return new RelaySink({ name, config, host, sendingOf });
}

/** A relay to a plain D4 server. */
function plain(
  name: string,
  config: RelaySinkConfig,
  host: SinkHost,
  limitedLog: RateLimitedLog,
): RelaySending {
  const { dataDir, workers } = host.place;
  const target = parseTarget(config.to);
  if (target.kind === 'stdout') throw new RangeError(`sinks.${name}.to: ${config.to}`);
  const secure = secureOptions(name, config);
  const isResigned = config.mode === 'resign';
  const secrets = isResigned ? relaySecrets(secretPaths(dataDir, name, config)) : undefined;
  const maxConnections = Math.max(1, Math.floor(config.maxConnections / workers));
  const { log } = host;
  const keyOf = (sensor: string) => host.keyOf(sensor);
  const context = { config, target, secure, maxConnections, secrets, keyOf, log, limitedLog };
  return {
    secret: secrets?.secret,
    upstream: (claims) => (options) => new PlainUpstream(options, { ...context, claims }),
  };
}

/** A relay by a link to another gateway. */
function link(
  name: string,
  config: RelaySinkConfig,
  host: SinkHost,
  limitedLog: RateLimitedLog,
): RelaySending {
  const target = parseTarget(plainTarget(config.to));
  if (target.kind === 'stdout') throw new RangeError(`sinks.${name}.to: ${config.to}`);
  const { windowBytes, compress } = config;
  const context = {
    name: config.to,
    target: {
      host: target.host,
      port: target.port,
      secure: secureOptions(name, config),
      token: linkToken(name, config),
      mends: RELAY_MENDS,
    },
    gateway: host.place.gateway,
    windowBytes,
    compress,
    log: host.log,
    limitedLog,
  };
  return { secret: undefined, upstream: () => (options) => new LinkUpstream(options, context) };
}
