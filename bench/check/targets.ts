import { readFileSync } from 'node:fs';
import { figure, findSeries, type Results } from '../e2e/results.js';
import type { Machine } from '../machine.js';

/** The targets of `bench/targets.json`, and what a run says to them. */
export interface Targets {
  /** Medians of one run against each other. */
  ratios: RatioTarget[];
  /** Medians in their own unit. */
  limits: LimitTarget[];
  /** What a class of machine reaches; those of the first class that fits are checked. */
  machines: MachineTargets[];
}

/** A metric of a series: `gateway/tls/files/128/16c#framesPerSecond`. */
type Reference = string;

interface Bounds {
  what: string;
  min?: number;
  max?: number;
}

interface RatioTarget extends Bounds {
  /** The form that measures it, where not every one does. */
  form?: 'full';
  of: Reference;
  over: Reference;
}

interface LimitTarget extends Bounds {
  of: Reference;
}

interface MachineTargets {
  class: string;
  /** What of the machine must be so; `cpu` is a part of the model's name. */
  match: { arch?: string; cores?: number; cpu?: string };
  limits: LimitTarget[];
}

export interface Verdict {
  what: string;
  /** `not measured`: the run has no such series. */
  state: 'met' | 'missed' | 'failed' | 'not measured';
  wanted: string;
  value: number | undefined;
  /** The value as it is shown, or why there is none. */
  reached: string;
}

export const TARGETS_FILE = new URL('../../../bench/targets.json', import.meta.url);

export function readTargets(file: URL | string = TARGETS_FILE): Targets {
  return JSON.parse(readFileSync(file, 'utf8')) as Targets;
}

export function judge(targets: Targets, results: Results): Verdict[] {
  const own = targets.machines.find(({ match }) => fits(match, results.machine));
  return [
    ...targets.ratios
      .filter(({ form }) => form === undefined || form === results.form)
      .map((target) => {
        const [of, over] = [read(results, target.of), read(results, target.over)];
        const value =
          of.value === undefined || over.value === undefined ? undefined : of.value / over.value;
        return verdict(target, value, [of, over], (ratio) => `${digits(ratio)}×`);
      }),
    ...[...targets.limits, ...(own?.limits ?? [])].map((target) => {
      const of = read(results, target.of);
      return verdict(target, of.value, [of], target.of.endsWith('Bytes') ? mebibytes : digits);
    }),
  ];
}

/**
 * Whether a run passes: nothing missed, nothing failed, and, unless parts were left out on purpose,
 * everything measured.
 */
export function passes(verdicts: readonly Verdict[], isPartial: boolean): boolean {
  return verdicts.every(({ state }) => state === 'met' || (isPartial && state === 'not measured'));
}

interface Reading {
  value: number | undefined;
  detail?: string;
  failed: boolean;
}

function read(results: Results, reference: Reference): Reading {
  const [id, metric] = reference.split('#') as [string, string];
  const series = findSeries(results, id);
  if (!series) return { value: undefined, failed: false, detail: `${id} was not run` };
  const [failure] = series.failures;
  if (failure !== undefined) return { value: undefined, failed: true, detail: `${id}: ${failure}` };
  const value = figure(series, metric)?.median;
  if (value === undefined) return { value, failed: false, detail: `${id} has no ${metric}` };
  return { value, failed: false };
}

function verdict(
  { what, min, max }: Bounds,
  value: number | undefined,
  readings: readonly Reading[],
  show: (value: number) => string,
): Verdict {
  const wanted = [
    ...(min === undefined ? [] : [`≥ ${show(min)}`]),
    ...(max === undefined ? [] : [`≤ ${show(max)}`]),
  ].join(' and ');
  if (value === undefined || !Number.isFinite(value)) {
    const state = readings.some(({ failed }) => failed) ? 'failed' : 'not measured';
    const [reached = ''] = readings.flatMap(({ detail }) => detail ?? []);
    return { what, wanted, value: undefined, reached, state };
  }
  const isMet = value >= (min ?? -Infinity) && value <= (max ?? Infinity);
  return { what, wanted, value, reached: show(value), state: isMet ? 'met' : 'missed' };
}

const digits = (value: number) => value.toPrecision(3);
const mebibytes = (value: number) => `${digits(value / 2 ** 20)} MiB`;

function fits(match: MachineTargets['match'], machine: Machine): boolean {
  return (
    (match.arch === undefined || match.arch === machine.arch) &&
    (match.cores === undefined || match.cores === machine.cores) &&
    (match.cpu === undefined || machine.cpu.includes(match.cpu))
  );
}

/** A verdict as a line of text. */
export function verdictLine({ what, state, wanted, reached }: Verdict): string {
  return `${state.toUpperCase().padEnd(12)} ${what}: ${reached} (target ${wanted})`;
}
