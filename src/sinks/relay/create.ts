import type { RelaySinkConfig } from '../../config/schema.js';
import { RateLimitedLog } from '../../log/rate.js';
import { parseTarget } from '../../net/target.js';
import type { SinkHost } from '../sink.js';
import { PlainUpstream } from './plain-upstream.js';
import { secureOptions } from './prepare.js';
import { RelaySink } from './relay-sink.js';
import { relaySecrets, secretPaths } from './secrets.js';

/**
 * A relay as the configuration describes it, with the upstream that the scheme of `to` asks for.
 * @throws GatewayError D4GW_E_SINK or D4GW_E_CERTIFICATE
 */
export function createRelay(name: string, config: RelaySinkConfig, host: SinkHost): RelaySink {
  const { dataDir, workers } = host.place;
  const target = parseTarget(config.to);
  if (target.kind === 'stdout') throw new RangeError(`sinks.${name}.to: ${config.to}`);
  const secure = secureOptions(name, config);
  const isResigned = config.mode === 'resign';
  const secrets = isResigned ? relaySecrets(secretPaths(dataDir, name, config)) : undefined;
  const limitedLog = new RateLimitedLog(host.log);
  const maxConnections = Math.max(1, Math.floor(config.maxConnections / workers));
  const { log } = host;
  const keyOf = (sensor: string) => host.keyOf(sensor);
  return new RelaySink({
    name,
    config,
    host,
    secret: secrets?.secret,
    upstream: (claims) => (options) =>
      new PlainUpstream(options, {
        config,
        target,
        secure,
        maxConnections,
        claims,
        secrets,
        keyOf,
        log,
        limitedLog,
      }),
  });
}
