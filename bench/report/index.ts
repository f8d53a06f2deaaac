import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { judge, readTargets } from '../check/targets.js';
import type { Results } from '../e2e/results.js';
import { renderHtml } from './html.js';
import { renderMarkdown } from './markdown.js';

/**
 * `npm run bench:report`: draws kept results.
 *
 *     node dist/bench/report/index.js [--of FILE] [--html FILE] [--markdown FILE] [RESULTS.json…]
 *
 * Without arguments it reads bench/results and draws the newest run, a full one before a quick one;
 * all runs make the history.
 */
const BENCH_DIR = fileURLToPath(new URL('../../../bench/', import.meta.url));
const RESULTS_DIR = join(BENCH_DIR, 'results');

function readRuns(files: readonly string[]): Results[] {
  const paths =
    files.length > 0
      ? files
      : readdirSync(RESULTS_DIR)
          .filter((name) => name.endsWith('.json'))
          .map((name) => join(RESULTS_DIR, name));
  return paths
    .map((path) => JSON.parse(readFileSync(path, 'utf8')) as Results)
    .sort((a, b) => (a.startedAt < b.startedAt ? -1 : 1));
}

function main(): void {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      of: { type: 'string' },
      html: { type: 'string', default: join(RESULTS_DIR, 'report.html') },
      markdown: { type: 'string', default: join(BENCH_DIR, 'RESULTS.md') },
    },
  });
  const runs = readRuns(positionals);
  const drawn =
    values.of === undefined
      ? (runs.findLast(({ form }) => form === 'full') ?? runs.at(-1))
      : (JSON.parse(readFileSync(values.of, 'utf8')) as Results);
  if (!drawn) throw new Error('no results: run "npm run bench:gbps" first');
  const verdicts = judge(readTargets(), drawn);
  writeFileSync(values.html, renderHtml(drawn, runs, verdicts));
  writeFileSync(values.markdown, renderMarkdown(drawn, verdicts));
  process.stdout.write(`${values.html}\n${values.markdown}\n`);
}

try {
  main();
} catch (error) {
  process.stderr.write(`bench:report: ${(error as Error).message}\n`);
  process.exitCode = 1;
}
