import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type RecoveryReport, recoverJournal } from '../ledger/recover.js';
import type { LedgerStore } from '../ledger/store.js';
import { repairPart } from '../sinks/files/repair.js';

const JOURNAL = /^worker-\d+\.journal$/;

/** Where a worker's journal is. */
export function journalPath(dataDir: string, worker: number): string {
  return join(dataDir, 'ledger', `worker-${worker}.journal`);
}

/**
 * Recovers the journal of a worker that has ended, or all that were left at the last run's end:
 * files it had open are repaired, and what was received and is not on disk is counted as lost.
 * @throws GatewayError D4GW_E_LEDGER where a journal's process still runs, or the ledger can't be
 *   written: the journal remains
 */
export async function recoverJournals(
  dataDir: string,
  ledger: LedgerStore,
  worker?: number,
): Promise<RecoveryReport[]> {
  const ownerEnded = worker !== undefined;
  const paths =
    worker === undefined
      ? (await readdir(join(dataDir, 'ledger')))
          .filter((name) => JOURNAL.test(name))
          .map((name) => join(dataDir, 'ledger', name))
      : [journalPath(dataDir, worker)];
  const reports: RecoveryReport[] = [];
  for (const path of paths) {
    reports.push(await recoverJournal(path, ledger, repairPart, { ownerEnded }));
  }
  return reports;
}
