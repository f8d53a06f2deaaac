import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { formatBytes, parseBytes } from '../../src/config/units.js';

const UNITS = [
  ['', 1n],
  ['B', 1n],
  ['kB', 1000n],
  ['MB', 1000n ** 2n],
  ['GB', 1000n ** 3n],
  ['TB', 1000n ** 4n],
  ['KiB', 1024n],
  ['MiB', 1024n ** 2n],
  ['GiB', 1024n ** 3n],
  ['TiB', 1024n ** 4n],
] as const;

describe('parseBytes', () => {
  it('agrees with exact arithmetic, in any letter case, and refuses what is no whole byte', () => {
    fc.assert(
      fc.property(
        fc.nat(9_999_999),
        fc.stringMatching(/^[0-9]{0,6}$/),
        fc.constantFrom(...UNITS),
        fc.boolean(),
        fc.func(fc.boolean()),
        (whole, fraction, [unit, factor], space, upper) => {
          const cased = [...unit].map((c, at) => (upper(at) ? c.toUpperCase() : c.toLowerCase()));
          const number = fraction ? `${whole}.${fraction}` : `${whole}`;
          const text = number + (space && unit ? ' ' : '') + cased.join('');
          const scale = 10n ** BigInt(fraction.length);
          const scaled = BigInt(`${whole}${fraction}`) * factor;
          const exact = scaled / scale;
          const whole2 = scaled % scale === 0n && exact <= BigInt(Number.MAX_SAFE_INTEGER);
          assert.equal(parseBytes(text), whole2 ? Number(exact) : undefined, text);
        },
      ),
    );
  });

  it('refuses what is no size', () => {
    for (const text of ['', ' ', 'B', '1K', '1Ki', '1 ', ' 1', '-1', '1e3', '0x10', '1.', '.5B']) {
      assert.equal(parseBytes(text), undefined, JSON.stringify(text));
    }
    for (const text of ['1  KiB', '1KiBs', '1,5KiB', '1_000', '9'.repeat(16), '9'.repeat(400)]) {
      assert.equal(parseBytes(text), undefined, JSON.stringify(text));
    }
    for (const number of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53]) {
      assert.equal(parseBytes(number), undefined, String(number));
    }
  });
});

it('formatBytes is exact: parseBytes gives the same number again', () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), fc.nat(4), (number, power) => {
      const bytes = (number % 1024) * 1024 ** power;
      assert.equal(parseBytes(formatBytes(bytes).replace(/ bytes?$/, '')), bytes);
    }),
  );
});
