#!/usr/bin/env node
import { report, runProgram } from './cli/program.js';
import { keepYoungGenerationSmall } from './cluster/heap.js';

function fail(error: unknown): void {
  const code = report(error);
  // Whatever is still open must not keep a program that has failed.
  if (code !== 0) process.exit(code);
}

// The reader of our output went away (`d4gw decode | head`): nothing is left to do, unless the
// command says by a listener of its own that it matters (`d4gw client` would lose data).
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (process.stdout.listenerCount('error') > 1) return;
  if (error.code === 'EPIPE') process.exit(0);
  fail(error);
});
process.on('uncaughtException', fail);
process.on('unhandledRejection', fail);

// The command's own modules are loaded after this.
if (process.argv[2] === 'serve') keepYoungGenerationSmall();
await runProgram(process.argv.slice(2)).catch(fail);
