import { closeSync, openSync, writeSync } from 'node:fs';
import { rename, rm, stat } from 'node:fs/promises';
import { GatewayError, messageOf } from '../errors.js';
import { rest, sum } from './amounts.js';
import { isMetaPart } from './file-row.js';
import { deliveredInto, heldBy } from './held.js';
import { FILE_MARK, fileRowAt, type JournalHeader, Mark } from './journal-layout.js';
import {
  encodeMark,
  type FileImage,
  type JournalSnapshot,
  readJournal,
  type SessionImage,
} from './journal-reader.js';
import { bootId, isRunning } from './process.js';
import type { LedgerStore } from './store.js';
import type { Amount, SessionTotals } from './totals.js';

/** How long one file may take to be repaired; it is then left as it is. */
const REPAIR_TIMEOUT_MS = 120_000;
const REPAIRS_AT_ONCE = 4;
const PART_SUFFIX = '.part';
/** How a session ended that its process did not see the end of. */
export const PROCESS_DIED = 'process-died';

/** What recovery needs to know of a repaired file. */
export interface PartRepair {
  /** Where the file stands now; undefined when nothing of it was worth keeping. */
  path?: string | undefined;
  /** Bytes that it holds, before compression, with those repeated from an earlier file. */
  payloadBytes: number;
}

/**
 * Cuts a `.part` file to its last whole record and gives it its final name. Where that was done
 * already it measures the finished file.
 */
export type RepairPart = (partPath: string) => Promise<PartRepair>;

export interface RecoveryOptions {
  /** The process that wrote the journal is known to have ended. Default: looked up by its pid. */
  ownerEnded?: boolean;
  /** Default 120 s for each file. */
  repairTimeoutMs?: number;
  /** Default 4. */
  repairsAtOnce?: number;
}

export interface RecoveryReport {
  /** Name of the worker; empty where there was no journal. */
  worker: string;
  /** The process had not closed its journal. */
  died: boolean;
  /** The machine went down too: what it had not yet written to the disk is gone. */
  machineRestarted: boolean;
  /** Sessions added to the ledger. */
  sessions: number;
  /** Lost to at least one sink. */
  lostFrames: number;
  lostBytes: number;
  repaired: { from: string; to: string | undefined }[];
  errors: string[];
}

/**
 * Settles the journal of a process that has ended: repairs the files it had open, adds its sessions
 * to the ledger with what was lost, and removes the journal. It may itself be cut short at any
 * point and run again: what was done to a file is marked in its row, and a session is added once.
 *
 * @param path the journal; one that is missing was closed in order
 * @throws GatewayError D4GW_E_LEDGER where its process still runs, or the ledger took nothing: the
 *   journal then remains
 */
export async function recoverJournal(
  path: string,
  store: LedgerStore,
  repair: RepairPart,
  options: RecoveryOptions = {},
): Promise<RecoveryReport> {
  const report: RecoveryReport = {
    worker: '',
    died: false,
    machineRestarted: false,
    sessions: 0,
    lostFrames: 0,
    lostBytes: 0,
    repaired: [],
    errors: [],
  };
  const snapshot = await readLeft(path, report);
  if (!snapshot) return report;
  const { header } = snapshot;
  if (!options.ownerEnded && isRunning(header)) {
    throw new GatewayError(
      'D4GW_E_LEDGER',
      `process ${header.pid} still writes ${path}: end it first`,
    );
  }
  report.worker = header.worker;
  report.died = !snapshot.closed;
  report.machineRestarted = header.bootId !== bootId();
  if (snapshot.damaged > 0) {
    report.errors.push(
      `${path}: damaged rows: ${snapshot.damaged}, whose sessions are not counted`,
    );
  }
  const held = await settleFiles(path, snapshot, repair, options, report);
  await foldSessions(snapshot, held, store, report);
  await rm(path, { force: true });
  return report;
}

/** Reads the journal; puts one aside that is none. */
async function readLeft(
  path: string,
  report: RecoveryReport,
): Promise<JournalSnapshot | undefined> {
  let snapshot: JournalSnapshot | undefined;
  try {
    snapshot = readJournal(path);
    if (snapshot) return snapshot;
    const { size } = await stat(path);
    if (size === 0) await rm(path, { force: true });
    else {
      await rename(path, `${path}.damaged`);
      report.errors.push(`${path} is no journal: kept as ${path}.damaged, its sessions uncounted`);
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new GatewayError('D4GW_E_LEDGER', `cannot read the journal: ${messageOf(error)}`, {
      cause: error,
    });
  }
  return undefined;
}

/** Files by session and sink, with what each holds. */
type Held = Map<string, { file: FileImage; amount: Amount }[]>;

const heldKey = (sessionId: string, sink: string) => `${sessionId}\n${sink}`;

async function settleFiles(
  path: string,
  snapshot: JournalSnapshot,
  repair: RepairPart,
  options: RecoveryOptions,
  report: RecoveryReport,
): Promise<Held> {
  const held: Held = new Map();
  const fd = openSync(path, 'r+');
  const files = snapshot.files.values();
  const settleNext = async (): Promise<void> => {
    for (const file of files) {
      const settling = new Settling(fd, snapshot.header, file, report);
      const amount = await settling.run(repair, options.repairTimeoutMs ?? REPAIR_TIMEOUT_MS);
      const key = heldKey(file.sessionId, file.sink);
      held.set(key, [...(held.get(key) ?? []), { file, amount }]);
    }
  };
  try {
    // The iterator is shared: each takes the next file.
    const length = options.repairsAtOnce ?? REPAIRS_AT_ONCE;
    await Promise.all(Array.from({ length }, settleNext));
  } finally {
    closeSync(fd);
  }
  return held;
}

/** Finds out what one file holds, and finishes it. */
class Settling {
  readonly #fd: number;
  readonly #header: JournalHeader;
  readonly #file: FileImage;
  readonly #report: RecoveryReport;

  constructor(fd: number, header: JournalHeader, file: FileImage, report: RecoveryReport) {
    this.#fd = fd;
    this.#header = header;
    this.#file = file;
    this.#report = report;
  }

  async run(repair: RepairPart, timeoutMs: number): Promise<Amount> {
    const file = this.#file;
    const { mark } = file;
    if (mark.state === Mark.DONE) return { frames: mark.frames, bytes: mark.bytes };
    try {
      if (isMetaPart(file.path)) return await this.#settleMeta(repair, timeoutMs);
      const size = await sizeOf(file.path);
      if (size === undefined) return await this.#withoutPart(repair, timeoutMs);
      // A recovery that was cut short may have cut the file already.
      const before = mark.state === Mark.BEGUN ? mark.size : size;
      return await this.#repair(before, repair, timeoutMs);
    } catch (error) {
      this.#report.errors.push(`${file.path}: ${messageOf(error)}`);
      // The write before the last was done.
      return heldBy(file, file.intents[1]?.fileBytes ?? 0, undefined);
    }
  }

  /** A meta header is stored whole under its name, or not at all. */
  async #settleMeta(repair: RepairPart, timeoutMs: number): Promise<Amount> {
    const { path, meta } = this.#file;
    if ((await sizeOf(path)) !== undefined) await within(timeoutMs, repair(path));
    else if ((await sizeOf(path.slice(0, -PART_SUFFIX.length))) !== undefined) return { ...meta };
    return { frames: 0, bytes: 0 };
  }

  async #repair(size: number, repair: RepairPart, timeoutMs: number): Promise<Amount> {
    const file = this.#file;
    this.#mark(Mark.BEGUN, size, { frames: 0, bytes: 0 });
    try {
      const { path, payloadBytes } = await within(timeoutMs, repair(file.path));
      const amount = heldBy(file, size, payloadBytes);
      this.#mark(Mark.DONE, size, amount);
      this.#report.repaired.push({ from: file.path, to: path });
      return amount;
    } catch (error) {
      this.#report.errors.push(`${file.path} could not be repaired: ${messageOf(error)}`);
      // It is there all the same, with what was written to it.
      return heldBy(file, size, file.compressed ? undefined : size);
    }
  }

  /** The process ended between the last steps of finishing the file, or a recovery did. */
  async #withoutPart(repair: RepairPart, timeoutMs: number): Promise<Amount> {
    const file = this.#file;
    const finished = await sizeOf(file.path.slice(0, -PART_SUFFIX.length));
    if (file.mark.state === Mark.BEGUN) {
      // Repaired, but not marked so: now it is only measured. Not found, it has another name.
      const { path, payloadBytes } = await within(timeoutMs, repair(file.path));
      return heldBy(file, file.mark.size, path === undefined ? undefined : payloadBytes);
    }
    if (finished !== undefined) return heldBy(file, Number.POSITIVE_INFINITY, undefined);
    const announced = file.intents[0];
    if (announced && announced.fileBytes > 0 && announced.bytes > file.bytesBefore) {
      this.#report.errors.push(`${file.path} is gone: what it held counts as lost`);
    }
    return { frames: 0, bytes: 0 };
  }

  #mark(state: number, size: number, amount: Amount): void {
    const image = encodeMark({ state, size, ...amount });
    writeSync(
      this.#fd,
      image,
      0,
      image.length,
      fileRowAt(this.#header, this.#file.index) + FILE_MARK,
    );
  }
}

async function foldSessions(
  snapshot: JournalSnapshot,
  held: Held,
  store: LedgerStore,
  report: RecoveryReport,
): Promise<void> {
  const totals: SessionTotals[] = [];
  const { folded } = store.read(snapshot.sessions.map(({ totals: { id } }) => id));
  for (const session of snapshot.sessions) {
    const settled = session.ended ? session.totals : settle(session, held);
    // What an earlier, unfinished recovery has added is lost all the same.
    const lost = Object.values(settled.lost);
    report.lostFrames += Math.max(0, ...lost.map(({ frames }) => frames));
    report.lostBytes += Math.max(0, ...lost.map(({ bytes }) => bytes));
    if (!folded.has(settled.id)) totals.push(settled);
  }
  report.sessions = totals.length;
  const event = {
    id: snapshot.header.id,
    at: Date.now(),
    worker: snapshot.header.worker,
    sessions: snapshot.sessions.filter(({ ended }) => !ended).length,
    lost: { frames: report.lostFrames, bytes: report.lostBytes },
  };
  await store.fold(totals, report.died ? event : undefined);
}

/** What a session came to that its process did not see the end of. */
function settle({ totals }: SessionImage, held: Held): SessionTotals {
  const settled = structuredClone(totals);
  settled.endedAt = Date.now();
  settled.end = PROCESS_DIED;
  const rejected = sum(Object.values(settled.rejected));
  for (const [sink, delivered] of Object.entries(settled.delivered)) {
    const files = held.get(heldKey(totals.id, sink));
    if (files) settled.delivered[sink] = deliveredInto(files, delivered);
    const { frames, bytes } = settled.delivered[sink] ?? delivered;
    settled.received.frames = Math.max(settled.received.frames, frames + rejected.frames);
    settled.received.bytes = Math.max(settled.received.bytes, bytes + rejected.bytes);
  }
  for (const [sink, delivered] of Object.entries(settled.delivered)) {
    settled.lost[sink] = rest(settled.received, delivered, rejected);
  }
  return settled;
}

async function sizeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function within<T>(timeoutMs: number, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new Error(`it took over ${timeoutMs} ms`));
    }, timeoutMs).unref();
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
