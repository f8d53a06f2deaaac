import { figure, type Results, type Series, type Subject } from '../e2e/results.js';
import type { Summary } from '../stats.js';

/** What the report draws, taken out of a run's series. */

export interface Wanted {
  subject: Subject;
  transport?: Series['transport'];
  sink?: Series['sink'];
  connections?: number;
  idle?: number;
}

export interface Point {
  payloadBytes: number;
  value: Summary;
}

/** The connections that drawings by size are of. */
export const DRAWN_CONNECTIONS = 16;

/** One metric by payload size; of the plain servers, not those with a variant. */
export function bySize(results: Results, wanted: Wanted, metric: string): Point[] {
  const { subject, transport, sink, connections = DRAWN_CONNECTIONS, idle = 0 } = wanted;
  const points = new Map<number, Point>();
  for (const series of results.series) {
    const fits =
      series.subject === subject &&
      series.transport === transport &&
      (sink === undefined || series.sink === sink) &&
      series.connections === connections &&
      (series.idle ?? 0) === idle &&
      series.variant === undefined;
    const value = figure(series, metric);
    const { payloadBytes } = series;
    if (!fits || !value || payloadBytes === undefined || points.has(payloadBytes)) continue;
    points.set(payloadBytes, { payloadBytes, value });
  }
  return [...points.values()].sort((a, b) => a.payloadBytes - b.payloadBytes);
}

/** CPU seconds a payload gigabyte, by stage, at one payload size. */
export interface Stages {
  payloadBytes: number;
  stages: { name: string; seconds: number }[];
}

const BITS_PER_GB = 8;

/**
 * Where a gateway's CPU goes: reading (a server that only does that), HMAC (the best loop), what the
 * gateway adds to both, and storing (files less blackhole). The first two are measured on their own,
 * so the third is a difference and may be below zero, where it is drawn as none.
 */
export function stagesBySize(results: Results): Stages[] {
  const cost = (wanted: Wanted) => {
    const points = bySize(results, wanted, 'gbpsPerCore');
    return new Map(points.map((point) => [point.payloadBytes, BITS_PER_GB / point.value.median]));
  };
  const gateway = cost({ subject: 'gateway', transport: 'tls', sink: 'blackhole' });
  const files = cost({ subject: 'gateway', transport: 'tls', sink: 'files' });
  const read = cost({ subject: 'read', transport: 'tls' });
  return [...gateway].flatMap(([payloadBytes, whole]) => {
    const reading = read.get(payloadBytes);
    const hmac = figure(
      results.series.find(({ id }) => id === `hmac/best/${payloadBytes}`),
      'gbpsPerCore',
    );
    if (reading === undefined || !hmac) return [];
    const hashing = BITS_PER_GB / hmac.median;
    const stored = files.get(payloadBytes);
    const stages = [
      { name: 'read (TLS)', seconds: reading },
      { name: 'HMAC', seconds: hashing },
      { name: 'gateway', seconds: Math.max(0, whole - reading - hashing) },
      ...(stored === undefined
        ? []
        : [{ name: 'store (files)', seconds: Math.max(0, stored - whole) }]),
    ];
    return [{ payloadBytes, stages }];
  });
}

/** A comparison that the gateway loses against a yardstick of the same load. */
export interface Loss {
  gateway: Series;
  yardstick: Series;
  metric: 'gbps' | 'gbpsPerCore';
  ratio: number;
}

/** Where naive gateway or socat did better under the same load, of the same group. */
export function losses(results: Results): Loss[] {
  const found: Loss[] = [];
  for (const yardstick of results.series) {
    if (yardstick.subject !== 'naive' && yardstick.subject !== 'socat') continue;
    const gateway = results.series.find(
      ({ id }) => id === yardstick.id.replace(/^[a-z]+/, 'gateway'),
    );
    for (const metric of ['gbps', 'gbpsPerCore'] as const) {
      const [ours, theirs] = [figure(gateway, metric), figure(yardstick, metric)];
      if (!gateway || !ours || !theirs || ours.median >= theirs.median) continue;
      found.push({ gateway, yardstick, metric, ratio: ours.median / theirs.median });
    }
  }
  return found;
}

/** A figure that every run has, run by run. */
export interface History {
  label: string;
  points: { commit: string; startedAt: string; value: number }[];
}

const TRACED: readonly [string, Wanted, number][] = [
  ['TLS → blackhole, 128 B', { subject: 'gateway', transport: 'tls', sink: 'blackhole' }, 128],
  ['TLS → blackhole, 4 KiB', { subject: 'gateway', transport: 'tls', sink: 'blackhole' }, 4096],
  ['TLS → files, 4 KiB', { subject: 'gateway', transport: 'tls', sink: 'files' }, 4096],
];

/** Gbps a core over the runs on machines like that of the newest. */
export function history(runs: readonly Results[]): History[] {
  const newest = runs.at(-1);
  const alike = runs.filter(
    ({ machine }) => machine.cpu === newest?.machine.cpu && machine.cores === newest.machine.cores,
  );
  return TRACED.map(([label, wanted, size]) => ({
    label,
    points: alike.flatMap((run) => {
      const point = bySize(run, wanted, 'gbpsPerCore').find((each) => each.payloadBytes === size);
      const { commit } = run.machine;
      return point ? [{ commit, startedAt: run.startedAt, value: point.value.median }] : [];
    }),
  }));
}
