import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { parse } from 'yaml';
import { ALERT_KINDS } from '../../src/alerts/book.js';
import { repository } from '../support/shared.js';
import { Controlled, type Json } from './api.js';

/** What ships for Prometheus and Grafana, held against what is exported. */
const directory = join(repository, 'src', 'control', 'monitoring');
const control = await Controlled.start({ config: { metrics: { perSensor: true } } });
const { body } = await control.get('/metrics');

/** The labels of each family; of those without a sample, none. */
const exported = new Map<string, Set<string>>();
for (const line of (body as string).split('\n')) {
  const name = /^# TYPE (\S+)/.exec(line)?.[1];
  if (name) exported.set(name, new Set());
  const sample = /^(\w+)\{(.*)\} /.exec(line);
  if (!sample) continue;
  for (const [, label] of sample[2]!.matchAll(/(\w+)="/g)) exported.get(sample[1]!)!.add(label!);
}

/** Every metric that an expression names, with the labels that it chooses by. */
function metricsIn(expression: string): { name: string; labels: string[] }[] {
  return [...expression.matchAll(/\b(d4gw_\w+)(?:\{([^}]*)\})?/g)].map((match) => ({
    name: match[1]!,
    labels: [...(match[2] ?? '').matchAll(/(\w+)=~?"/g)].map((label) => label[1]!),
  }));
}

function check(expression: string): void {
  const found = metricsIn(expression);
  assert.ok(found.length > 0 || expression.startsWith('up'), expression);
  for (const { name, labels } of found) {
    const own = exported.get(name);
    assert.ok(own, `${expression}: ${name} is not exported`);
    for (const label of labels) assert.ok(own.size === 0 || own.has(label), `${name}: ${label}`);
    const isCounter = name.endsWith('_total');
    const isRated = new RegExp(`(rate|increase)\\(${name}`).test(expression);
    assert.equal(isRated, isCounter, `${expression}: a counter is looked at by its rate`);
  }
  const kinds = [...expression.matchAll(/kind="([^"]+)"/g)].map((match) => match[1]!);
  for (const kind of kinds) assert.ok((ALERT_KINDS as readonly string[]).includes(kind), kind);
}

describe('what ships', () => {
  test('the dashboard of Grafana asks for what is exported', () => {
    const text = readFileSync(join(directory, 'grafana-dashboard.json'), 'utf8');
    const { panels } = JSON.parse(text) as Json;
    const charts = panels.filter((panel: Json) => panel.type !== 'row');
    assert.ok(charts.length > 15);
    assert.equal(new Set(panels.map((panel: Json) => panel.id)).size, panels.length);
    for (const { targets } of charts) for (const { expr } of targets) check(expr);
  });

  test('the rules of Prometheus ask for what is exported', () => {
    const { groups } = parse(readFileSync(join(directory, 'alert-rules.yml'), 'utf8')) as Json;
    const { rules } = groups[0];
    assert.ok(rules.length > 10);
    assert.equal(new Set(rules.map((rule: Json) => rule.alert)).size, rules.length);
    for (const { expr, labels, annotations } of rules) {
      check(expr);
      assert.ok(['warning', 'critical'].includes(labels.severity));
      assert.ok(annotations.summary);
    }
  });

  test('what is exported keeps to the conventions', async () => {
    const lines = (body as string).split('\n');
    for (const [name] of exported) {
      assert.match(name, /^d4gw_[a-z0-9]+(_[a-z0-9]+)*$/);
      const type = lines.find((line) => line.startsWith(`# TYPE ${name} `))!.split(' ')[3];
      assert.equal(type === 'counter', name.endsWith('_total'), `${name} is a ${type}`);
      assert.ok(lines.some((line) => line.startsWith(`# HELP ${name} `)));
    }
    for (const name of [
      'd4gw_frames_received_total',
      'd4gw_bytes_received_total',
      'd4gw_frames_rejected_total',
      'd4gw_frames_delivered_total',
      'd4gw_frames_dropped_total',
      'd4gw_sessions',
      'd4gw_ring_used_ratio',
      'd4gw_spool_bytes',
      'd4gw_sink_lag_seconds',
      'd4gw_sensor_frames_received_total',
    ]) {
      assert.ok(exported.has(name), name);
    }
    assert.equal(await control.gateway.stop(), 0);
  });
});
