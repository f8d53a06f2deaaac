import { type Summary, summarize } from '../stats.js';
import { figure, type Series } from './results.js';

/** A series as a line of the run's output. */

const ID_COLUMNS = 44;

export function seriesLine(series: Series): string {
  const id = series.id.padEnd(ID_COLUMNS);
  if (series.failures.length > 0) {
    const [first] = series.failures;
    const more = series.failures.length > 1 ? ` (and ${series.failures.length - 1} more)` : '';
    return `${id} FAILED: ${first}${more}`;
  }
  const cells = [
    cell(series, 'gbps', 'Gbps', 2),
    cell(series, 'framesPerSecond', 'frames/s', 0),
    cell(series, 'gbpsPerCore', 'Gbps/core', 2),
    cell(series, 'handshakesPerCore', 'handshakes/s/core', 0),
    cell(series, 'idleBytes', 'KiB/connection', 1, 1024),
    short(series, 'peakRssBytes', (value) => `RSS ${(value / 1024 ** 2).toFixed(0)} MiB`),
    series.values.gbps && !series.values.loopDelayP99Ms ? 'loop p99 n/a' : undefined,
    short(series, 'loopDelayP99Ms', (value) => `loop p99 ${value.toFixed(1)} ms`),
    short(series, 'generatorCores', generatorText),
    `n=${Math.max(...Object.values(series.values).map(({ length }) => length), 0)}`,
  ];
  return `${id} ${cells.filter((text) => text !== undefined).join('  ')}`;
}

/** Above this share of a core the generator is the limit, and wall figures say little of the server. */
export const GENERATOR_SATURATED = 0.9;

function generatorText(share: number): string {
  const text = `generator ${(share * 100).toFixed(0)}%`;
  return share >= GENERATOR_SATURATED ? `${text} (its limit)` : text;
}

function cell(series: Series, metric: string, unit: string, digits: number, scale = 1) {
  const summary = figure(series, metric);
  return summary && `${spreadText(summary, digits, scale)} ${unit}`;
}

function short(series: Series, metric: string, text: (value: number) => string) {
  const values = series.values[metric];
  return values && values.length > 0 ? text(summarize(values).median) : undefined;
}

/** `4.20 (4.02..4.31)`: the median with the least and the greatest. */
export function spreadText({ median, min, max }: Summary, digits: number, scale = 1): string {
  const text = (value: number) => (value / scale).toFixed(digits);
  return `${text(median)} (${text(min)}..${text(max)})`;
}
