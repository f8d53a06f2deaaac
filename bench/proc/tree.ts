import { readdirSync, readFileSync, writeFileSync } from 'node:fs';

/**
 * CPU time and memory of a process and all that descends from it, from proc(5). Sums over a tree
 * lose nothing when a process of it ends: its parent then counts it among its waited-for children.
 */

/** USER_HZ: the kernel tells every architecture's programs 100. */
const TICKS_PER_SECOND = 100;

interface Stat {
  pid: number;
  parent: number;
  /** User and system time of its threads and of its children that have ended, in ticks. */
  ticks: number;
}

/** Seconds of CPU, user and system, of the tree so far. Undefined when the root has ended. */
export function treeCpuSeconds(root: number): number | undefined {
  const tree = treeOf(root);
  if (tree.length === 0) return undefined;
  return tree.reduce((sum, { ticks }) => sum + ticks, 0) / TICKS_PER_SECOND;
}

/** The processes of the tree, the root first. */
export function treePids(root: number): number[] {
  return treeOf(root).map(({ pid }) => pid);
}

export interface TreeMemory {
  /** Resident now, all processes together. */
  rssBytes: number;
  /** Peaks (VmHWM) added up: an upper bound, for they need not have been at one moment. */
  peakBytes: number;
  /** The highest peak of a process that is not the root; of the root where it is alone. */
  workerPeakBytes: number;
}

export function treeMemory(root: number): TreeMemory {
  const memory = { rssBytes: 0, peakBytes: 0, workerPeakBytes: 0 };
  const pids = treePids(root);
  for (const pid of pids) {
    const status = readText(`/proc/${pid}/status`) ?? '';
    const kib = (field: string) =>
      Number(status.match(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm'))?.[1] ?? 0);
    const peak = kib('VmHWM') * 1024;
    memory.rssBytes += kib('VmRSS') * 1024;
    memory.peakBytes += peak;
    if (pid !== root || pids.length === 1) {
      memory.workerPeakBytes = Math.max(memory.workerPeakBytes, peak);
    }
  }
  return memory;
}

/** Starts the peaks of the tree anew (`clear_refs`, 5). Where that is refused they stay. */
export function resetPeaks(root: number): void {
  for (const pid of treePids(root)) {
    try {
      writeFileSync(`/proc/${pid}/clear_refs`, '5');
    } catch {
      // The peak since the start is an upper bound of the one asked for.
    }
  }
}

function treeOf(root: number): Stat[] {
  const all = new Map<number, Stat[]>();
  let top: Stat | undefined;
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const stat = readStat(Number(name));
    if (!stat) continue;
    if (stat.pid === root) top = stat;
    const siblings = all.get(stat.parent);
    if (siblings) siblings.push(stat);
    else all.set(stat.parent, [stat]);
  }
  if (!top) return [];
  const tree = [top];
  // The array grows while it is walked: children of children follow.
  for (const { pid } of tree) tree.push(...(all.get(pid) ?? []));
  return tree;
}

/** Fields 3, 4 and 14 to 17 of proc(5) `stat`; what follows the name in parentheses. */
function readStat(pid: number): Stat | undefined {
  const text = readText(`/proc/${pid}/stat`);
  if (text === undefined) return undefined;
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  if (fields[0] === 'X') return undefined;
  const ticks = [11, 12, 13, 14].reduce((sum, index) => sum + Number(fields[index]), 0);
  return { pid, parent: Number(fields[1]), ticks };
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined; // Ended meanwhile.
  }
}
