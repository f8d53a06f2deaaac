import type { Verdict } from '../check/targets.js';
import { sizeText } from '../e2e/plan.js';
import { figure, type Results, type Series } from '../e2e/results.js';
import { commitText, machineLines } from '../machine.js';
import { bySize, DRAWN_CONNECTIONS, history, losses, stagesBySize, type Wanted } from './select.js';
import { escapeText, type Line, lineChart, stackedBars } from './svg.js';

/** The report as one page: everything in it, nothing fetched. */

const STYLE = `
:root { color-scheme: light dark; --line: #8886; --dim: #777; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
pre { background: #8881; padding: .7rem; overflow-x: auto; }
svg { width: 100%; height: auto; } svg text { font-size: 12px; fill: currentColor; }
.grid { stroke: var(--line); } .dim { color: var(--dim); }
.legend { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; }
.legend span { display: inline-block; width: 1.6rem; margin-right: .4rem; vertical-align: middle; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; }
.met { color: #00805a; } .missed, .failed { color: #c33; font-weight: 600; }
`;

export function renderHtml(
  results: Results,
  runs: readonly Results[],
  verdicts: readonly Verdict[],
): string {
  const { machine, settings, command, startedAt } = results;
  const sections = [
    section('Targets', targetsTable(verdicts)),
    section(
      `Throughput by payload size, ${DRAWN_CONNECTIONS} connections`,
      chartBySize(results, 'gbps', 'Gbps of payload, wall clock', THROUGHPUT),
    ),
    section(
      'The same by CPU: Gbps a core',
      chartBySize(results, 'gbpsPerCore', 'Gbps of payload a core', PER_CORE),
      'Server processes only, user and system time. The serial bound is what reading and the best ' +
        'HMAC loop, each measured alone, leave together: 1/(1/read + 1/HMAC).',
    ),
    section(
      'Where the CPU goes',
      stackedBars(
        stagesBySize(results).map(({ payloadBytes, stages }) => ({
          label: sizeText(payloadBytes),
          parts: stages.map(({ name, seconds }) => ({ name, value: seconds })),
        })),
        'CPU seconds a GB of payload',
      ),
      'CPU seconds a GB of payload. "gateway" is what it needs beside reading and HMAC.',
    ),
    section('Idle connections', idleText(results)),
    section(
      'History by commit',
      historyChart(runs),
      'Gbps a core on machines of this kind, run by run; hover for the commit.',
    ),
    section('Where others do better', lossesTable(results)),
    section('Every row', rowsTable(results)),
  ];
  const title = `d4-gateway: benchmark of ${commitText(machine)}`;
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${escapeText(title)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>${STYLE}</style></head>
<body><h1>${escapeText(title)}</h1>
<p>${escapeText(startedAt)}, ${settings.samples} samples of ${settings.sampleSeconds} s in turns,
medians with least and greatest, payload ${escapeText(settings.payload)}, files on
${escapeText(settings.fileSystem)}, machine's load before ${settings.loadBefore}.</p>
<pre>${escapeText([`$ ${command}`, ...machineLines(machine)].join('\n'))}</pre>
${sections.join('\n')}
</body></html>
`;
}

type Curve = [name: string, wanted: Wanted, isDashed?: boolean];

const gateway = (transport: 'tls' | 'tcp', sink: Series['sink']): Wanted => ({
  subject: 'gateway',
  transport,
  ...(sink === undefined ? {} : { sink }),
});

const THROUGHPUT: readonly Curve[] = [
  ['TLS → blackhole', gateway('tls', 'blackhole')],
  ['TLS → files', gateway('tls', 'files')],
  ['TLS → files, lz4', gateway('tls', 'lz4')],
  ['TCP → blackhole', gateway('tcp', 'blackhole')],
  ['naive gateway, TLS → files', { subject: 'naive', transport: 'tls', sink: 'files' }, true],
  ['TLS read alone', { subject: 'read', transport: 'tls' }, true],
];
const PER_CORE: readonly Curve[] = [
  ...THROUGHPUT,
  ['serial bound of the bare parts', { subject: 'bound', transport: 'tls' }, true],
];

function chartBySize(
  results: Results,
  metric: string,
  unit: string,
  curves: readonly Curve[],
): string {
  const taken = curves.map(([name, wanted, isDashed = false]) => ({
    ...{ name, isDashed, points: bySize(results, wanted, metric) },
  }));
  const sizes = [
    ...new Set(taken.flatMap(({ points }) => points.map((point) => point.payloadBytes))),
  ].sort((a, b) => a - b);
  const lines: Line[] = taken.map(({ name, isDashed, points }) => ({
    name,
    isDashed,
    points: points.map(({ payloadBytes, value: { median, min, max } }) => ({
      ...{ x: sizes.indexOf(payloadBytes), y: median, low: min, high: max },
      title: `${name}, ${sizeText(payloadBytes)}: ${median.toFixed(2)} (${min.toFixed(2)}..${max.toFixed(2)})`,
    })),
  }));
  const chart = lineChart(sizes.map(sizeText), lines, unit);
  return `${chart}<p class="dim">${escapeText(unit)}</p>`;
}

function historyChart(runs: readonly Results[]): string {
  const lines = history(runs);
  const times = [
    ...new Set(lines.flatMap(({ points }) => points.map(({ startedAt }) => startedAt))),
  ].sort();
  const commitAt = (time: string) =>
    lines.flatMap(({ points }) => points).find(({ startedAt }) => startedAt === time)?.commit ?? '';
  return lineChart(
    // Many labels would run into each other.
    times.map((time) => (times.length <= 12 ? commitAt(time).slice(0, 7) : '')),
    lines.map(({ label, points }) => ({
      name: label,
      points: points.map(({ commit, startedAt, value }) => ({
        ...{ x: times.indexOf(startedAt), y: value },
        title: `${label}: ${value.toFixed(2)}, ${commit}, ${startedAt}`,
      })),
    })),
    'Gbps a core',
  );
}

function idleText(results: Results): string {
  const rows = results.series.flatMap((series) => {
    const memory = figure(series, 'idleBytes');
    if (memory) {
      const text = `${(memory.median / 1024).toFixed(1)} KiB a connection`;
      return [[series.subject, `${series.idle} idle TLS connections`, text]];
    }
    const rate = figure(series, 'gbps');
    const beside = results.series.some(
      (other) => (other.idle ?? 0) > 0 && other.payloadBytes === series.payloadBytes,
    );
    if (!rate || series.transport !== 'tls' || series.sink !== 'blackhole' || !beside) return [];
    if (series.subject !== 'gateway' || series.connections !== DRAWN_CONNECTIONS) return [];
    const load = `${sizeText(series.payloadBytes ?? 0)}, ${series.idle ?? 0} idle beside`;
    return [[series.id, load, `${rate.median.toFixed(2)} Gbps`]];
  });
  return table(['', 'load', 'figure'], rows);
}

function lossesTable(results: Results): string {
  const rows = losses(results).map(({ gateway: ours, yardstick, metric, ratio }) => [
    ours.id,
    yardstick.subject,
    metric === 'gbps' ? 'wall clock' : 'a core',
    `${ratio.toFixed(2)}×`,
  ]);
  if (rows.length === 0) return '<p>None of the comparisons of this run.</p>';
  return table(['row', 'better', 'by', 'ours against it'], rows);
}

function targetsTable(verdicts: readonly Verdict[]): string {
  return table(
    ['target', 'wanted', 'reached', ''],
    verdicts.map(({ what, wanted, reached, state }) => [what, wanted, reached, state]),
    (cells) => String(cells[3]).replace(' ', '-'),
  );
}

function rowsTable({ series }: Results): string {
  const cell = (row: Series, metric: string, digits: number, scale = 1) => {
    const value = figure(row, metric);
    if (!value) return '';
    const text = (number: number) => (number / scale).toFixed(digits);
    return `${text(value.median)} (${text(value.min)}..${text(value.max)})`;
  };
  const rows = series.map((row) =>
    row.failures.length > 0
      ? [row.id, `FAILED: ${row.failures[0]}`, '', '', '', '']
      : [
          row.id,
          cell(row, 'gbps', 2),
          cell(row, 'framesPerSecond', 0) || cell(row, 'handshakesPerCore', 0),
          cell(row, 'gbpsPerCore', 2),
          cell(row, 'peakRssBytes', 0, 1024 ** 2),
          cell(row, 'loopDelayP99Ms', 1),
        ],
  );
  const heads = ['row', 'Gbps', 'frames/s', 'Gbps a core', 'peak RSS, MiB', 'loop p99, ms'];
  return table(heads, rows, (cells) => (String(cells[1]).startsWith('FAILED') ? 'failed' : ''));
}

function section(title: string, body: string, note = ''): string {
  const text = note === '' ? '' : `<p class="dim">${escapeText(note)}</p>`;
  return `<section><h2>${escapeText(title)}</h2>${text}${body}</section>`;
}

function table(
  heads: readonly string[],
  rows: readonly (readonly (string | number)[])[],
  classOf: (cells: readonly (string | number)[]) => string = () => '',
): string {
  const cells = (tag: string, values: readonly (string | number)[]) =>
    values.map((value) => `<${tag}>${escapeText(String(value))}</${tag}>`).join('');
  const lines = rows.map(
    (row) => `<tr class="${escapeText(classOf(row))}">${cells('td', row)}</tr>`,
  );
  return `<div class="wide"><table><thead><tr>${cells('th', heads)}</tr></thead><tbody>${lines.join('')}</tbody></table></div>`;
}
