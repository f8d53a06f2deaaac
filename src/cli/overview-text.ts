import type { Overview } from '../control/api/schemas.js';
import { TYPE_NAMES } from '../wire/types.js';
import { printable, table } from './table.js';

const WORKERS_SHOWN = 16;
const REJECTS_SHOWN = 6;

const number = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });
const decimal = new Intl.NumberFormat('en-US', { maximumFractionDigits: 2 });

/** The overview as lines of text, what needs a person first. */
export function overviewLines(overview: Overview): string[] {
  const { gateway, connections, sessions, sensors, alerts, ledger } = overview;
  const received = sumOf(Object.values(overview.receivedPerSecond));
  const lines = [
    `d4-gateway ${gateway.version}, ${gateway.phase} since ${gateway.startedAt}`,
    `${bits(received.bytes)}, ${number.format(received.frames)} frames/s, ` +
      `${number.format(sessions)} sessions, ${number.format(connections)} connections`,
    `sensors: ${number.format(sensors.approved)} approved, ${number.format(sensors.pending)} ` +
      `pending, ${number.format(sensors.blocked)} blocked`,
    `ledger: ${ledger ? (ledger.balanced ? 'in balance' : 'OUT OF BALANCE') : 'not looked at yet'}`,
  ];
  if (alerts.open > 0) {
    lines.push('', `alerts: ${number.format(alerts.open)} open`);
    for (const { severity, text } of alerts.first) lines.push(`  ${severity}: ${printable(text)}`);
  }
  lines.push('', ...trafficLines(overview), '', ...sinkLines(overview));
  lines.push('', ...workerLines(overview));
  return lines;
}

function trafficLines({ received, receivedPerSecond, rejected, rejectedPerSecond }: Overview) {
  const types = Object.entries(received).map(([type, amount]) => {
    const rate = receivedPerSecond[type] ?? { frames: 0, bytes: 0 };
    const name = TYPE_NAMES[Number(type)] ?? '';
    return [
      `${type} ${name}`.trim(),
      bits(rate.bytes),
      number.format(rate.frames),
      number.format(amount.frames),
      size(amount.bytes),
    ];
  });
  const lines =
    types.length === 0
      ? ['nothing was received yet']
      : table(['TYPE', 'NOW', 'FRAMES/S', 'FRAMES', 'BYTES'], types);
  const rejects = Object.entries(rejected)
    .sort(([, a], [, b]) => b.frames - a.frames)
    .slice(0, REJECTS_SHOWN)
    .map(([reason, amount]) => [
      reason,
      number.format(rejectedPerSecond[reason]?.frames ?? 0),
      number.format(amount.frames),
    ]);
  if (rejects.length > 0) lines.push('', ...table(['REJECTED', 'FRAMES/S', 'FRAMES'], rejects));
  return lines;
}

function sinkLines({ sinks }: Overview): string[] {
  return table(
    ['SINK', 'KIND', 'STATE', 'DELIVERED', 'SPOOL', 'LAG'],
    sinks.map(({ name, kind, state, delivered, spool, lagSeconds }) => [
      name,
      kind,
      state,
      `${number.format(delivered.frames)} frames, ${size(delivered.bytes)}`,
      spool ? `${size(spool.bytes)} of ${size(spool.maxBytes)}` : '-',
      lagSeconds === null ? '-' : `${decimal.format(lagSeconds)} s`,
    ]),
  );
}

function workerLines({ workers, primary }: Overview): string[] {
  const shown = workers.slice(0, WORKERS_SHOWN);
  const percent = (share: number) => `${Math.round(share * 100)} %`;
  const lines = table(
    ['WORKER', 'PID', 'SESSIONS', 'RING', 'I/O', 'SINKS', 'MEMORY', 'DIED'],
    shown.map((worker) => [
      `${worker.index} ${worker.state}`,
      worker.pid === null ? '-' : `${worker.pid}`,
      number.format(worker.sessions),
      percent(worker.ringUsedRatio),
      percent(worker.io.utilization),
      percent(worker.sink.utilization),
      size(worker.rssBytes),
      `${worker.deaths}`,
    ]),
  );
  const more = workers.length - shown.length;
  if (more > 0) lines.push(`and ${more} more`);
  const { loop, rssBytes } = primary;
  lines.push(`primary: ${percent(loop.utilization)} of a core, ${size(rssBytes)}`);
  return lines;
}

function sumOf(rates: readonly { frames: number; bytes: number }[]) {
  return {
    frames: rates.reduce((total, { frames }) => total + frames, 0),
    bytes: rates.reduce((total, { bytes }) => total + bytes, 0),
  };
}

/** Bytes per second as bits per second. */
function bits(bytesPerSecond: number): string {
  return `${scaled(bytesPerSecond * 8, 1000, ['', 'k', 'M', 'G', 'T'])}bps`;
}

function size(bytes: number): string {
  return `${scaled(bytes, 1024, ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi'])}B`;
}

function scaled(value: number, base: number, prefixes: readonly string[]): string {
  let rest = value;
  let index = 0;
  while (rest >= base && index < prefixes.length - 1) {
    rest /= base;
    index += 1;
  }
  return `${decimal.format(rest)} ${prefixes[index]}`;
}
