import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { treePids } from './tree.js';

/**
 * Everything that a run starts or makes, so that nothing of it stays behind: not after an error, not
 * after Ctrl-C. Processes are ended by their own ids.
 */
const children = new Set<ChildProcess>();
const directories = new Set<string>();
let armed = false;

/** Takes a child process into care until it ends. */
export function own<Child extends ChildProcess>(child: Child): Child {
  arm();
  children.add(child);
  child.once('exit', () => children.delete(child));
  child.once('error', () => children.delete(child));
  return child;
}

/** A new directory for a run's data. */
export function ownDirectory(parent: string): string {
  arm();
  const dir = mkdtempSync(join(parent, 'd4gw-bench-'));
  directories.add(dir);
  return dir;
}

export function removeDirectory(dir: string): void {
  rmSync(dir, { recursive: true, force: true, maxRetries: 3 });
  directories.delete(dir);
}

/** Ends a child with all its descendants, first politely; resolves when it has ended. */
export async function end(child: ChildProcess, deadlineMs: number): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  const timer = setTimeout(() => killTree(child), deadlineMs);
  child.kill('SIGTERM');
  const code = await ended;
  clearTimeout(timer);
  return code;
}

function killTree(child: ChildProcess): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  for (const pid of treePids(child.pid)) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // Ended meanwhile.
    }
  }
}

/** Ends all at once, without waiting; for the end of this process. */
function endAll(): void {
  for (const child of children) killTree(child);
  for (const dir of directories) {
    try {
      rmSync(dir, { recursive: true, force: true, maxRetries: 3 });
    } catch {
      process.stderr.write(`d4gw bench: could not remove ${dir}\n`);
    }
  }
}

function arm(): void {
  if (armed) return;
  armed = true;
  process.on('exit', endAll);
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const) {
    process.on(signal, () => process.exit(code));
  }
}
