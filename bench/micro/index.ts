import { execFileSync } from 'node:child_process';
import { arch, availableParallelism, cpus, release, totalmem } from 'node:os';
import { formatBytes } from '../../src/config/units.js';
import { run as hmacBench } from './hmac.js';
import { run as ringBench } from './ring.js';
import { run as scanBench } from './scan.js';

/** Where the figures below come from: figures without their machine say nothing. */
function printOrigin(): void {
  const gib = Math.round(totalmem() / 1024 ** 3) * 1024 ** 3;
  const lines = [
    `cpu     ${cpus()[0]?.model ?? 'unknown'}, ${availableParallelism()} cores, ${arch()}`,
    `memory  ${formatBytes(gib)}`,
    `kernel  Linux ${release()}`,
    `node    ${process.version}, V8 ${process.versions.v8}`,
    `commit  ${commit()}`,
  ];
  process.stdout.write(`${lines.join('\n')}\n\n`);
}

/** The commit that was built, and whether the work tree differs from it. */
function commit(): string {
  const git = (...args: string[]) =>
    execFileSync('git', ['-C', import.meta.dirname ?? '.', ...args], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  try {
    const changed = git('status', '--porcelain', '--untracked-files=no') !== '';
    return git('rev-parse', '--short=12', 'HEAD') + (changed ? ', with changes' : '');
  } catch {
    return 'unknown (no git repository)';
  }
}

printOrigin();
await scanBench();
await hmacBench();
await ringBench();
