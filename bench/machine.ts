import { execFileSync } from 'node:child_process';
import { readFileSync, statfsSync } from 'node:fs';
import { arch, availableParallelism, cpus, release, totalmem } from 'node:os';
import { formatBytes } from '../src/config/units.js';

/** Where figures come from: figures without their machine say nothing. */
export interface Machine {
  cpu: string;
  cores: number;
  arch: string;
  memoryBytes: number;
  kernel: string;
  node: string;
  v8: string;
  openssl: string;
  commit: string;
  /** The work tree differed from the commit. */
  changed: boolean;
}

const GIB = 1024 ** 3;

export function describeMachine(): Machine {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    arch: arch(),
    memoryBytes: Math.round(totalmem() / GIB) * GIB,
    kernel: release(),
    node: process.version,
    v8: process.versions.v8,
    openssl: process.versions.openssl,
    ...commit(),
  };
}

/** The lines that stand above every printed figure. */
export function machineLines(machine: Machine): string[] {
  const { cpu, cores, memoryBytes, kernel, node, v8, openssl } = machine;
  return [
    `cpu     ${cpu}, ${cores} cores, ${machine.arch}`,
    `memory  ${formatBytes(memoryBytes)}`,
    `kernel  Linux ${kernel}`,
    `node    ${node}, V8 ${v8}, OpenSSL ${openssl}`,
    `commit  ${commitText(machine)}`,
  ];
}

export function commitText(machine: Machine): string {
  return machine.commit + (machine.changed ? ', with changes' : '');
}

/** The commit that was built, and whether the work tree differs from it. */
function commit(): { commit: string; changed: boolean } {
  const git = (...args: string[]) =>
    execFileSync('git', ['-C', import.meta.dirname ?? '.', ...args], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  try {
    const changed = git('status', '--porcelain', '--untracked-files=no') !== '';
    return { commit: git('rev-parse', '--short=12', 'HEAD'), changed };
  } catch {
    return { commit: 'unknown', changed: false };
  }
}

/** `f_type` of statfs(2). */
const FILE_SYSTEMS: Readonly<Record<number, string>> = {
  61267: 'ext4',
  1481003842: 'xfs',
  2435016766: 'btrfs',
  16914836: 'tmpfs',
  2035054128: 'overlayfs',
  26985: 'nfs',
  801189825: 'zfs',
};

/** The file system of a directory, by name where it is a common one. */
export function fileSystemOf(dir: string): { name: string; freeBytes: number } {
  const { type, bavail, bsize } = statfsSync(dir);
  const name = FILE_SYSTEMS[Number(type)] ?? `0x${Number(type).toString(16)}`;
  return { name, freeBytes: Number(bavail) * Number(bsize) };
}

/** The load of the machine over the last minute: figures of a busy machine are worth little. */
export function loadAverage(): number {
  return Number(readFileSync('/proc/loadavg', 'utf8').split(' ')[0]);
}
