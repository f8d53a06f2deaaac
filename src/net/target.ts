import { isIPv6 } from 'node:net';
import { GatewayError } from '../errors.js';

/** Where a client sends. */
export type Target =
  | { kind: 'stdout' }
  | { kind: 'tls' | 'tcp'; host: string; port: number /** For messages. */; name: string };

const FORM = /^(?:(tls|tcp):\/\/)?(?:\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|([^\s:[\]/@]+)):(\d{1,5})$/;

/**
 * Reads `stdout` (or `-`), or `[tls://|tcp://]HOST:PORT` with an IPv6 address in brackets. Without
 * a prefix it is TLS.
 *
 * @param plain asks for TCP where there is no prefix
 * @throws GatewayError D4GW_E_USAGE
 */
export function parseTarget(text: string, plain = false): Target {
  if (text === 'stdout' || text === '-') return { kind: 'stdout' };
  const match = FORM.exec(text);
  const port = Number(match?.[4]);
  const isBadAddress = match?.[2] !== undefined && !isIPv6(match[2]);
  if (!match || isBadAddress || port < 1 || port > 65_535) {
    throw new GatewayError(
      'D4GW_E_USAGE',
      `"${text}" is no address: give HOST:PORT, [IPV6]:PORT, tls://HOST:PORT, tcp://HOST:PORT or stdout`,
    );
  }
  if (plain && match[1] === 'tls') {
    throw new GatewayError('D4GW_E_USAGE', `--tcp contradicts "${text}": give one of them`);
  }
  const kind = (match[1] as 'tls' | 'tcp' | undefined) ?? (plain ? 'tcp' : 'tls');
  const host = (match[2] ?? match[3]) as string;
  const shown = host.includes(':') ? `[${host}]` : host;
  return { kind, host, port, name: `${kind}://${shown}:${port}` };
}
