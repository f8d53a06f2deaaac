import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { judge, passes, readTargets, verdictLine } from './check/targets.js';
import { contenderName, filterPlan, type Group, makePlan, type PlanOptions } from './e2e/plan.js';
import { seriesLine } from './e2e/print.js';
import type { Results } from './e2e/results.js';
import { runPlan } from './e2e/run.js';
import type { Format } from './load/payload.js';
import { describeMachine, fileSystemOf, machineLines } from './machine.js';
import { findTool } from './proc/tools.js';

/** `d4gw bench` without `--to`: the suite on this machine. */

export interface BenchOptions {
  form: Results['form'];
  samples?: number;
  seconds?: number;
  filter: readonly string[];
  workers: number | 'auto';
  format: Format;
  loadProcesses?: number;
  dir?: string;
  json?: string;
  check: boolean;
  list: boolean;
}

const RESULTS_DIR = fileURLToPath(new URL('../../bench/results/', import.meta.url));

/** By form: samples of each contender, length of a sample, CPU time of each HMAC way. */
const DEFAULTS = {
  full: { samples: 5, seconds: 1, hmacMilliseconds: 200, idleSamples: 3 },
  quick: { samples: 5, seconds: 0.5, hmacMilliseconds: 40, idleSamples: 1 },
  smoke: { samples: 1, seconds: 0.2, hmacMilliseconds: 20, idleSamples: 1 },
} as const;

/**
 * Half the cores, and two at least: one was the limit of what a bare server reads at 64 KiB, and a
 * yardstick that waits for its load costs less a byte than one that, as the gateway, never does.
 */
function loadProcesses(cores: number): number {
  return Math.max(2, Math.floor(cores / 2));
}

/** @returns the exit code: 1 when anything was lost, or with `check` a target missed */
export async function runBench(options: BenchOptions, command: string): Promise<number> {
  const defaults = DEFAULTS[options.form];
  const tools = {
    socat: findTool('socat') !== undefined,
    openssl: findTool('openssl') !== undefined,
    taskset: findTool('taskset') !== undefined,
    lz4: findTool('lz4') !== undefined,
  };
  const { form, format, filter } = options;
  const cores = availableParallelism();
  const plan = filterPlan(makePlan({ form, format, cores, tools }), filter);
  if (plan.length === 0) throw new Error(`nothing fits --filter ${filter.join(' ')}; see --list`);
  if (options.list) {
    print(listing(plan));
    return 0;
  }
  const dir = options.dir ?? tmpdir();
  const samples = options.samples ?? defaults.samples;
  const seconds = options.seconds ?? defaults.seconds;
  print(`${machineLines(describeMachine()).join('\n')}\ndata    ${dataLine(dir)}\n`);
  const results = await runPlan(plan, {
    ...{ form, command, format, samples, dir },
    sampleMilliseconds: seconds * 1000,
    hmacMilliseconds: defaults.hmacMilliseconds,
    idleSamples: Math.min(samples, defaults.idleSamples),
    workers: options.workers,
    loadProcesses: options.loadProcesses ?? loadProcesses(cores),
    skipped: skippedParts(tools),
    say: (text) => process.stderr.write(`[${new Date().toISOString().slice(11, 19)}] ${text}\n`),
    finished: (_group, series) => print(`${series.map(seriesLine).join('\n')}\n`),
  });
  keep(results, options.json);
  const failed = results.series.filter(({ failures }) => failures.length > 0);
  if (failed.length > 0) print(`${failed.length} FAILED:\n${failed.map(seriesLine).join('\n')}\n`);
  const isMet = !options.check || check(results, filter.length > 0);
  print(`${results.series.length} series in ${results.seconds} s, ${failed.length} failed`);
  return failed.length === 0 && isMet ? 0 : 1;
}

/** Compares results that were kept before; `--from`. */
export function checkKept(file: string): number {
  const results = JSON.parse(readFileSync(file, 'utf8')) as Results;
  print(`${machineLines(results.machine).join('\n')}\n`);
  return check(results, false) ? 0 : 1;
}

/** Prints each target with what was reached. */
function check(results: Results, isFiltered: boolean): boolean {
  const verdicts = judge(readTargets(), results);
  print(`${verdicts.map(verdictLine).join('\n')}\n`);
  return passes(verdicts, isFiltered || results.skipped.length > 0);
}

/** As JSON where asked for, and beside the others for the report. A smoke run says nothing there. */
function keep(results: Results, file: string | undefined): void {
  const text = `${JSON.stringify(results, null, 1)}\n`;
  if (file !== undefined) writeFileSync(file, text);
  if (results.form === 'smoke') return;
  const stamp = results.startedAt.slice(0, 19).replaceAll(':', '');
  mkdirSync(RESULTS_DIR, { recursive: true });
  const kept = join(RESULTS_DIR, `${stamp}-${results.machine.commit}-${results.form}.json`);
  writeFileSync(kept, text);
  print(`kept as ${kept}`);
}

function skippedParts(tools: PlanOptions['tools']): string[] {
  const missing = Object.entries(tools).filter(([, found]) => !found);
  return missing.map(([tool]) => `what needs ${tool}, which is not installed`);
}

function dataLine(dir: string): string {
  const { name, freeBytes } = fileSystemOf(dir);
  const warning = name === 'tmpfs' ? '; no disk: figures with files say nothing, see --dir' : '';
  return `${dir} (${name}, ${(freeBytes / 1024 ** 3).toFixed(0)} GiB free${warning})`;
}

function listing(plan: readonly Group[]): string {
  return plan
    .map(({ title, contenders, tag }) => {
      const names = contenders.map((contender) => `  ${contenderName(contender, tag)}`);
      return `${title}\n${names.join('\n')}`;
    })
    .join('\n');
}

const print = (text: string) => process.stdout.write(`${text}\n`);
