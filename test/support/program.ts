import { join } from 'node:path';
import { type Running, type RunOptions, run, start } from './process.js';
import { repository } from './shared.js';

const PROGRAM = join(repository, 'dist', 'src', 'main.js');

/** Runs the built `d4gw` to its end. */
export function d4gw(args: readonly string[], options?: RunOptions & { deadlineMs?: number }) {
  return run(process.execPath, [PROGRAM, ...args], options);
}

/** Starts the built `d4gw`; the surrounding suite or file ends it. */
export function startD4gw(args: readonly string[], options?: RunOptions): Running {
  return start(process.execPath, [PROGRAM, ...args], options);
}
