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

/** A worker whose primary was killed ends by itself within this time. */
const ORPHAN_WAIT_MS = 8_000;
const ORPHAN_POLL_MS = 200;

/**
 * Recovers the journal of a worker that has ended, or all that were left at the last run's end:
 * files it had open are repaired, and what was received and is not on disk is counted as lost.
 * Workers of an earlier run that are still ending are waited for.
 * @throws GatewayError D4GW_E_LEDGER where a journal's process goes on running, or the ledger
 *   can't be written: the journal remains
 */
export async function recoverJournals(
  dataDir: string,
  ledger: LedgerStore,
  worker?: number,
): Promise<RecoveryReport[]> {
  if (worker !== undefined) {
    const path = journalPath(dataDir, worker);
    return [await recoverJournal(path, ledger, repairPart, { ownerEnded: true })];
  }
  const names = await readdir(join(dataDir, 'ledger'));
  const deadline = Date.now() + ORPHAN_WAIT_MS;
  const reports: RecoveryReport[] = [];
  for (const name of names.filter((entry) => JOURNAL.test(entry))) {
    reports.push(await recoverOrphan(join(dataDir, 'ledger', name), ledger, deadline));
  }
  return reports;
}

async function recoverOrphan(
  path: string,
  ledger: LedgerStore,
  deadline: number,
): Promise<RecoveryReport> {
  for (;;) {
    try {
      return await recoverJournal(path, ledger, repairPart);
    } catch (error) {
      if (Date.now() >= deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, ORPHAN_POLL_MS));
    }
  }
}
