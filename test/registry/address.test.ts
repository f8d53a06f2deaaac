import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { AddressRules, normalizeAddress, parseAddressRule } from '../../src/registry/address.js';

const RUNS = 300;

describe('parseAddressRule', () => {
  const canonical: [string, string][] = [
    ['192.0.2.7', '192.0.2.7'],
    ['192.0.2.7/32', '192.0.2.7'],
    ['10.0.0.0/8', '10.0.0.0/8'],
    ['0.0.0.0/0', '0.0.0.0/0'],
    ['2001:DB8:0:0::/32', '2001:db8::/32'],
    ['2001:db8::1/128', '2001:db8::1'],
    ['::/0', '::/0'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['::ffff:c000:207', '192.0.2.7'],
    ['::ffff:192.0.2.0/120', '192.0.2.0/24'],
    ['::ffff:0:0/96', '0.0.0.0/0'],
  ];
  for (const [text, expected] of canonical) {
    test(`${text} is ${expected}`, () => assert.equal(parseAddressRule(text)?.text, expected));
  }

  for (const text of ['', 'x', '1.2.3', '1.2.3.4/33', '1.2.3.4/', '1.2.3.4/08', '1.2.3.4/-1']) {
    test(`${JSON.stringify(text)} is no rule`, () =>
      assert.equal(parseAddressRule(text), undefined));
  }
  for (const text of ['::1/129', '01.2.3.4', 'fe80::1%eth0', '1.2.3.4/8/8', ' 1.2.3.4']) {
    test(`${JSON.stringify(text)} is no rule`, () =>
      assert.equal(parseAddressRule(text), undefined));
  }

  test('bits beyond the prefix are refused with the two that may be meant', () => {
    assert.throws(() => parseAddressRule('10.1.2.3/8'), /write 10\.0\.0\.0\/8 .* or 10\.1\.2\.3 /);
    assert.throws(() => parseAddressRule('2001:db8::1/33'), /write 2001:db8::\/33 /);
    assert.throws(() => parseAddressRule('::ffff:0:0/95'), /write it as IPv4/);
  });
});

describe('AddressRules', () => {
  test('agrees with plain arithmetic on the bits', () => {
    const family = fc.constantFrom<[number, string]>([32, 'ipv4'], [128, 'ipv6']);
    const property = fc.property(
      family.chain(([bits]) =>
        fc.record({
          bits: fc.constant(bits),
          network: fc.bigInt({ min: 0n, max: (1n << BigInt(bits)) - 1n }),
          prefix: fc.integer({ min: 0, max: bits }),
          flip: fc.integer({ min: 0, max: bits }),
          noise: fc.bigInt({ min: 0n, max: (1n << BigInt(bits)) - 1n }),
        }),
      ),
      ({ bits, network, prefix, flip, noise }) => {
        const host = (1n << BigInt(bits - prefix)) - 1n;
        const base = network & ~host;
        // The peer shares the prefix, but for one bit that may lie in it.
        let peer = base | (noise & host);
        if (flip < bits) peer ^= 1n << BigInt(bits - 1 - flip);
        if (isMapped(bits, base) || isMapped(bits, peer)) return;
        const rules = new AddressRules([parseAddressRule(`${show(bits, base)}/${prefix}`)!.text]);
        assert.equal(rules.has(show(bits, peer)), (peer & ~host) === base);
        if (bits === 32)
          assert.equal(rules.has(`::ffff:${show(32, peer)}`), (peer & ~host) === base);
      },
    );
    fc.assert(property, { numRuns: RUNS });
  });

  test('one family never blocks the other', () => {
    const every = (rule: string) => new AddressRules([rule]);
    assert.equal(every('::/0').has('192.0.2.1'), false);
    assert.equal(every('::/0').has('::ffff:192.0.2.1'), false);
    assert.equal(every('0.0.0.0/0').has('2001:db8::1'), false);
    assert.equal(every('0.0.0.0/0').has('::ffff:192.0.2.1'), true);
    assert.equal(every('fe80::1').has('fe80::1%eth0'), true);
  });
});

test('normalizeAddress knows what is no address', () => {
  for (const text of ['', 'localhost', '1.2.3.4.5', '::g', '/run/x.sock']) {
    assert.equal(normalizeAddress(text), undefined);
  }
});

function show(bits: number, value: bigint): string {
  if (bits === 32) return [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 255n).join('.');
  const hex = value.toString(16).padStart(32, '0');
  return hex.match(/.{4}/g)!.join(':');
}

function isMapped(bits: number, value: bigint): boolean {
  return bits === 128 && value >> 32n === 0xffffn;
}
