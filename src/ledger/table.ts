import { TYPE_NAMES } from '../wire/types.js';
import type { Imbalance } from './balance.js';
import type { LedgerReport, LiveReport, RelayReport, SensorReport, SinkReport } from './report.js';
import { type Amount, UNVERIFIED_SENSOR } from './totals.js';

/** Recoveries that are printed; `--json` has all that are kept. */
const RECOVERIES_SHOWN_MAX = 5;

const number = new Intl.NumberFormat('en-US');
const COLUMNS = ['received', 'delivered', 'rejected', 'lost', 'dropped', 'inFlight'] as const;
const HEADINGS: Readonly<Record<(typeof COLUMNS)[number], string>> = {
  received: 'received',
  delivered: 'delivered',
  rejected: 'rejected',
  lost: 'lost',
  dropped: 'dropped',
  inFlight: 'in flight',
};

/** The ledger as text, for a terminal. */
export function renderLedger(report: LedgerReport, options: { sessions: boolean }): string {
  const lines: string[] = [];
  const hasRelays = report.relays.length > 0;
  for (const sensor of report.sensors) lines.push(...sensorLines(sensor, hasRelays), '');
  lines.push(`all sensors: received ${amountText(report.received)}`);
  lines.push(...sinkTable(report.sinks, hasRelays), '');
  for (const relay of report.relays) lines.push(...relayLines(relay), '');
  if (options.sessions) lines.push(...sessionLines(report.sessions), '');
  const refusals = Object.entries(report.refusals).sort(([a], [b]) => (a < b ? -1 : 1));
  lines.push(`connections refused before a session: ${refusals.length === 0 ? 'none' : ''}`.trim());
  for (const [reason, count] of refusals) lines.push(`  ${reason}: ${number.format(count)}`);
  lines.push(`workers that died: ${number.format(report.workerDeaths)}`);
  for (const event of report.recoveries.slice(-RECOVERIES_SHOWN_MAX)) {
    const sessions = counted(event.sessions, 'open session');
    const at = new Date(event.at).toISOString();
    lines.push(`  ${at} worker ${event.worker}: ${sessions}, lost ${amountText(event.lost)}`);
  }
  lines.push('');
  for (const problem of report.problems) lines.push(`note: ${problem}`);
  const { sessions, reasons } = report.spoiled;
  if (sessions > 0)
    lines.push(`note: ${counted(sessions, 'session')} in no total, the last being:`);
  for (const reason of reasons) lines.push(`  ${reason}`);
  for (const imbalance of report.imbalances) lines.push(imbalanceLine(imbalance));
  lines.push(report.balanced ? 'in balance' : 'OUT OF BALANCE');
  return `${lines.join('\n')}\n`;
}

function sensorLines(sensor: SensorReport, hasRelays: boolean): string[] {
  const open = sensor.open > 0 ? `, ${number.format(sensor.open)} open` : '';
  const isStranger = sensor.sensor === UNVERIFIED_SENSOR;
  const name = isStranger ? 'strangers, nothing verified' : `sensor ${sensor.sensor}`;
  const lines = [
    `${name}, type ${typeText(sensor.type)}: ` +
      `${counted(sensor.sessions, 'session')}${open}, received ${amountText(sensor.received)}`,
  ];
  if (sensor.sinks.length === 0)
    lines.push('  no sink: no route took it, or nothing verified came');
  else lines.push(...sinkTable(sensor.sinks, hasRelays));
  for (const [reason, amount] of Object.entries(sensor.rejected)) {
    lines.push(`  rejected, ${reason}: ${amountText(amount)}`);
  }
  for (const [relay, reasons] of Object.entries(sensor.filtered)) {
    lines.push(`  not relayed to ${relay}: ${filteredText(reasons)}`);
  }
  const { count, bytes } = sensor.truncated;
  if (count > 0) {
    lines.push(`  cut in mid-frame: ${counted(count, 'connection')}, ${counted(bytes, 'byte')}`);
  }
  const ends = Object.entries(sensor.ends).map(([end, times]) => `${end} ${number.format(times)}`);
  if (ends.length > 0) lines.push(`  sessions ended: ${ends.join(', ')}`);
  return lines;
}

function relayLines(relay: RelayReport): string[] {
  const { sink, connections, filtered } = relay;
  const { opened, failed, lost } = connections;
  const lines = [
    `relay ${sink}: accepted ${amountText(relay.accepted)}`,
    `  sent ${amountText(relay.sent)}; waiting ${amountText(relay.waiting)}`,
    `  sent again after a break: ${amountText(relay.resent)}; ` +
      `in frames of the relay's own: ${amountText(relay.recut)}`,
    `  connections: ${number.format(opened)} made, ${number.format(failed)} not made, ` +
      `${number.format(lost)} lost`,
  ];
  for (const [reason, amount] of Object.entries(relay.dropped)) {
    lines.push(`  dropped, ${reason}: ${amountText(amount)}`);
  }
  if (Object.keys(filtered).length > 0) lines.push(`  not relayed: ${filteredText(filtered)}`);
  return lines;
}

function filteredText(reasons: Readonly<Record<string, number>>): string {
  return Object.entries(reasons)
    .map(([reason, count]) => `${counted(count, 'stream')} for ${reason}`)
    .join(', ');
}

/** Two lines a sink: its frames, and its bytes. Relays alone drop anything. */
function sinkTable(sinks: readonly SinkReport[], hasRelays: boolean): string[] {
  const columns = COLUMNS.filter((column) => column !== 'dropped' || hasRelays);
  const rows = sinks.flatMap((sink) =>
    (['frames', 'bytes'] as const).map((unit) => [
      unit === 'frames' ? sink.sink : '',
      unit,
      ...columns.map((column) => number.format(sink[column][unit])),
    ]),
  );
  const head = ['sink', 'unit', ...columns.map((column) => HEADINGS[column])];
  const table = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...table.map((row) => row[column]!.length)));
  return table.map((row) => {
    const cells = row.map((cell, column) =>
      column < 2 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!),
    );
    return `  ${cells.join('  ')}`;
  });
}

function sessionLines(sessions: readonly LiveReport[]): string[] {
  const lines = [
    `open sessions: ${sessions.length === 0 ? 'none' : number.format(sessions.length)}`,
  ];
  for (const session of sessions) {
    const since = new Date(session.openedAt).toISOString();
    lines.push(
      `  ${session.id}: sensor ${session.sensor}, type ${typeText(session.type)}, ` +
        `worker ${session.worker}, since ${since}, received ${amountText(session.received)}`,
    );
    for (const [sink, amount] of Object.entries(session.inFlight)) {
      lines.push(`    ${sink}: in flight ${amountText(amount)}`);
    }
  }
  return lines;
}

function imbalanceLine(imbalance: Imbalance): string {
  const { sensor, type, sink, unit, difference, accepted } = imbalance;
  const side = difference > 0 ? 'missing' : 'too many';
  const isRelay = accepted !== undefined;
  const sum = (['delivered', 'rejected', 'lost', 'dropped', 'inFlight'] as const)
    .filter((part) => part !== 'dropped' || isRelay)
    .map((part) => `${number.format(imbalance[part])} ${part === 'inFlight' ? 'in flight' : part}`)
    .join(' + ');
  const spool =
    accepted === undefined ? '' : ` (${number.format(accepted)} in its spool's account)`;
  return (
    `out of balance: sensor ${sensor}, type ${typeText(type)}, sink ${sink}: ` +
    `${number.format(imbalance.received)} ${unit} received, ${sum}${spool}: ` +
    `${number.format(Math.abs(difference))} ${side}`
  );
}

function typeText(type: number): string {
  const name = TYPE_NAMES[type];
  return name === undefined ? `${type}` : `${type} (${name})`;
}

function amountText({ frames, bytes }: Amount): string {
  return `${counted(frames, 'frame')}, ${counted(bytes, 'byte')}`;
}

function counted(count: number, noun: string): string {
  return `${number.format(count)} ${noun}${count === 1 ? '' : 's'}`;
}
