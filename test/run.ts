import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { endTestFiles, type FileResult, runTestFile, type TestFile } from './support/test-file.js';

/**
 * Runs every compiled test file. The last line is `N passed, N failed`, with `, N skipped` where a
 * test was skipped. The exit code is 1 when a test failed, when none ran, and in CI (`CI=true`)
 * when one was skipped.
 *
 *     node dist/test/run.js [--wasm simd|scalar] [--verbose] [PART-OF-A-PATH…]
 *
 * Without `--wasm`, every file runs on the SIMD build of the module, and those that depend on it
 * run again on the scalar build.
 */

const CONCURRENCY = Math.min(2, availableParallelism());
const FILE_TIMEOUT_MS = 120_000;
/** These run the whole program, several times over. */
const SLOW_FOLDERS = ['control', 'integration', 'fuzz', 'cluster'];
const SLOW_FILE_TIMEOUT_MS = 300_000;
/** Folders whose code calls the module directly, or runs the threads around it. */
const WASM_FOLDERS = ['assembly', 'wasm', 'ring', 'verify', 'sources', 'cluster', 'fuzz'];
const NAME_COLUMNS = 52;

const testDir = fileURLToPath(new URL('.', import.meta.url));

interface Arguments {
  wasm: string | undefined;
  verbose: boolean;
  parts: string[];
}

function readArguments(): Arguments {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { wasm: { type: 'string' }, verbose: { type: 'boolean', default: false } },
  });
  const { wasm, verbose } = values;
  if (wasm !== undefined && wasm !== 'simd' && wasm !== 'scalar') {
    throw new Error(`--wasm ${wasm}: expected simd or scalar`);
  }
  return { wasm, verbose, parts: positionals };
}

function planFiles({ wasm, parts }: Arguments): TestFile[] {
  const paths = readdirSync(testDir, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.test.js') && !path.split('/').includes('node_modules'))
    .filter((path) => parts.length === 0 || parts.some((part) => sourceOf(path).includes(part)))
    .sort((a, b) => Number(isSlow(b)) - Number(isSlow(a)) || (a < b ? -1 : 1));
  const again = wasm === undefined ? paths.filter((path) => isIn(path, WASM_FOLDERS)) : [];
  return [
    ...paths.map((path) => testFile(path, wasm ?? 'simd')),
    ...again.map((path) => testFile(path, 'scalar')),
  ];
}

const isIn = (path: string, folders: readonly string[]) => folders.includes(path.split('/')[0]!);
const isSlow = (path: string) => isIn(path, SLOW_FOLDERS);
const sourceOf = (path: string) => `test/${path.replace(/\.js$/, '.ts')}`;

function testFile(path: string, wasm: string): TestFile {
  return {
    path: join(testDir, path),
    label: sourceOf(path) + (wasm === 'simd' ? '' : ` [${wasm}]`),
    env: { D4GW_WASM: wasm },
    timeoutMs: isSlow(path) ? SLOW_FILE_TIMEOUT_MS : FILE_TIMEOUT_MS,
  };
}

async function runAll(files: readonly TestFile[], verbose: boolean): Promise<FileResult[]> {
  const scratch = mkdtempSync(join(tmpdir(), 'd4gw-run-'));
  const end = (signal: NodeJS.Signals) => {
    endTestFiles();
    rmSync(scratch, { recursive: true, force: true });
    process.exit(signal === 'SIGINT' ? 130 : 143);
  };
  process.once('SIGINT', end).once('SIGTERM', end);
  const results: FileResult[] = [];
  const waiting = files.entries();
  const worker = async () => {
    for (const [index, file] of waiting) {
      const result = await runTestFile(file, join(scratch, `${index}.jsonl`));
      results.push(result);
      print(fileLines(result, verbose));
    }
  };
  try {
    await Promise.all(Array.from({ length: CONCURRENCY }, worker));
  } finally {
    endTestFiles();
    rmSync(scratch, { recursive: true, force: true });
  }
  return results;
}

const MARKS = { passed: '✔', failed: '✖', skipped: '○' } as const;

function fileLines(result: FileResult, verbose: boolean): string {
  const { file, passed, failures, skips, tests, durationMs } = result;
  const mark = failures.length > 0 ? MARKS.failed : MARKS.passed;
  const counts = countsText(passed, failures.length, skips.length);
  const seconds = `${(durationMs / 1000).toFixed(1)} s`;
  const lines = [`${mark} ${file.label.padEnd(NAME_COLUMNS)} ${counts} (${seconds})`];
  if (verbose) {
    for (const test of tests) {
      const indent = '  '.repeat(test.nesting + 1);
      lines.push(`${indent}${MARKS[test.outcome]} ${test.name} (${test.durationMs.toFixed(0)} ms)`);
    }
  }
  for (const { name } of failures) lines.push(`  ${MARKS.failed} ${name}`);
  for (const { name, text } of skips) {
    lines.push(`  ${MARKS.skipped} ${name}: ${text || 'skipped'}`);
  }
  return lines.join('\n');
}

function failureText({ file, failures, output }: FileResult): string {
  return [
    ...failures.map(({ name, text }) => `\n${MARKS.failed} ${file.label}: ${name}\n${text}`),
    ...(output.trim() ? [`\n--- output of ${file.label}\n${output.trimEnd()}\n---`] : []),
  ].join('\n');
}

function countsText(passed: number, failed: number, skipped: number): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}

const print = (text: string) => process.stdout.write(`${text}\n`);
const sum = (numbers: number[]) => numbers.reduce((total, number) => total + number, 0);

/** @returns the exit code */
async function main(): Promise<number> {
  const given = readArguments();
  const results = await runAll(planFiles(given), given.verbose);
  const failed = results.filter(({ failures }) => failures.length > 0);
  if (failed.length > 0) print(`\nFailures:\n${failed.map(failureText).join('\n')}\n`);
  const passedCount = sum(results.map(({ passed }) => passed));
  const failedCount = sum(results.map(({ failures }) => failures.length));
  const skippedCount = sum(results.map(({ skips }) => skips.length));
  const skipsFail = process.env.CI === 'true' && skippedCount > 0;
  if (skipsFail) print('in CI no test may be skipped');
  print(countsText(passedCount, failedCount, skippedCount));
  return failedCount > 0 || passedCount === 0 || skipsFail ? 1 : 0;
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`test/run: ${(error as Error).message}\n`);
  process.exitCode = 2;
}
