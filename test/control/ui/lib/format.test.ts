import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as format from '../../../../src/control/ui/lib/format.js';

test('numbers have units, and three digits that matter', () => {
  const { bits, bytes, count, shortCount, perSecond, percent } = format;
  assert.deepEqual([0, 0.01, 60, 124, 125, 156_250, 125_000_000, 700_000_000].map(bits), [
    '0 bps',
    '< 1 bps',
    '480 bps',
    '992 bps',
    '1.00 kbps',
    '1.25 Mbps',
    '1.00 Gbps',
    '5.60 Gbps',
  ]);
  assert.deepEqual([0, 1023, 1024, 15_000, 1_610_612_736].map(bytes), [
    '0 B',
    '1,023 B',
    '1.00 KiB',
    '14.6 KiB',
    '1.50 GiB',
  ]);
  assert.deepEqual([1_234_567, 12].map(count), ['1,234,567', '12']);
  assert.deepEqual([99_999, 1_234_567].map(shortCount), ['99,999', '1.23 M']);
  assert.deepEqual([0, 0.001, 0.2, 12.34, 1_854_561].map(perSecond), [
    '0/s',
    '< 0.01/s',
    '0.20/s',
    '12.3/s',
    '1.85 M/s',
  ]);
  assert.deepEqual([0, 0.004, 0.5, 1.5].map(percent), ['0 %', '0.4 %', '50 %', '150 %']);
});

test('times are of one form, in the own zone and in UTC', () => {
  const { ago, duration, localTime, utcTime } = format;
  assert.deepEqual([0, 59.6, 61, 3_600, 4_800, 90_000, 86_400 * 3].map(duration), [
    '0 s',
    '1 min',
    '1 min',
    '1 h',
    '1 h 20 min',
    '1 d 1 h',
    '3 d',
  ]);
  const now = Date.UTC(2026, 0, 31, 14, 5, 9);
  const before = (seconds: number) => ago(now - seconds * 1000, now);
  assert.deepEqual([-3, 4, 5, 600, 7_300, 86_400 * 2, 86_400 * 40].map(before), [
    'just now',
    'just now',
    '5 s ago',
    '10 min ago',
    '2 h ago',
    '2 d ago',
    '40 d ago',
  ]);
  assert.equal(utcTime(now), '2026-01-31 14:05:09 UTC');
  const here = new Date(2026, 6, 2, 3, 4, 5).getTime();
  assert.equal(localTime(here), '2026-07-02 03:04:05');
});
