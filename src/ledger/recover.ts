import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs';
import { rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { GatewayError, messageOf } from '../errors.js';
import type { LinkStore } from '../link/store.js';
import type { CarriedPart } from '../sinks/sink.js';
import { rest, sum } from './amounts.js';
import { isMetaPart } from './file-row.js';
import { deliveredInto, heldBy } from './held.js';
import {
  FILE_MARK,
  FREE_ROW,
  fileRowAt,
  type JournalHeader,
  Mark,
  ROW_KIND,
  sessionRowAt,
} from './journal-layout.js';
import { putAside } from './journal-names.js';
import {
  encodeMark,
  type FileImage,
  type JournalSnapshot,
  readJournal,
  type SessionImage,
} from './journal-reader.js';
import { bootId, isRunning } from './process.js';
import { LinkRecovery } from './recover-links.js';
import type { LedgerStore } from './store.js';
import type { Amount, SessionTotals } from './totals.js';

/** How long one file may take to be repaired; it is then given up until the next start. */
const REPAIR_TIMEOUT_MS = 120_000;
/** How long a repair that was given up is waited for: at most one file operation. */
const GIVEN_UP_WAIT_MS = 5_000;
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
 * already it measures the finished file. A GatewayError says that the file is none to repair, now
 * or ever; any other may be gone the next time. Once the signal is aborted it changes nothing more.
 */
export type RepairPart = (
  partPath: string,
  signal: AbortSignal,
  keep?: KeepEnd,
) => Promise<PartRepair>;

/**
 * Given the end of a file whose stream goes on in another, before it is cut off.
 * @param contentBytes of the file before compression, the end included
 */
export type KeepEnd = (end: CarriedPart, contentBytes: number) => Promise<void>;

/**
 * What a sink with a store of its own holds of sessions that its process did not see the end of, by
 * id; of one that is missing nothing is known. Undefined for a sink without such a store.
 */
export type Holds = (
  sink: string,
  sessionIds: readonly string[],
) => Promise<ReadonlyMap<string, Amount>> | undefined;

export interface RecoveryOptions {
  /** Default: no sink has a store of its own. */
  holds?: Holds;
  /** The process that wrote the journal is known to have ended. Default: looked up by its pid. */
  ownerEnded?: boolean;
  /** Default 120 s for each file. */
  repairTimeoutMs?: number;
  /** Default 4. */
  repairsAtOnce?: number;
  /** Settles what can't be repaired too, with what was written to it. Default false. */
  giveUp?: boolean;
  /** What is held of the sessions of gateway links. */
  links?: LinkStore;
  /** Gives the recovery up before it adds anything to the ledger: it rejects with the reason. */
  signal?: AbortSignal;
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
  /** Files that could not be settled. */
  unsettledFiles: number;
  /** Where the journal is kept for them and their sessions. */
  kept: string | undefined;
  errors: string[];
}

/**
 * Settles the journal of a process that has ended: repairs the files it had open, adds its sessions
 * to the ledger with what was lost, and removes the journal. It may itself be cut short at any
 * point and run again: what was done to a file is marked in its row, and a session is added once.
 *
 * A file that cannot be repaired now (its volume is away or full) remains unsettled: its row and
 * its session's are left in the journal, which is kept aside to be recovered again.
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
    unsettledFiles: 0,
    kept: undefined,
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
  const files = await settleFiles(path, snapshot, repair, options, report);
  options.signal?.throwIfAborted();
  const open = new Set(files.unsettled.map(({ sessionId }) => sessionId));
  // The totals of one that ended are final, whatever becomes of a file that it left.
  const settled = snapshot.sessions.filter(({ ended, totals }) => ended || !open.has(totals.id));
  const { holds, links } = options;
  const kept = await keptBySinks(settled, holds);
  const found = { ...files, kept };
  await foldSessions({ ...snapshot, sessions: settled }, found, store, report, links);
  if (links) await new LinkRecovery(links).forget(header, open);
  report.unsettledFiles = files.unsettled.length;
  if (files.unsettled.length === 0) {
    await rm(path, { force: true });
  } else {
    freeSettled(path, snapshot, settled, files.unsettled);
    report.kept = putAside(path);
  }
  return report;
}

/** Leaves in the journal the files that are unsettled, and all of the sessions that wait for them. */
function freeSettled(
  path: string,
  { header, sessions, files }: JournalSnapshot,
  settled: readonly SessionImage[],
  unsettled: readonly FileImage[],
): void {
  const gone = new Set(settled);
  const left = new Set(unsettled);
  const waiting = new Set(
    sessions.filter((session) => !gone.has(session)).map(({ totals }) => totals.id),
  );
  const rows = files
    .filter((file) => !left.has(file) && !waiting.has(file.sessionId))
    .map(({ index }) => fileRowAt(header, index));
  // Sessions last: a file without its session counts for nothing.
  rows.push(...settled.map(({ index }) => sessionRowAt(index)));
  const fd = openSync(path, 'r+');
  try {
    for (const at of rows) writeSync(fd, FREE_ROW, 0, FREE_ROW.length, at + ROW_KIND);
    fdatasyncSync(fd);
  } finally {
    closeSync(fd);
  }
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

interface SettledFiles {
  held: Held;
  unsettled: FileImage[];
}

async function settleFiles(
  path: string,
  snapshot: JournalSnapshot,
  repair: RepairPart,
  options: RecoveryOptions,
  report: RecoveryReport,
): Promise<SettledFiles> {
  const held: Held = new Map();
  const unsettled: FileImage[] = [];
  const fd = openSync(path, 'r+');
  const files = snapshot.files.values();
  const settleNext = async (): Promise<void> => {
    for (const file of files) {
      if (options.signal?.aborted) return;
      const amount = await new Settling(fd, snapshot.header, file, report, repair, options).run();
      if (amount === undefined) {
        unsettled.push(file);
        continue;
      }
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
  return { held, unsettled };
}

/** Finds out what one file holds, and finishes it. */
class Settling {
  readonly #fd: number;
  readonly #header: JournalHeader;
  readonly #file: FileImage;
  readonly #report: RecoveryReport;
  readonly #repairPart: RepairPart;
  readonly #options: RecoveryOptions;
  /** Of the `.part` file, before it was repaired; undefined where there is none. */
  #size: number | undefined;

  constructor(
    fd: number,
    header: JournalHeader,
    file: FileImage,
    report: RecoveryReport,
    repair: RepairPart,
    options: RecoveryOptions,
  ) {
    this.#fd = fd;
    this.#header = header;
    this.#file = file;
    this.#report = report;
    this.#repairPart = repair;
    this.#options = options;
  }

  /** What the file holds; undefined where it could not be settled. Never throws. */
  async run(): Promise<Amount | undefined> {
    const { mark, path } = this.#file;
    if (mark.state === Mark.DONE) return { frames: mark.frames, bytes: mark.bytes };
    try {
      const amount = await this.#settle();
      this.#mark(Mark.DONE, this.#size ?? mark.size, amount);
      return amount;
    } catch (error) {
      this.#report.errors.push(`${path} could not be repaired: ${messageOf(error)}`);
      const isFinal = this.#options.giveUp || error instanceof GatewayError;
      return isFinal ? this.#asWritten() : undefined;
    }
  }

  async #settle(): Promise<Amount> {
    const { path, mark } = this.#file;
    const size = await sizeOf(path);
    // A directory is made before a file in it is journaled.
    if (
      size === undefined &&
      !this.#options.giveUp &&
      (await sizeOf(dirname(path))) === undefined
    ) {
      throw new Error(
        'its directory is missing: mount its volume, or make the directory to count it as lost',
      );
    }
    if (isMetaPart(path)) return await this.#settleMeta(size);
    if (size === undefined) return await this.#withoutPart();
    // A recovery that was cut short may have cut the file already.
    this.#size = mark.state === Mark.BEGUN ? mark.size : size;
    return await this.#repair(this.#size);
  }

  /** It is there all the same, with what was written to it: the write before the last was done. */
  #asWritten(): Amount {
    const file = this.#file;
    if (this.#size === undefined) return heldBy(file, file.intents[1]?.fileBytes ?? 0, undefined);
    return heldBy(file, this.#size, file.compressed ? undefined : this.#size);
  }

  /** A meta header is stored whole under its name, or not at all. */
  async #settleMeta(size: number | undefined): Promise<Amount> {
    const { path, meta } = this.#file;
    if (size !== undefined) await this.#bounded(path);
    else if ((await sizeOf(path.slice(0, -PART_SUFFIX.length))) !== undefined) return { ...meta };
    return { frames: 0, bytes: 0 };
  }

  async #repair(size: number): Promise<Amount> {
    const file = this.#file;
    this.#mark(Mark.BEGUN, size, { frames: 0, bytes: 0 });
    const { path, payloadBytes } = await this.#bounded(file.path, this.#keeper(size));
    this.#report.repaired.push({ from: file.path, to: path });
    return this.#holds(size, payloadBytes);
  }

  /** With the end of a link's file that was cut off and is kept. */
  #holds(size: number, payloadBytes: number | undefined): Amount {
    const { links } = this.#options;
    const kept = links ? new LinkRecovery(links).keptBytes(this.#file) : 0;
    const isWhole = payloadBytes === undefined;
    return heldBy(this.#file, size, isWhole ? undefined : payloadBytes + kept);
  }

  /** Of a link's file: keeps its end. */
  #keeper(size: number): KeepEnd | undefined {
    const { links } = this.#options;
    const linked = links && new LinkRecovery(links);
    if (!linked?.isLinked(this.#file)) return undefined;
    return (end, contentBytes) => {
      const { bytes } = heldBy(this.#file, size, contentBytes);
      return linked.keep(this.#file, this.#file.bytesBefore + bytes, end);
    };
  }

  /** The process ended between the last steps of finishing the file, or a recovery did. */
  async #withoutPart(): Promise<Amount> {
    const file = this.#file;
    const finished = await sizeOf(file.path.slice(0, -PART_SUFFIX.length));
    if (file.mark.state === Mark.BEGUN) {
      // Repaired, but not marked so: now it is only measured. Not found, it has another name.
      const { path, payloadBytes } = await this.#bounded(file.path);
      return this.#holds(file.mark.size, path === undefined ? undefined : payloadBytes);
    }
    if (finished !== undefined) return heldBy(file, Number.POSITIVE_INFINITY, undefined);
    const announced = file.intents[0];
    if (announced && announced.fileBytes > 0 && announced.bytes > file.bytesBefore) {
      this.#report.errors.push(`${file.path} is gone: what it held counts as lost`);
    }
    return { frames: 0, bytes: 0 };
  }

  #bounded(path: string, keep?: KeepEnd): Promise<PartRepair> {
    const { repairTimeoutMs = REPAIR_TIMEOUT_MS, signal } = this.#options;
    return within(repairTimeoutMs, signal, (own) => this.#repairPart(path, own, keep));
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

/** What sinks with stores of their own hold of the sessions without an end, by sink and session. */
type Kept = ReadonlyMap<string, ReadonlyMap<string, Amount>>;

async function keptBySinks(
  sessions: readonly SessionImage[],
  holds: Holds | undefined,
): Promise<Kept> {
  const ids = new Map<string, string[]>();
  for (const { ended, totals } of sessions) {
    if (ended) continue;
    for (const sink of Object.keys(totals.delivered)) {
      ids.set(sink, [...(ids.get(sink) ?? []), totals.id]);
    }
  }
  const kept = new Map<string, ReadonlyMap<string, Amount>>();
  for (const [sink, sessionIds] of ids) {
    const held = await holds?.(sink, sessionIds);
    if (held) kept.set(sink, held);
  }
  return kept;
}

async function foldSessions(
  snapshot: JournalSnapshot,
  found: { held: Held; kept: Kept },
  store: LedgerStore,
  report: RecoveryReport,
  links: LinkStore | undefined,
): Promise<void> {
  const totals: SessionTotals[] = [];
  const { id } = snapshot.header;
  const { folded, recoveries } = store.read(snapshot.sessions.map(({ totals }) => totals.id));
  // What an earlier, unfinished recovery has added is lost all the same, unless it is recorded.
  const isRecorded = recoveries.some((event) => event.id === id);
  const told = snapshot.sessions.filter(({ totals }) => !isRecorded || !folded.has(totals.id));
  const linked = links && new LinkRecovery(links);
  for (const session of told) {
    const seen = session.ended ? session.totals : settle(session, found);
    const settled = (await linked?.settle(session, seen)) ?? seen;
    const lost = Object.values(settled.lost);
    report.lostFrames += Math.max(0, ...lost.map(({ frames }) => frames));
    report.lostBytes += Math.max(0, ...lost.map(({ bytes }) => bytes));
    if (!folded.has(settled.id)) totals.push(settled);
  }
  report.sessions = totals.length;
  const event = {
    id,
    at: Date.now(),
    worker: snapshot.header.worker,
    sessions: told.filter(({ ended }) => !ended).length,
    lost: { frames: report.lostFrames, bytes: report.lostBytes },
  };
  await store.fold(totals, report.died ? event : undefined);
}

/** What a session came to that its process did not see the end of. */
function settle(
  { totals }: SessionImage,
  { held, kept }: { held: Held; kept: Kept },
): SessionTotals {
  const settled = structuredClone(totals);
  settled.endedAt = Date.now();
  settled.end = PROCESS_DIED;
  const rejected = sum(Object.values(settled.rejected));
  for (const [sink, delivered] of Object.entries(settled.delivered)) {
    const files = held.get(heldKey(totals.id, sink));
    const store = kept.get(sink);
    if (store) settled.delivered[sink] = { ...(store.get(totals.id) ?? delivered) };
    else if (files) settled.delivered[sink] = deliveredInto(files, delivered);
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

/**
 * Has `work` end within a time, and by a signal: it is then told to, and waited for for a moment, so
 * that nothing goes on behind the back of a later recovery.
 */
async function within<T>(
  timeoutMs: number,
  signal: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const own = new AbortController();
  const running = work(own.signal);
  let timer: NodeJS.Timeout | undefined;
  let stop: (() => void) | undefined;
  const givenUp = new Promise<Error>((resolve) => {
    timer = setTimeout(() => resolve(new Error(`it took over ${timeoutMs} ms`)), timeoutMs).unref();
    stop = () => resolve(new Error('it was given up'));
    signal?.addEventListener('abort', stop);
    if (signal?.aborted) stop();
  });
  const ended = running.then(
    () => undefined,
    () => undefined,
  );
  try {
    const error = await Promise.race([ended, givenUp]);
    if (error === undefined) return await running;
    own.abort(error);
    clearTimeout(timer);
    const patience = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, GIVEN_UP_WAIT_MS).unref();
    });
    await Promise.race([ended, patience]);
    throw error;
  } finally {
    clearTimeout(timer);
    if (stop) signal?.removeEventListener('abort', stop);
  }
}
