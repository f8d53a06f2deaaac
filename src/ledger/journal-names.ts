import { randomUUID } from 'node:crypto';
import { readdirSync, renameSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { readHeader } from './journal-reader.js';

/**
 * A worker's journal is `worker-N.journal`. That of a process that has ended is put aside as
 * `worker-N.<id>.journal` until it is settled, so that the worker can be started again at once.
 */
const JOURNAL = /^worker-(\d+)(\.[0-9a-f-]{36})?\.journal$/;
const ID = /^[0-9a-f-]{36}$/;

/** Where a worker's journal is. */
export function journalPath(dataDir: string, worker: number): string {
  return join(dataDir, 'ledger', `worker-${worker}.journal`);
}

/** The journals of a data directory, in use or put aside, by path. */
export function listJournals(dataDir: string): string[] {
  const directory = join(dataDir, 'ledger');
  try {
    return readdirSync(directory)
      .filter((name) => JOURNAL.test(name))
      .sort()
      .map((name) => join(directory, name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** Whether a journal was put aside: its process has ended. */
export function isAside(path: string): boolean {
  return JOURNAL.exec(basename(path))?.[2] !== undefined;
}

/**
 * Puts the journal of a process that has ended aside, where it is not yet.
 * @returns its path then; undefined where there is none
 * @throws where it cannot be renamed
 */
export function putAside(path: string): string | undefined {
  if (isAside(path)) return path;
  const worker = JOURNAL.exec(basename(path))?.[1];
  if (worker === undefined) throw new RangeError(`no worker's journal: ${path}`);
  try {
    // One that is damaged is put aside all the same: recovery says what it is.
    const id = readHeader(path)?.id ?? '';
    const name = `worker-${worker}.${ID.test(id) ? id : randomUUID()}.journal`;
    const aside = join(dirname(path), name);
    renameSync(path, aside);
    return aside;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
