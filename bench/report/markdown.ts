import type { Verdict } from '../check/targets.js';
import { spreadText } from '../e2e/print.js';
import { figure, METRICS, type Results, type Series } from '../e2e/results.js';
import { machineLines } from '../machine.js';
import { losses } from './select.js';

/** Of why a row failed. */
const FAILURE_CHARS_MAX = 240;

/** `bench/RESULTS.md`: the same figures as text, with the commands that made them. */
export function renderMarkdown(results: Results, verdicts: readonly Verdict[]): string {
  const { machine, settings, startedAt, command } = results;
  const missed = verdicts.filter(({ state }) => state !== 'met');
  return `# Benchmark results

Written by \`npm run bench:report\` from a run of ${startedAt.slice(0, 10)}; not by hand.

\`\`\`
${machineLines(machine).join('\n')}
disk    ${settings.fileSystem}
load    ${settings.loadBefore} before the run
\`\`\`

${settings.samples} samples of ${settings.sampleSeconds} s of each row, taken in turns; medians, with
the least and the greatest in parentheses. ${settings.workers} worker(s), ${settings.loadProcesses} load
process(es) on the same machine, payload ${settings.payload}. Gbps counts payload alone. A row counts
only when the server accounted for every frame and, where it stores, every stored byte was compared
with what was sent.

## Commands

\`\`\`
${command.replace(/^d4gw bench/, 'npm run bench:gbps --')}
npm run bench                       # the parts: scan, ring, HMAC, copies, cutting, LZ4
npm run bench:gbps -- --quick --check
npm run bench:report
\`\`\`

## Targets

${table(
  ['target', 'wanted', 'reached', ''],
  verdicts.map(({ what, wanted, reached, state }) => [what, wanted, reached, state]),
)}

## The cases we lose

${lossLines(results, missed).join('\n')}

## Rows

${table(
  ['row', 'Gbps', 'frames/s', 'Gbps a core', 'peak RSS, MiB', 'loop p99, ms'],
  results.series.filter(({ values, failures }) => values.gbps || failures.length > 0).map(rowOf),
)}

## Parts and yardsticks

${table(['series', 'figure', 'unit'], partRows(results))}
${results.skipped.map((text) => `\nNot run: ${text}.`).join('')}
`;
}

function lossLines(results: Results, missed: readonly Verdict[]): string[] {
  const lines = [
    ...missed.map(
      ({ what, wanted, reached, state }) => `- ${state}: ${what}: ${reached}, target ${wanted}`,
    ),
    ...losses(results).map(({ gateway, yardstick, metric, ratio }) => {
      const by = metric === 'gbps' ? 'on the wall clock' : 'a core';
      return `- \`${gateway.id}\`: ${ratio.toFixed(2)}× of ${yardstick.subject} ${by}`;
    }),
    ...results.series
      .filter(({ failures }) => failures.length > 0)
      .map(({ id, failures }) => `- \`${id}\` FAILED: ${failures[0]!.slice(0, FAILURE_CHARS_MAX)}`),
  ];
  return lines.length > 0 ? lines : ['None in this run.'];
}

function rowOf(series: Series): string[] {
  if (series.failures.length > 0) return [`\`${series.id}\``, 'FAILED', '', '', '', ''];
  const cell = (metric: string, digits: number, scale = 1) => {
    const value = figure(series, metric);
    return value ? spreadText(value, digits, scale) : 'n/a';
  };
  return [
    `\`${series.id}\``,
    cell('gbps', 2),
    cell('framesPerSecond', 0),
    cell('gbpsPerCore', 2),
    cell('peakRssBytes', 0, 1024 ** 2),
    cell('loopDelayP99Ms', 1),
  ];
}

function partRows(results: Results): string[][] {
  return results.series
    .filter(({ values, failures }) => !values.gbps && failures.length === 0)
    .flatMap((series) =>
      Object.keys(series.values).map((metric) => {
        const value = figure(series, metric)!;
        return [
          `\`${series.id}\``,
          spreadText(value, value.median < 100 ? 2 : 0),
          METRICS[metric] ?? metric,
        ];
      }),
    );
}

function table(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |`;
  return [line(heads), line(heads.map(() => '---')), ...rows.map(line)].join('\n');
}
