import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Alerts } from '../../src/alerts/alerts.js';
import type { ControlledGateway } from '../../src/control/gateway.js';
import { OverviewFeed } from '../../src/control/overview.js';
import type { SensorIndex } from '../../src/control/sensor-index.js';

// A worker tells its counters once a second. When it told a little late, the page showed a rate of
// nothing, and a second later twice the rate.

/** A gateway of which nothing but what was received changes. */
function feed() {
  const received: Record<string, { frames: number; bytes: number }> = {};
  const stats = {
    totals: () => ({
      received: structuredClone(received),
      rejected: {},
      delivered: {},
      dropped: {},
    }),
    sinks: () => [],
    workers: [],
    refusals: {},
  };
  const loop = { loopDelayMs: { mean: 0, p99: 0, max: 0 }, utilization: 0, gc: {} };
  const own = { sample: () => ({ pid: 1, cpu: { user: 0, system: 0 }, rssBytes: 0, loop }) };
  const gateway = { stats, sessions: { size: 0 }, connections: 0, phase: 'running', own };
  const alerts = { open: [] } as unknown as Alerts;
  const sensors = { states: () => ({}) } as unknown as SensorIndex;
  const whole = { ...gateway, startedAt: 0, version: '0' } as unknown as ControlledGateway;
  return { overview: new OverviewFeed(whole, alerts, sensors), received };
}

test('the rate stays what it is when a worker tells late', () => {
  const { overview, received } = feed();
  const begin = Date.now() + 1_000;
  const rates: number[] = [];
  for (let second = 0; second < 12; second += 1) {
    // 100 frames a second; the word of second 6 comes with that of second 7.
    if (second !== 6) received['1'] = { frames: 100 * second, bytes: 0 };
    const { receivedPerSecond } = overview.sample(begin + 1_000 * second);
    if (second >= 5) rates.push(receivedPerSecond['1']!.frames);
  }
  for (const rate of rates) assert.ok(rate > 60 && rate < 140, `rates ${rates.join(', ')}`);
  assert.equal(rates.at(-1), 100);
});
