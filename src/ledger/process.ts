import { readFileSync } from 'node:fs';

/** Names this run of the machine: what a page cache held is gone when it differs. */
export function bootId(): string {
  return readText('/proc/sys/kernel/random/boot_id')?.trim() ?? '';
}

/**
 * When a process began, in clock ticks since boot (proc(5), `stat`, field 22); undefined where no
 * such process runs. Together with its pid and the boot id it names a process for good.
 */
export function startTicks(pid: number): string | undefined {
  const stat = readText(`/proc/${pid}/stat`);
  if (stat === undefined) return undefined;
  // The second field is the program's name in parentheses, and may hold anything.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const state = fields[0];
  return state === 'Z' || state === 'X' ? undefined : fields[19];
}

/** Whether the process that wrote this of itself still runs. */
export function isRunning(of: { pid: number; startTicks: string; bootId: string }): boolean {
  return of.bootId === bootId() && startTicks(of.pid) === of.startTicks;
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
