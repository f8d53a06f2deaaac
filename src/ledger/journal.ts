import { randomUUID } from 'node:crypto';
import { closeSync, fdatasync, mkdirSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { GatewayError, messageOf } from '../errors.js';
import { syncDirectory } from '../sinks/files/directories.js';
import type { FileJournal, SinkSession } from '../sinks/sink.js';
import { NOTHING } from './amounts.js';
import { encodeFileRow, FileRow, type FileRowOwner, isMetaPart } from './file-row.js';
import {
  CLOSED_MARK,
  encodeHeader,
  FREE_ROW,
  fileRowAt,
  ID_BYTES_MAX,
  type JournalHeader,
  ROW_KIND,
  SESSION_ROW_BYTES,
  SINKS_MAX,
  sessionRowAt,
} from './journal-layout.js';
import { bootId, startTicks } from './process.js';
import { type JournalSession, type RowOwner, SessionRow } from './session-row.js';
import type { Amount } from './totals.js';

/** Files that a session may have open or closing at a time, on average over all of a worker's. */
const FILES_PER_SESSION = 4;
/** Rows of one buffer of images, and so the most that are written at once. */
const CHUNK_ROWS = 128;
/** What is written again at once, where it could not be forced. */
const AGAIN_BYTES = 1024 * 1024;
const DIRECTORY_MODE = 0o700;
const FILE_MODE = 0o600;

const forceData = promisify(fdatasync);

export interface JournalOptions {
  /** The sinks' names; their order is that of the sink indexes. At most 16; may change: `renamed`. */
  sinks: readonly string[];
  /** Session slots of the worker. */
  sessions: number;
  /** Files open at a time; default 4 for each session slot. */
  maxFiles?: number;
  /** Told once when writing begins to fail; `sync` goes on trying. */
  onFault?: (error: Error) => void;
}

/** A file as `FileJournal.open` is told of it. */
export type JournalFile = Parameters<FileJournal['open']>[0];

/**
 * What a worker knows of its sessions and open files, in a file of fixed rows (journal-layout.ts).
 * It is written with plain writes: they are in the page cache on return, so they outlive the
 * process. Session rows are written by `sync`, every LEDGER_SYNC_MS, and before anything that
 * must not be ahead of them; so a killed process leaves a row at most that old.
 */
export class LedgerJournal implements FileJournal, RowOwner, FileRowOwner {
  readonly path: string;
  readonly sinks: readonly string[];
  readonly #header: JournalHeader;
  readonly #onFault: ((error: Error) => void) | undefined;
  readonly #sessions = new Map<string, SessionRow>();
  readonly #rows: (SessionRow | undefined)[];
  readonly #chunks: (Buffer | undefined)[];
  readonly #views: (DataView | undefined)[] = [];
  readonly #dirty: Uint8Array;
  #dirtyCount = 0;
  readonly #freeFiles: number[] = [];
  #filesUsed = 0;
  /** Files whose rows could not be marked free: tried again at each sync. */
  readonly #unfreed = new Set<number>();
  #fd: number;
  #faulty = false;
  #isNameForced = false;
  /** The last attempt to force it failed. */
  #isDoubtful = false;
  #isForcing = false;
  #forcing: Promise<boolean> | undefined;
  #nextForce: Promise<boolean> | undefined;

  /**
   * Creates the journal; its directory too.
   * @throws GatewayError D4GW_E_LEDGER where it exists already (it was not recovered) or cannot be
   *   written
   */
  constructor(path: string, options: JournalOptions) {
    const { sinks, sessions, maxFiles = sessions * FILES_PER_SESSION } = options;
    if (sinks.length > SINKS_MAX) {
      throw new GatewayError(
        'D4GW_E_LEDGER',
        `${sinks.length} sinks: the ledger keeps at most ${SINKS_MAX}`,
      );
    }
    this.path = path;
    this.sinks = sinks;
    this.#onFault = options.onFault;
    this.#header = {
      id: randomUUID(),
      worker: /worker-(.+)\.journal$/.exec(path)?.[1] ?? '',
      pid: process.pid,
      startTicks: startTicks(process.pid) ?? '',
      bootId: bootId(),
      sinks,
      sessions,
      files: maxFiles,
      createdAt: Date.now(),
    };
    this.#rows = new Array(sessions);
    this.#chunks = new Array(Math.ceil(sessions / CHUNK_ROWS));
    this.#dirty = new Uint8Array(sessions);
    try {
      mkdirSync(dirname(path), { recursive: true, mode: DIRECTORY_MODE });
      this.#fd = openSync(path, 'wx+', FILE_MODE);
    } catch (error) {
      throw new GatewayError('D4GW_E_LEDGER', `cannot create the journal: ${messageOf(error)}`, {
        cause: error,
      });
    }
    try {
      this.#write(encodeHeader(this.#header), 0);
    } catch (error) {
      closeSync(this.#fd);
      rmSync(path, { force: true });
      throw error;
    }
  }

  /**
   * `sinks` has changed: to be called before a session is routed by a new name.
   * @throws GatewayError D4GW_E_LEDGER
   */
  renamed(): void {
    this.#write(encodeHeader(this.#header), 0);
  }

  /**
   * Begins a session's row.
   * @param sinks indexes of its route's sinks, where it is known already
   * @throws RangeError for an id that is too long, or a slot that is not free
   */
  openSession(session: JournalSession, sinks: readonly number[] = []): SessionRow {
    const { slot, id } = session;
    if (Buffer.byteLength(id) > ID_BYTES_MAX) throw new RangeError(`session id too long: ${id}`);
    if (this.#rows[slot] || slot < 0 || slot >= this.#header.sessions) {
      throw new RangeError(`session slot ${slot} is not free`);
    }
    const bytes = this.#chunk(slot);
    const at = (slot % CHUNK_ROWS) * SESSION_ROW_BYTES;
    const row = new SessionRow(this, session, bytes, this.#view(slot), at);
    for (const sink of sinks) row.route(1 << sink);
    this.#rows[slot] = row;
    this.#sessions.set(id, row);
    return row;
  }

  /**
   * As `FileJournal.open`.
   * @throws GatewayError D4GW_E_LEDGER where it cannot be recorded: the file must not be created
   */
  open(file: JournalFile): FileRow {
    const sink = this.sinks.indexOf(file.sink);
    const session = this.#session(file.session);
    if (sink < 0) throw new RangeError(`no sink ${file.sink} in the journal`);
    const entry = {
      sink,
      path: file.path,
      sessionId: session.id,
      framesBefore: file.framesBefore,
      bytesBefore: file.bytesBefore,
      meta: metaOf(file),
      compressed: /\.(gz|lz4)\.part$/.test(file.path),
    };
    const image = encodeFileRow(entry);
    session.route(1 << sink);
    session.announce(file.framesBefore, file.bytesBefore);
    this.writeSession(session);
    const index = this.#freeFiles.pop() ?? this.#filesUsed;
    if (index >= this.#header.files) {
      throw new GatewayError('D4GW_E_LEDGER', `${index} files are open: no more can be journaled`);
    }
    if (index === this.#filesUsed) this.#filesUsed += 1;
    try {
      this.writeFile(index, 0, image);
    } catch (error) {
      this.#free(index);
      throw error;
    }
    return new FileRow(this, index, session, entry);
  }

  /** Writes the rows that changed. False where the disk refused some: they stay to be written. */
  sync(): boolean {
    if (this.#fd < 0) return false;
    let slot = 0;
    while (this.#dirtyCount > 0 && slot < this.#dirty.length) {
      if (this.#dirty[slot] === 0) {
        slot += 1;
        continue;
      }
      const first = slot;
      const end = Math.min(first - (first % CHUNK_ROWS) + CHUNK_ROWS, this.#dirty.length);
      while (slot < end && this.#dirty[slot] !== 0) {
        this.#rows[slot]?.seal();
        slot += 1;
      }
      if (!this.#writeRows(first, slot, (slot - first) * SESSION_ROW_BYTES)) return false;
    }
    const unfreed = [...this.#unfreed];
    this.#unfreed.clear();
    for (const index of unfreed) this.#free(index);
    return this.#unfreed.size === 0;
  }

  /**
   * As `sync`, and on the disk, under its name: after a power failure it says what it said. Who asks
   * while it is being forced waits for the next time, which is one for all.
   */
  force(): Promise<boolean> {
    this.#nextForce ??= (this.#forcing ?? Promise.resolve()).then(() => {
      this.#nextForce = undefined;
      const forced = this.#force();
      this.#forcing = forced.finally(() => {
        this.#forcing = undefined;
      });
      return forced;
    });
    return this.#nextForce;
  }

  async #force(): Promise<boolean> {
    if (!this.sync()) return false;
    const fd = this.#fd;
    this.#isForcing = true;
    try {
      if (this.#isDoubtful) this.#writeAgain();
      this.#isDoubtful = true;
      await forceData(fd);
      this.#isDoubtful = false;
      if (!this.#isNameForced) {
        const directory = dirname(this.path);
        await syncDirectory(directory);
        await syncDirectory(dirname(directory));
        this.#isNameForced = true;
      }
      return true;
    } catch (error) {
      this.#onFault?.(error as Error);
      return false;
    } finally {
      this.#isForcing = false;
      if (this.#fd < 0) closeSync(fd);
    }
  }

  /** What could not be forced the kernel takes for written: it would never come to the disk. */
  #writeAgain(): void {
    const buffer = Buffer.alloc(AGAIN_BYTES);
    for (let at = 0; ; ) {
      const bytes = readSync(this.#fd, buffer, 0, buffer.length, at);
      if (bytes === 0) return;
      this.#write(buffer, at, 0, bytes);
      at += bytes;
    }
  }

  /**
   * Writes what is left and closes the file. It is removed when no session's totals and no file
   * remain in it; otherwise the next start recovers it.
   */
  close(): void {
    if (this.#fd < 0) return;
    const written = this.sync();
    if (written) this.#try(CLOSED_MARK.bytes, CLOSED_MARK.at);
    const filesLeft = this.#filesUsed - this.#freeFiles.length;
    if (!this.#isForcing) closeSync(this.#fd);
    this.#fd = -1;
    if (this.#sessions.size === 0 && filesLeft === 0) rmSync(this.path, { force: true });
  }

  changed(slot: number): void {
    if (this.#dirty[slot] !== 0) return;
    this.#dirty[slot] = 1;
    this.#dirtyCount += 1;
  }

  write(slot: number): boolean {
    if (this.#dirty[slot] === 0) return true;
    return this.#writeRows(slot, slot + 1, this.#rows[slot]?.seal() ?? SESSION_ROW_BYTES);
  }

  released(row: SessionRow): void {
    this.#rows[row.slot] = undefined;
    this.#sessions.delete(row.id);
  }

  writeFile(index: number, offset: number, bytes: Buffer): void {
    this.#write(bytes, fileRowAt(this.#header, index) + offset);
  }

  writeSession(row: SessionRow): void {
    if (this.#rows[row.slot] === row && !this.write(row.slot)) {
      throw new GatewayError('D4GW_E_LEDGER', `cannot write the journal ${this.path}`);
    }
  }

  fileReleased(record: FileRow): void {
    if (this.#fd < 0) return;
    const { session, index } = record;
    // Behind this row, recovery goes by the session's row alone: it must not be older.
    const written = this.#rows[session.slot] !== session || this.write(session.slot);
    if (written) this.#free(index);
    else this.#unfreed.add(index);
  }

  #free(index: number): void {
    if (this.#try(FREE_ROW, fileRowAt(this.#header, index) + ROW_KIND)) {
      this.#freeFiles.push(index);
    } else {
      this.#unfreed.add(index);
    }
  }

  #session(session: SinkSession): SessionRow {
    const row = this.#sessions.get(session.id);
    if (!row) throw new RangeError(`no session ${session.id} in the journal`);
    return row;
  }

  #chunk(slot: number): Buffer {
    const index = Math.floor(slot / CHUNK_ROWS);
    this.#chunks[index] ??= Buffer.alloc(CHUNK_ROWS * SESSION_ROW_BYTES);
    return this.#chunks[index];
  }

  #view(slot: number): DataView {
    const index = Math.floor(slot / CHUNK_ROWS);
    const { buffer, byteOffset, byteLength } = this.#chunk(slot);
    this.#views[index] ??= new DataView(buffer, byteOffset, byteLength);
    return this.#views[index];
  }

  #writeRows(first: number, end: number, length: number): boolean {
    const offset = (first % CHUNK_ROWS) * SESSION_ROW_BYTES;
    if (!this.#try(this.#chunk(first), sessionRowAt(first), offset, length)) return false;
    this.#dirty.fill(0, first, end);
    this.#dirtyCount -= end - first;
    return true;
  }

  #try(bytes: Buffer, position: number, offset = 0, length = bytes.length): boolean {
    try {
      this.#write(bytes, position, offset, length);
      this.#faulty = false;
      return true;
    } catch (error) {
      if (!this.#faulty) this.#onFault?.(error as Error);
      this.#faulty = true;
      return false;
    }
  }

  #write(bytes: Buffer, position: number, offset = 0, length = bytes.length): void {
    try {
      if (this.#fd < 0) throw new Error('it is closed');
      const written = writeSync(this.#fd, bytes, offset, length, position);
      if (written !== length) throw new Error(`${written} of ${length} bytes were taken`);
    } catch (error) {
      throw new GatewayError(
        'D4GW_E_LEDGER',
        `cannot write the journal ${this.path}: ${messageOf(error)}`,
        { cause: error },
      );
    }
  }
}

/** What a file delivers of the meta header: that of a later file of the stream repeats it. */
function metaOf({ path, session: { meta }, bytesBefore }: JournalFile): Amount {
  if (!meta || bytesBefore > 0 || !isMetaPart(path)) return NOTHING;
  return { frames: meta.frames, bytes: meta.bytes.length };
}
