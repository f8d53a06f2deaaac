import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { GatewayError, messageOf } from '../errors.js';
import { hasCode } from '../sinks/files/directories.js';
import { hasAccount, inFlightOf, readAccount, type StreamAmounts } from '../spool/account.js';
import { type DiskBlock, diskBlocks, type ReadSessions } from '../spool/disk-blocks.js';
import { type Damage, noDamage } from '../spool/records.js';
import { NewerFormatError } from '../spool/scan.js';
import { segmentPath } from '../spool/segment.js';
import { FileSource } from '../spool/segment-reader.js';
import type { Amount } from '../spool/session-record.js';
import { readIndex, segmentsOf } from '../spool/spool-recovery.js';
import { StreamTotals } from '../spool/stream-totals.js';
import type { StreamSummary } from '../spool/types.js';

const PART_NAME = /^\d+$/;

export interface StreamReport extends StreamSummary {
  /** What the account says became of the stream; of a spool alone. */
  account?: StreamAmounts;
  inFlight?: Amount;
}

/** One spool, or one worker's part of an archive. */
export interface PartReport {
  dir: string;
  segments: number;
  bytes: number;
  firstSeq: number | null;
  lastSeq: number | null;
  /** All up to it is done with; null without an account. */
  cursor: number | null;
  sessions: { all: number; withoutEnd: number };
  streams: StreamReport[];
  damage: Damage;
  /** The newest segment grows, or was left unfinished: its end may be cut. */
  isUnfinished: boolean;
  faults: { segment: string; text: string }[];
}

/** The directories below `dir` that hold segments or an account, itself included. */
export async function spoolParts(dir: string): Promise<string[]> {
  let names: string[];
  try {
    names = await readdir(dir);
  } catch (error) {
    throw new GatewayError('D4GW_E_SPOOL', messageOf(error), { cause: error });
  }
  const below = names.filter((name) => PART_NAME.test(name)).map((name) => join(dir, name));
  const parts: string[] = [];
  for (const part of [dir, ...below]) {
    if (hasAccount(part) || (await segmentsOf(part)).length > 0) parts.push(part);
  }
  if (parts.length > 0) return parts.sort();
  const message = `${dir} is no spool or archive: give the directory of one, or of one of its workers`;
  throw new GatewayError('D4GW_E_SPOOL', message);
}

/** Reads all of a part; it may be in use meanwhile. */
export async function reportPart(
  dir: string,
  take: (block: DiskBlock, sessions: ReadSessions) => Promise<void> = async () => {},
): Promise<PartReport> {
  const account = hasAccount(dir) ? await readAccount(dir) : undefined;
  const totals = new StreamTotals();
  const sessions = new Map<string, boolean>();
  const report: PartReport = {
    dir,
    segments: 0,
    bytes: 0,
    firstSeq: null,
    lastSeq: null,
    cursor: account?.cursor ?? null,
    sessions: { all: 0, withoutEnd: 0 },
    streams: [],
    damage: noDamage(),
    isUnfinished: false,
    faults: [],
  };
  const found = await segmentsOf(dir);
  for (const firstSeq of found) {
    const isLast = firstSeq === found.at(-1);
    await addSegment(report, firstSeq, isLast, async (block, known) => {
      for (const span of block.sessions) {
        totals.addSpan(span);
        sessions.set(span.session.id, known.get(span.ref)?.isEnded ?? false);
      }
      report.firstSeq ??= block.firstSeq;
      report.lastSeq = block.lastSeq;
      await take(block, known);
    });
  }
  report.sessions.all = sessions.size;
  report.sessions.withoutEnd = [...sessions.values()].filter((isEnded) => !isEnded).length;
  report.streams = withAccount(totals.list(), account?.streams ?? []);
  return report;
}

async function addSegment(
  report: PartReport,
  firstSeq: number,
  isLast: boolean,
  take: (block: DiskBlock, sessions: ReadSessions) => Promise<void>,
): Promise<void> {
  const path = segmentPath(report.dir, firstSeq);
  const damage = noDamage();
  const isSealed = (await readIndex(path)) !== undefined;
  report.segments += 1;
  try {
    const handle = await open(path, 'r');
    try {
      const { size } = await handle.stat();
      report.bytes += size;
      const sessions: ReadSessions = new Map();
      const source = new FileSource(handle, size);
      for await (const block of diskBlocks(source, path, sessions, damage, 0, firstSeq)) {
        await take(block, sessions);
      }
    } finally {
      await handle.close();
    }
  } catch (error) {
    // Released meanwhile.
    if (hasCode(error, 'ENOENT')) return;
    if (!(error instanceof NewerFormatError) && !('syscall' in (error as Error))) throw error;
    report.faults.push({ segment: path, text: messageOf(error) });
  }
  if (isLast && !isSealed) {
    report.isUnfinished = true;
    // What is being written is no damage, nor is what a death cut off: the next start mends it.
    damage.blocks -= damage.cut?.blocks ?? 0;
    damage.records -= damage.cut?.records ?? 0;
    damage.bytes -= damage.cut?.bytes ?? 0;
  }
  const { blocks, records, bytes } = damage;
  if (blocks === 0 && records === 0 && bytes === 0) return;
  const text = `${records} records and ${bytes} bytes can't be read`;
  report.faults.push({ segment: path, text });
  report.damage.blocks += blocks;
  report.damage.records += records;
  report.damage.bytes += bytes;
}

function withAccount(
  streams: StreamSummary[],
  accounts: readonly { sensor: string; type: number; amounts: StreamAmounts }[],
): StreamReport[] {
  const nothing = { frames: 0, bytes: 0, firstTime: 0, lastTime: 0 };
  const all = new Map<string, StreamReport>(
    streams.map((stream) => [`${stream.sensor}/${stream.type}`, stream]),
  );
  for (const { sensor, type, amounts } of accounts) {
    const key = `${sensor}/${type}`;
    const stream = all.get(key) ?? { sensor, type, ...nothing };
    all.set(key, { ...stream, account: amounts, inFlight: inFlightOf(amounts) });
  }
  return [...all].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, stream]) => stream);
}
