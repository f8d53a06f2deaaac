import { join } from 'node:path';
import type { Config } from '../config/schema.js';
import { partsOf } from '../sinks/archive/archive-sink.js';
import { hasAccount, inFlightOf, readAccount } from '../spool/account.js';
import { add, NOTHING } from './amounts.js';
import type { Amount } from './totals.js';

/** What became of the frames that an archive was given, over all its workers. */
export interface ArchiveReport {
  sink: string;
  /** Still there. */
  kept: Amount;
  /** Made way for newer ones when `keepBytes` were full: no loss. */
  expired: Amount;
  /** Damaged or unreadable, by reason. */
  dropped: Record<string, Amount>;
}

const DROPPED = 'dropped/';
const EXPIRED = 'expired';

/**
 * Reads the accounts of all archives of a configuration.
 * @throws GatewayError D4GW_E_SPOOL where one can't be read
 */
export async function readArchives(
  { sinks }: Pick<Config, 'sinks'>,
  sensor?: string,
): Promise<ArchiveReport[]> {
  const reports: ArchiveReport[] = [];
  for (const [sink, config] of Object.entries(sinks)) {
    if (config.kind !== 'archive') continue;
    const report = { sink, kept: { ...NOTHING }, expired: { ...NOTHING }, dropped: {} };
    for (const part of await partsOf(config.dir)) {
      await addPart(report, join(config.dir, String(part)), sensor);
    }
    reports.push(report);
  }
  return reports;
}

async function addPart(report: ArchiveReport, dir: string, sensor?: string): Promise<void> {
  if (!hasAccount(dir)) return;
  for (const { sensor: own, amounts } of (await readAccount(dir)).streams) {
    if (sensor !== undefined && own !== sensor) continue;
    add(report.kept, inFlightOf(amounts));
    for (const [name, amount] of Object.entries(amounts)) {
      if (!name.startsWith(DROPPED)) continue;
      const reason = name.slice(DROPPED.length);
      if (reason === EXPIRED) add(report.expired, amount);
      else {
        report.dropped[reason] ??= { ...NOTHING };
        add(report.dropped[reason], amount);
      }
    }
  }
}

/** A line for each archive; nothing without any. */
export function renderArchives(reports: readonly ArchiveReport[]): string {
  if (reports.length === 0) return '';
  const lines = reports.map(({ sink, kept, expired, dropped }) => {
    const figures = Object.entries({ kept, expired, ...dropped }).map(
      ([name, { frames, bytes }]) => `${name} ${frames} frames (${bytes} bytes)`,
    );
    return `archive ${sink}: ${figures.join(', ')}`;
  });
  return `\n${lines.join('\n')}\n`;
}
