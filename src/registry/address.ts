import { BlockList, isIPv4, isIPv6, SocketAddress } from 'node:net';
import { GatewayError } from '../errors.js';

export type Family = 'ipv4' | 'ipv6';

/** One blocked address or range. `text` is canonical: equal rules have equal texts. */
export interface AddressRule {
  family: Family;
  /** Its network address: no bit beyond `prefix` is set. */
  address: string;
  prefix: number;
  text: string;
}

const ADDRESS_BITS: Record<Family, number> = { ipv4: 32, ipv6: 128 };
/** Bits of `::ffff:0:0/96`, under which IPv6 sockets show IPv4 peers. */
const MAPPED_PREFIX_BITS = 96;

/**
 * A peer's address in canonical form. An IPv4 address in IPv6 clothes (`::ffff:a.b.c.d`) is the
 * IPv4 address; a zone (`fe80::1%eth0`) is dropped. Undefined where `text` is no address.
 */
export function normalizeAddress(text: string): { family: Family; address: string } | undefined {
  if (isIPv4(text)) return { family: 'ipv4', address: text };
  const zone = text.indexOf('%');
  const bare = zone < 0 ? text : text.slice(0, zone);
  if (!isIPv6(bare)) return undefined;
  const { address } = new SocketAddress({ address: bare, family: 'ipv6' });
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/.exec(address);
  return mapped ? { family: 'ipv4', address: mapped[1]! } : { family: 'ipv6', address };
}

/**
 * Reads `address` or `network/prefix`. Undefined where `text` is neither.
 * @throws GatewayError D4GW_E_USAGE where bits beyond the prefix are set: a slip there would
 *   block far more than one host
 */
export function parseAddressRule(text: string): AddressRule | undefined {
  const parts = /^([^/%]+)(?:\/(0|[1-9]\d{0,2}))?$/.exec(text);
  const normal = parts ? normalizeAddress(parts[1]!) : undefined;
  if (!parts || !normal) return undefined;
  const { family, address } = normal;
  const bits = ADDRESS_BITS[family];
  const writtenBits = isIPv4(parts[1]!) ? ADDRESS_BITS.ipv4 : ADDRESS_BITS.ipv6;
  let prefix = parts[2] === undefined ? writtenBits : Number(parts[2]);
  if (prefix > writtenBits) return undefined;
  if (writtenBits !== bits) {
    if (prefix < MAPPED_PREFIX_BITS) {
      throw new GatewayError(
        'D4GW_E_USAGE',
        `${text} spans more than the IPv4 addresses: write it as IPv4, or as an IPv6 network`,
      );
    }
    prefix -= MAPPED_PREFIX_BITS;
  }
  const network = networkOf(family, address, prefix);
  const canonical = prefix === bits ? address : `${network}/${prefix}`;
  if (network !== address) {
    throw new GatewayError(
      'D4GW_E_USAGE',
      `${text} has bits set beyond /${prefix}: write ${canonical} for the network, or ${address} for the one address`,
    );
  }
  return { family, address, prefix, text: canonical };
}

/** The rules of both families, apart: `::/0` is every IPv6 peer and no IPv4 one. */
export class AddressRules {
  readonly #lists: Record<Family, BlockList> = { ipv4: new BlockList(), ipv6: new BlockList() };

  constructor(rules: Iterable<string>) {
    for (const text of rules) {
      const rule = parseAddressRule(text);
      if (rule) this.#lists[rule.family].addSubnet(rule.address, rule.prefix, rule.family);
    }
  }

  has(address: string): boolean {
    const normal = normalizeAddress(address);
    return normal ? this.#lists[normal.family].check(normal.address, normal.family) : false;
  }
}

/** The network that an address in canonical form lies in. @param prefix bits of the network */
export function networkOf(family: Family, address: string, prefix: number): string {
  const width = family === 'ipv4' ? 8 : 16;
  const groups = family === 'ipv4' ? address.split('.').map(Number) : groupsOf(address);
  const masked = groups.map((group, index) => {
    const kept = Math.min(Math.max(prefix - index * width, 0), width);
    return group & (((1 << width) - 1) ^ ((1 << (width - kept)) - 1));
  });
  if (family === 'ipv4') return masked.join('.');
  const text = masked.map((group) => group.toString(16)).join(':');
  return new SocketAddress({ address: text, family }).address;
}

/** The eight 16-bit groups of a canonical IPv6 address. */
function groupsOf(address: string): number[] {
  const hex = address.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, a, b, c, d) =>
    [(a << 8) | b, (c << 8) | d].map((group) => group.toString(16)).join(':'),
  );
  const [head, tail] = hex.split('::').map((half) => (half === '' ? [] : half.split(':')));
  const missing = tail ? 8 - head!.length - tail.length : 0;
  return [...head!, ...Array<string>(missing).fill('0'), ...(tail ?? [])].map((group) =>
    Number.parseInt(group, 16),
  );
}
