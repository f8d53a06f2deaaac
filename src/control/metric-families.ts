import type { Alerts } from '../alerts/alerts.js';
import { ALERT_KINDS } from '../alerts/book.js';
import type { Amount } from '../ledger/totals.js';
import { TYPE_NAMES } from '../wire/types.js';
import type { ControlledGateway } from './gateway.js';
import type { BalanceView } from './overview.js';

export type Labels = Record<string, string>;

/** One family: its name, its meaning, its labels, and its values when it is asked for. */
export interface Family {
  name: string;
  help: string;
  labels?: readonly string[];
  counter?: true;
  values(): Iterable<readonly [labels: Labels, value: number]>;
}

const typeName = (type: string) => TYPE_NAMES[Number(type)] ?? type;

function each(
  amounts: Record<string, Amount>,
  unit: keyof Amount,
  labels: (key: string) => Labels,
): (readonly [Labels, number])[] {
  return Object.entries(amounts).map(([key, amount]) => [labels(key), amount[unit]] as const);
}

/** What came in. */
export function trafficFamilies({ stats }: ControlledGateway): Family[] {
  const byType = (unit: keyof Amount) => () =>
    each(stats.totals().received, unit, (type) => ({ type, name: typeName(type) }));
  const byReason = (unit: keyof Amount) => () =>
    each(stats.totals().rejected, unit, (reason) => ({ reason }));
  return [
    {
      name: 'd4gw_frames_received_total',
      help: 'Whole frames received, by D4 type.',
      labels: ['type', 'name'],
      counter: true,
      values: byType('frames'),
    },
    {
      name: 'd4gw_bytes_received_total',
      help: 'Payload bytes received, by D4 type.',
      labels: ['type', 'name'],
      counter: true,
      values: byType('bytes'),
    },
    {
      name: 'd4gw_frames_rejected_total',
      help: 'Frames rejected, by reason.',
      labels: ['reason'],
      counter: true,
      values: byReason('frames'),
    },
    {
      name: 'd4gw_bytes_rejected_total',
      help: 'Payload bytes rejected, by reason.',
      labels: ['reason'],
      counter: true,
      values: byReason('bytes'),
    },
    {
      name: 'd4gw_connections_refused_total',
      help: 'Connections that ended before they had a session, by reason.',
      labels: ['reason'],
      counter: true,
      values: () => Object.entries(stats.refusals).map(([reason, n]) => [{ reason }, n] as const),
    },
  ];
}

/** What went out, and how those fare who take it. */
export function sinkFamilies({ stats }: ControlledGateway): Family[] {
  const delivered = (unit: keyof Amount) => () =>
    each(stats.totals().delivered, unit, (sink) => ({ sink }));
  const dropped = (unit: keyof Amount) => () =>
    Object.entries(stats.totals().dropped).flatMap(([sink, reasons]) =>
      each(reasons, unit, (reason) => ({ sink, reason })),
    );
  return [
    {
      name: 'd4gw_frames_delivered_total',
      help: 'Frames that a sink delivered.',
      labels: ['sink'],
      counter: true,
      values: delivered('frames'),
    },
    {
      name: 'd4gw_bytes_delivered_total',
      help: 'Payload bytes that a sink delivered.',
      labels: ['sink'],
      counter: true,
      values: delivered('bytes'),
    },
    {
      name: 'd4gw_frames_dropped_total',
      help: 'Frames that a sink was told to drop, by reason.',
      labels: ['sink', 'reason'],
      counter: true,
      values: dropped('frames'),
    },
    {
      name: 'd4gw_bytes_dropped_total',
      help: 'Payload bytes that a sink was told to drop, by reason.',
      labels: ['sink', 'reason'],
      counter: true,
      values: dropped('bytes'),
    },
    {
      name: 'd4gw_sink_up',
      help: '1 where a sink delivers or may; 0 where it fails or is held.',
      labels: ['sink', 'kind'],
      values: () =>
        stats
          .sinks()
          .map(({ name: sink, kind, state }) => [
            { sink, kind },
            state === 'failing' || state === 'stopped' ? 0 : 1,
          ]),
    },
    {
      name: 'd4gw_sink_taking',
      help: '1 where a sink takes what comes, and keeps it where it fails; 0 where sensors wait.',
      labels: ['sink'],
      values: () => stats.sinks().map(({ name: sink, takes }) => [{ sink }, takes ? 1 : 0]),
    },
    {
      name: 'd4gw_sink_full',
      help: '1 where a sink holds its sessions back.',
      labels: ['sink'],
      values: () =>
        stats.sinks().map(({ name: sink, state }) => [{ sink }, state === 'full' ? 1 : 0]),
    },
    {
      name: 'd4gw_spool_bytes',
      help: 'Bytes that wait in the spool of a sink.',
      labels: ['sink'],
      values: () =>
        stats.sinks().flatMap(({ name: sink, spool }) => (spool ? [[{ sink }, spool.bytes]] : [])),
    },
    {
      name: 'd4gw_spool_max_bytes',
      help: 'The most that the spool of a sink may hold.',
      labels: ['sink'],
      values: () =>
        stats
          .sinks()
          .flatMap(({ name: sink, spool }) => (spool ? [[{ sink }, spool.maxBytes]] : [])),
    },
    {
      name: 'd4gw_sink_lag_seconds',
      help: 'Age of the oldest frame that a sink holds and has not delivered.',
      labels: ['sink'],
      values: () =>
        stats
          .sinks()
          .flatMap(({ name: sink, lagSeconds }) =>
            lagSeconds === null ? [] : [[{ sink }, lagSeconds]],
          ),
    },
  ];
}

/** How the workers fare. */
export function workerFamilies({ stats }: ControlledGateway): Family[] {
  type Stats = NonNullable<(typeof stats.workers)[number]['stats']>;
  const each = (value: (worker: Stats) => number) => () =>
    stats.workers.flatMap(({ index, stats: own }) =>
      own ? [[{ worker: `${index}` }, value(own)] as const] : [],
    );
  const threads = (value: (thread: Stats['io']) => number) => () =>
    stats.workers.flatMap(({ index, stats: own }) =>
      (own ? [['io', own.io] as const, ['sink', own.thread] as const] : []).map(
        ([thread, figures]) => [{ worker: `${index}`, thread }, value(figures)] as const,
      ),
    );
  const collections = (value: (gc: { count: number; seconds: number }) => number) => () =>
    stats.workers.flatMap(({ index, stats: own }) =>
      (own ? [['io', own.io] as const, ['sink', own.thread] as const] : []).flatMap(
        ([thread, { gc }]) =>
          Object.entries(gc).map(
            ([kind, figures]) => [{ worker: `${index}`, thread, kind }, value(figures)] as const,
          ),
      ),
    );
  return [
    {
      name: 'd4gw_ring_used_ratio',
      help: "Share of a worker's ring that is in use.",
      labels: ['worker'],
      values: each(({ ring }) => ring.usedBytes / ring.bytes),
    },
    {
      name: 'd4gw_worker_connections',
      help: 'Connections that a worker serves.',
      labels: ['worker'],
      values: each(({ connections }) => connections),
    },
    {
      name: 'd4gw_worker_cpu_seconds_total',
      help: 'CPU time of a worker, user and system.',
      labels: ['worker', 'mode'],
      counter: true,
      values: () =>
        stats.workers.flatMap(({ index, stats: own }) =>
          Object.entries(own?.cpu ?? {}).map(
            ([mode, seconds]) => [{ worker: `${index}`, mode }, seconds] as const,
          ),
        ),
    },
    {
      name: 'd4gw_worker_resident_memory_bytes',
      help: 'Resident memory of a worker.',
      labels: ['worker'],
      values: each(({ rssBytes }) => rssBytes),
    },
    {
      name: 'd4gw_worker_deaths_total',
      help: 'How often a worker died.',
      labels: ['worker'],
      counter: true,
      values: () =>
        stats.workers.map(({ index, deaths }) => [{ worker: `${index}` }, deaths] as const),
    },
    {
      name: 'd4gw_event_loop_delay_seconds',
      help: 'Delay of an event loop over the last second, 99th percentile.',
      labels: ['worker', 'thread'],
      values: threads(({ loopDelayMs }) => loopDelayMs.p99 / 1000),
    },
    {
      name: 'd4gw_event_loop_utilization_ratio',
      help: 'Share of the last second in which an event loop was not idle.',
      labels: ['worker', 'thread'],
      values: threads(({ utilization }) => utilization),
    },
    {
      name: 'd4gw_gc_seconds_total',
      help: 'Time that garbage collection took, by kind.',
      labels: ['worker', 'thread', 'kind'],
      counter: true,
      values: collections(({ seconds }) => seconds),
    },
    {
      name: 'd4gw_gc_collections_total',
      help: 'Garbage collections, by kind.',
      labels: ['worker', 'thread', 'kind'],
      counter: true,
      values: collections(({ count }) => count),
    },
  ];
}

/** How the primary process fares, which supervises, keeps the books and answers. */
export function primaryFamilies({ own }: Pick<ControlledGateway, 'own'>): Family[] {
  return [
    {
      name: 'd4gw_primary_cpu_seconds_total',
      help: 'CPU time of the primary process, user and system.',
      labels: ['mode'],
      counter: true,
      values: () =>
        Object.entries(own.view.cpu).map(([mode, seconds]) => [{ mode }, seconds] as const),
    },
    {
      name: 'd4gw_primary_resident_memory_bytes',
      help: 'Resident memory of the primary process.',
      values: () => [[{}, own.view.rssBytes]],
    },
    {
      name: 'd4gw_primary_event_loop_delay_seconds',
      help: "Delay of the primary's event loop over the last second, 99th percentile.",
      values: () => [[{}, own.view.loop.loopDelayMs.p99 / 1000]],
    },
    {
      name: 'd4gw_primary_event_loop_utilization_ratio',
      help: "Share of the last second in which the primary's event loop was not idle.",
      values: () => [[{}, own.view.loop.utilization]],
    },
  ];
}

/** How the gateway as a whole is. */
export function stateFamilies(
  gateway: ControlledGateway,
  alerts: Alerts,
  balance: () => BalanceView | undefined,
): Family[] {
  return [
    {
      name: 'd4gw_sessions',
      help: 'Open sessions of which a frame was verified.',
      values: () => [[{}, gateway.sessions.size]],
    },
    {
      name: 'd4gw_connections',
      help: 'Open connections of sensors.',
      values: () => [[{}, gateway.connections]],
    },
    {
      name: 'd4gw_alerts',
      help: 'Open alerts, by kind.',
      labels: ['kind'],
      values: () => {
        const { open } = alerts;
        return ALERT_KINDS.map(
          (kind) => [{ kind }, open.filter((alert) => alert.kind === kind).length] as const,
        );
      },
    },
    {
      name: 'd4gw_webhook_posts_total',
      help: 'Posts to webhooks, by what became of them.',
      labels: ['webhook', 'outcome'],
      counter: true,
      values: () =>
        alerts.webhooks.flatMap(({ sent, failed, dropped }, index) =>
          Object.entries({ sent, failed, dropped }).map(
            ([outcome, count]) => [{ webhook: `${index}`, outcome }, count] as const,
          ),
        ),
    },
    {
      name: 'd4gw_ledger_balanced',
      help: '1 where the ledger was in balance when it was last looked at.',
      values: () => {
        const last = balance();
        return last ? [[{}, last.balanced ? 1 : 0] as const] : [];
      },
    },
    {
      name: 'd4gw_start_time_seconds',
      help: 'When the gateway began, seconds since the epoch.',
      values: () => [[{}, gateway.startedAt / 1000]],
    },
    {
      name: 'd4gw_info',
      help: 'The release that runs.',
      labels: ['version', 'node'],
      values: () => [[{ version: gateway.version, node: process.versions.node }, 1]],
    },
  ];
}
