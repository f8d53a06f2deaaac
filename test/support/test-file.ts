import { spawn } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import type { TestRecord } from './reporter.js';

/** Output of one file that is kept for a failure; what is older is dropped. */
const OUTPUT_CHARS_MAX = 256 * 1024;
const REPORTER = new URL('./reporter.js', import.meta.url).href;

export interface TestFile {
  /** Compiled file. */
  path: string;
  /** As shown: the source's path, and the build of the module where it is not the usual one. */
  label: string;
  env: Record<string, string>;
  timeoutMs: number;
}

export interface Failure {
  /** Names of the suites and tests around it, and its own. */
  name: string;
  text: string;
}

export interface FileResult {
  file: TestFile;
  passed: number;
  failures: Failure[];
  skips: Failure[];
  /** Every test in the order of their ends, for `--verbose`. */
  tests: TestRecord[];
  durationMs: number;
  output: string;
}

const EXIT_FAILED = 'exit code 1';

const groups = new Set<number>();

/** Ends every test file that runs, and all processes that it started. */
export function endTestFiles(): void {
  for (const pid of groups) killGroup(pid);
}

/**
 * Runs one test file in a process group of its own, which is ended with all that is left in it when
 * the file's process ends or its time is up.
 * @param records path where the reporter may write; removed after
 */
export async function runTestFile(file: TestFile, records: string): Promise<FileResult> {
  const started = performance.now();
  const { ending, output } = await runGroup(file, records);
  const tests = readRecords(records);
  rmSync(records, { force: true });
  const result: FileResult = {
    file,
    passed: tests.filter(({ outcome, suite }) => outcome === 'passed' && !suite).length,
    failures: pick(tests, ({ outcome, byChild }) => outcome === 'failed' && !byChild),
    skips: pick(tests, ({ outcome }) => outcome === 'skipped'),
    tests,
    durationMs: performance.now() - started,
    output,
  };
  const fails = result.failures.length > 0;
  // A failed test makes the exit code 1; any other ending is a fault of its own.
  if (ending !== undefined && !(fails && ending === EXIT_FAILED)) {
    result.failures.push({ name: '(file)', text: ending });
  } else if (tests.length === 0) {
    result.failures.push({ name: '(file)', text: 'holds no test' });
  }
  return result;
}

/** @returns how the process ended where that was not with exit code 0, and what it printed */
function runGroup(file: TestFile, records: string): Promise<{ ending?: string; output: string }> {
  const child = spawn(
    process.execPath,
    [
      '--enable-source-maps',
      `--test-reporter=${REPORTER}`,
      `--test-reporter-destination=${records}`,
      file.path,
    ],
    { detached: true, env: { ...process.env, ...file.env }, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const { pid } = child;
  if (pid !== undefined) groups.add(pid);
  let output = '';
  const keep = (text: string) => {
    output = (output + text).slice(-OUTPUT_CHARS_MAX);
  };
  child.stdout.setEncoding('utf8').on('data', keep);
  child.stderr.setEncoding('utf8').on('data', keep);
  return new Promise((resolve) => {
    let ending: string | undefined;
    const timer = setTimeout(() => {
      ending = `had not ended after ${file.timeoutMs / 1000} s`;
      if (pid !== undefined) killGroup(pid);
    }, file.timeoutMs);
    child.once('error', (error) => {
      clearTimeout(timer);
      resolve({ ending: error.message, output });
    });
    child.once('exit', (code, signal) => {
      clearTimeout(timer);
      // What the file left behind would hold the pipes open, and ports.
      if (pid !== undefined) {
        killGroup(pid);
        groups.delete(pid);
      }
      if (code !== 0) ending ??= signal ? `was ended by ${signal}` : `exit code ${code}`;
    });
    child.once('close', () => resolve(ending === undefined ? { output } : { ending, output }));
  });
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // Nothing is left of it.
  }
}

function readRecords(path: string): TestRecord[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return [];
  }
  // A process that was killed may leave half a line, which has no newline.
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as TestRecord);
}

function pick(tests: readonly TestRecord[], wanted: (test: TestRecord) => boolean): Failure[] {
  return tests.flatMap((test, index) =>
    wanted(test) ? [{ name: fullName(tests, index), text: test.text }] : [],
  );
}

/** A suite ends after what it holds: the next record one level out is the parent. */
function fullName(tests: readonly TestRecord[], index: number): string {
  const names = [tests[index]!.name];
  let { nesting } = tests[index]!;
  for (const test of tests.slice(index + 1)) {
    if (test.nesting !== nesting - 1) continue;
    names.unshift(test.name);
    nesting--;
  }
  return names.join(' › ');
}
