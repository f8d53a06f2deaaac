import { readFileSync } from 'node:fs';
import type { Config } from './schema.js';

/** What a worker has open besides connections and the files that it stores. */
const OPEN_FILES_SPARE = 256;

/**
 * Says that connections may find no file descriptor: one worker may hold all of them while the
 * others start again, and each session writes one file to each `files` sink. The limit is read of
 * this process, which the workers inherit; Node raises the soft limit to the hard one at its start.
 * @param procLimits the text of `/proc/self/limits`
 * @returns a line that says what to do, or nothing where there are enough
 */
export function openFilesWarning(
  { limits, sinks }: Pick<Config, 'limits' | 'sinks'>,
  procLimits = ownLimits(),
): string | undefined {
  const soft = /^Max open files\s+(\d+)/m.exec(procLimits)?.[1];
  const fileSinks = Object.values(sinks).filter(({ kind }) => kind === 'files').length;
  const needed = limits.maxConnections * (1 + fileSinks) + OPEN_FILES_SPARE;
  if (soft === undefined || Number(soft) >= needed) return undefined;
  return (
    `limits.maxConnections ${limits.maxConnections} may need ${needed} open files, and this process ` +
    `may have ${soft}: raise the limit (ulimit -n, or LimitNOFILE= of a systemd unit) or lower ` +
    'limits.maxConnections'
  );
}

function ownLimits(): string {
  try {
    return readFileSync('/proc/self/limits', 'latin1');
  } catch {
    return '';
  }
}
