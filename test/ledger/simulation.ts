import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import type { FileRow } from '../../src/ledger/file-row.js';
import type { LedgerJournal } from '../../src/ledger/journal.js';
import type { PartRepair } from '../../src/ledger/recover.js';
import type { SessionRow } from '../../src/ledger/session-row.js';
import type { SessionTotals } from '../../src/ledger/totals.js';
import type { SinkSession } from '../../src/sinks/sink.js';
import { Reject } from '../../src/wire/reject.js';

/**
 * A worker reduced to what the ledger sees: sessions, a sink that delivers at once, and one that
 * writes files in pieces, with a preamble in every file but a session's first, cut into records,
 * "compressed" by writing each byte three times, and after the meta header of a type 254 session,
 * which is a file of its own. Journal and files are written in the order of the files sink: a real
 * kill finds what a real worker would leave.
 */
export const SINKS = ['null', 'disk'];
const NULL_SINK = 0;
const DISK_SINK = 1;
/** Where in its work a sink dies. */
const DEATHS = ['nothing', 'journaled', 'intent', 'part', 'uncounted', 'renamed'] as const;
const PREAMBLE = Buffer.from('PREAMBLE');
const RECORD_BYTES = 4;
const COPIES = 3;
const META = {
  type: 'ja3-jl',
  bytes: Buffer.from('{"type":"ja3-jl"}'),
  frames: 2,
  wire: Buffer.alloc(0),
};

export type Random = (below: number) => number;

export function seeded(seed: number): Random {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let value = Math.imul(state ^ (state >>> 15), state | 1);
    value ^= value + Math.imul(value ^ (value >>> 7), value | 61);
    return Math.floor((((value ^ (value >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

export function sensorUuid(index: number): string {
  return `00000000-0000-4000-8000-${String(index).padStart(12, '0')}`;
}

/** False where nobody heard of it: the session then waits in the journal. */
export type Fold = (totals: SessionTotals) => Promise<boolean>;

interface OpenFile {
  path: string;
  record: FileRow;
  hasBytes: boolean;
  framesBefore: number;
}

class Session {
  frames = 0;
  bytes = 0;
  rejected = { frames: 0, bytes: 0 };
  dead = false;
  /** Of the disk sink. */
  tally = { frames: 0, bytes: 0 };
  /** Frames that lie in files wholly: counted apart from the journal. */
  expectedFrames = 0;
  files = 0;
  hasMetaFile = false;
  file: OpenFile | undefined;
  waiting: number[] = [];
  constructor(
    readonly session: SinkSession,
    readonly row: SessionRow,
    readonly toNull: boolean,
    readonly toDisk: boolean,
  ) {}
}

export class Simulation {
  readonly sessions = new Set<Session>();
  opened = 0;
  died = false;
  /** Frames in files of the sessions that ended, by sensor and type. */
  readonly ended = new Map<string, number>();
  readonly #journal: LedgerJournal;
  readonly #dir: string;
  readonly #random: Random;
  readonly #prefix: string;
  readonly #fold: Fold;
  readonly #slots: number[];

  constructor(
    journal: LedgerJournal,
    dir: string,
    random: Random,
    options: { prefix: string; slots: number; fold: Fold },
  ) {
    this.#journal = journal;
    this.#dir = dir;
    this.#random = random;
    this.#prefix = options.prefix;
    this.#fold = options.fold;
    this.#slots = Array.from({ length: options.slots }, (_, slot) => slot);
  }

  /** One thing that a worker does. */
  async step(): Promise<void> {
    const session = [...this.sessions][this.#random(this.sessions.size + 1)];
    const action = this.#random(20);
    if (!session) this.#open();
    else if (action < 8) this.#receive(session);
    else if (action < 13) this.#write(session, 'done');
    else if (action < 15) this.#rotate(session);
    else if (action < 16) this.#journal.sync();
    else if (action < 17) this.#reject(session);
    else if (action < 18) session.row.truncate(1 + this.#random(60));
    else await this.end(session);
  }

  /** Dies in the middle of what it does: what was counted and not written is forgotten. */
  die(): void {
    this.died = true;
    for (const session of this.sessions) {
      const how = DEATHS[this.#random(DEATHS.length)];
      if (how === 'journaled' || how === 'part' || how === 'uncounted') {
        if (this.#storeMeta(session, how)) continue;
      }
      if (how === 'intent' || how === 'part' || how === 'uncounted') this.#write(session, how);
      if (how === 'renamed' && session.file?.hasBytes)
        renameSync(session.file.path, final(session.file.path));
    }
  }

  /** After the recovery: frames that lie in files, at least and (with empty ones) at most. */
  framesInFiles(sensor: string, type: number): { least: number; most: number } {
    const ended = this.ended.get(`${sensor}/${type}`) ?? 0;
    const bounds = { least: ended, most: ended };
    for (const { session, file, tally, expectedFrames } of this.sessions) {
      if (session.sensor !== sensor || session.type !== type) continue;
      // An empty file was removed; one without a whole record is kept as raw.
      const places = file ? [final(file.path), final(file.path).replace('.dat', '.raw')] : [];
      const removed = file && !places.some(existsSync);
      const least = removed ? file.framesBefore : expectedFrames;
      bounds.least += least;
      bounds.most += Math.max(least, tally.frames);
    }
    return bounds;
  }

  async end(session: Session): Promise<void> {
    this.#write(session, 'done');
    this.#rotate(session);
    // It stands alone where there was no file.
    this.#storeMeta(session, 'done');
    session.row.received(session.frames, session.bytes);
    const totals = session.row.totals('closed');
    const key = `${totals.sensor}/${totals.type}`;
    this.ended.set(key, (this.ended.get(key) ?? 0) + session.tally.frames);
    this.sessions.delete(session);
    if (!(await this.#fold(totals))) return;
    session.row.release();
    this.#slots.push(session.session.slot);
  }

  #open(): void {
    const slot = this.#slots.pop();
    if (slot === undefined) return;
    const type = [1, 3, 254][this.#random(3)]!;
    const id = `${this.#prefix}.${this.opened}`;
    this.opened += 1;
    const sensor = sensorUuid(this.#random(4));
    const openedAt = new Date();
    mkdirSync(join(this.#dir, sensor, String(type)), { recursive: true });
    const row = this.#journal.openSession({ id, slot, sensor, type, openedAt: +openedAt });
    const session: SinkSession = {
      id,
      slot,
      sensor,
      type,
      openedAt,
      ...(type === 254 ? { meta: META } : {}),
    };
    const mask = this.#random(4);
    const live = new Session(session, row, (mask & 1) !== 0, (mask & 2) !== 0);
    row.route(mask);
    if (type === 254) this.#count(live, META.frames, META.bytes.length);
    if (type === 254 && live.toNull) row.delivered(NULL_SINK, META.frames, META.bytes.length);
    this.sessions.add(live);
  }

  #receive(session: Session): void {
    for (let frames = this.#random(5); frames >= 0; frames -= 1) {
      const size = this.#random(40);
      this.#count(session, 1, size);
      if (session.dead) this.#rejectFrame(session, size);
      else {
        if (session.toDisk) session.waiting.push(size);
        if (session.toNull) session.row.delivered(NULL_SINK, 1, size);
      }
    }
    if (this.#random(2) === 0) session.row.received(session.frames, session.bytes);
  }

  #reject(session: Session): void {
    if (this.#random(5) !== 0) return;
    session.dead = true;
    const size = this.#random(40);
    this.#count(session, 1, size);
    this.#rejectFrame(session, size);
  }

  #rejectFrame(session: Session, size: number): void {
    session.row.reject(Reject.BAD_HMAC, 1, size);
  }

  #count(session: Session, frames: number, bytes: number): void {
    session.frames += frames;
    session.bytes += bytes;
  }

  /** The disk sink writes what waits: wholly, or up to some point of its work. */
  #write(session: Session, until: 'done' | 'intent' | 'part' | 'uncounted'): void {
    if (!session.toDisk) return;
    const sizes = session.waiting.splice(0);
    const bytes = sizes.reduce((sum, size) => sum + size, 0);
    if (bytes === 0) {
      if (until === 'done') this.#delivered(session, sizes.length, 0);
      return;
    }
    const fresh = session.file === undefined;
    const { tally } = session;
    this.#storeMeta(session, 'done');
    const file = this.#file(session);
    const preamble = fresh && session.files > 1 ? PREAMBLE : Buffer.alloc(0);
    const plain = Buffer.concat([preamble, Buffer.alloc(bytes, 'x')]);
    const data = encode(plain, file.path);
    const size = contentOnDisk(file.path).disk;
    if (preamble.length > 0) file.record.intent(preamble.length, tally.frames, tally.bytes);
    file.record.intent(size + data.length, tally.frames + sizes.length, tally.bytes + bytes);
    if (until === 'intent') return;
    const written = until === 'part' ? this.#random(data.length) : data.length;
    appendFileSync(file.path, data.subarray(0, written));
    file.hasBytes = true;
    if (until === 'part') return;
    session.expectedFrames = tally.frames + sizes.length;
    if (until === 'done') this.#delivered(session, sizes.length, bytes);
  }

  #delivered(session: Session, frames: number, bytes: number): void {
    session.row.delivered(DISK_SINK, frames, bytes);
    session.tally.frames += frames;
    session.tally.bytes += bytes;
  }

  /** Stores the meta header, or up to some point of that; false where it has none to store. */
  #storeMeta(live: Session, until: 'done' | 'journaled' | 'part' | 'uncounted'): boolean {
    const { session, tally } = live;
    if (!live.toDisk || !session.meta || live.hasMetaFile) return false;
    live.hasMetaFile = true;
    const path = `${metaPath(this.#dir, session)}.part`;
    const record = this.#journal.open({
      sink: 'disk',
      path,
      session,
      framesBefore: tally.frames,
      bytesBefore: tally.bytes,
    });
    if (until === 'journaled') return true;
    const written = until === 'part' ? this.#random(META.bytes.length + 1) : META.bytes.length;
    writeFileSync(path, META.bytes.subarray(0, written));
    if (until === 'part') return true;
    renameSync(path, final(path));
    live.expectedFrames = tally.frames + META.frames;
    if (until === 'uncounted') return true;
    this.#delivered(live, META.frames, META.bytes.length);
    record.release();
    return true;
  }

  #file(session: Session): OpenFile {
    if (session.file) return session.file;
    const { sensor, type, id } = session.session;
    const dir = join(this.#dir, sensor, String(type));
    const extension = this.#random(2) === 0 ? 'dat.lz4' : 'dat';
    const path = join(dir, `${id}_${session.files}.${extension}.part`);
    const record = this.#journal.open({
      sink: 'disk',
      path,
      session: session.session,
      framesBefore: session.tally.frames,
      bytesBefore: session.tally.bytes,
    });
    appendFileSync(path, '');
    session.files += 1;
    const framesBefore = session.tally.frames;
    session.file = { path, record, hasBytes: false, framesBefore };
    return session.file;
  }

  #rotate(session: Session): void {
    if (!session.file) return;
    renameSync(session.file.path, final(session.file.path));
    session.file.record.release();
    session.file = undefined;
    session.expectedFrames = session.tally.frames;
  }
}

function metaPath(dir: string, { sensor, type, id }: SinkSession): string {
  return join(dir, sensor, String(type), `${id}.json`);
}

function final(path: string): string {
  return path.slice(0, -'.part'.length);
}

function encode(plain: Buffer, path: string): Buffer {
  if (!path.includes('.lz4')) return plain;
  const data = Buffer.alloc(plain.length * COPIES);
  for (const [index, byte] of plain.entries())
    data.fill(byte, index * COPIES, (index + 1) * COPIES);
  return data;
}

/** Bytes on disk, bytes before compression, and those of them that are repeated from before. */
function contentOnDisk(path: string): { disk: number; plain: number; preamble: number } {
  const disk = existsSync(path) ? readFileSync(path).length : 0;
  const plain = path.includes('.lz4') ? Math.floor(disk / COPIES) : disk;
  const first = /_0\./.test(basename(path));
  return { disk, plain, preamble: first ? 0 : Math.min(PREAMBLE.length, plain) };
}

/**
 * Cuts a `.part` file to whole records. One without any is kept as raw, an empty one is removed;
 * one that is finished is measured.
 * @param cutShort called, to throw, when the file is cut and not yet renamed
 */
export async function repairPart(
  path: string,
  _signal?: AbortSignal,
  _keep?: unknown,
  cutShort?: () => void,
): Promise<PartRepair> {
  const finished = final(path);
  if (path.endsWith('.json.part')) {
    rmSync(path, { force: true });
    return { path: undefined, payloadBytes: 0 };
  }
  if (!existsSync(path)) {
    const name = existsSync(finished) ? finished : undefined;
    return { path: name, payloadBytes: contentOnDisk(finished).plain };
  }
  const { plain, preamble } = contentOnDisk(path);
  if (plain === 0) {
    rmSync(path);
    return { path: undefined, payloadBytes: 0 };
  }
  const whole = preamble + Math.floor((plain - preamble) / RECORD_BYTES) * RECORD_BYTES;
  const kept = whole === preamble ? plain : whole;
  const target = whole === preamble ? finished.replace('.dat', '.raw') : finished;
  truncateSync(path, path.includes('.lz4') ? kept * COPIES : kept);
  cutShort?.();
  renameSync(path, target);
  return { path: target, payloadBytes: kept };
}

/** Payload bytes of one sensor and type that lie in files. */
export function bytesOnDisk(dir: string, sensor: string, type: number): number {
  const place = join(dir, sensor, String(type));
  if (!existsSync(place)) return 0;
  let total = 0;
  for (const name of readdirSync(place)) {
    if (name.endsWith('.part')) throw new Error(`${name} was not repaired`);
    const { disk, plain, preamble } = contentOnDisk(join(place, name));
    if (name.endsWith('.json')) {
      total += disk;
      continue;
    }
    total += plain - preamble;
  }
  return total;
}

export { META };
