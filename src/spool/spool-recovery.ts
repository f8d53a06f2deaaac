import { type FileHandle, open, readdir, readFile, rm, stat } from 'node:fs/promises';
import type { Logger } from 'pino';
import { GatewayError } from '../errors.js';
import { hasCode } from '../sinks/files/directories.js';
import { HEADER_BYTES } from '../wire/layout.js';
import type { SpoolAccount } from './account.js';
import { type DiskBlock, diskBlocks, type ReadSessions } from './disk-blocks.js';
import { RecordKind } from './layout.js';
import { type Damage, noDamage } from './records.js';
import { NewerFormatError } from './scan.js';
import { indexPath, parseIndex, Segment, segmentPath, seqOfName, writeIndex } from './segment.js';
import { FileSource } from './segment-reader.js';
import { type Amount, decodeOpen, type SpoolSession } from './session-record.js';
import { StreamTotals } from './stream-totals.js';
import type { SegmentSummary, SessionSpan } from './types.js';

/** What an earlier run left of a spool. */
export interface Recovered {
  /** Oldest first; none of them grows any more. */
  segments: Segment[];
  nextSeq: number;
  nextRef: number;
  /** Sessions without an END, by ref. */
  open: Map<number, { session: SpoolSession; total: Amount }>;
  /** Refs of sessions whose END the account does not know yet. */
  ended: Set<number>;
  /** Sessions whose custody the account does not know yet. */
  held: Map<string, Amount>;
  damage: Damage;
}

/**
 * Finds out what an earlier run left: reads the segments that the account does not vouch for, keeps
 * what is whole of a cut end, and brings the account in order with what is there.
 * @throws GatewayError D4GW_E_SPOOL for a segment of a newer release, which is kept as it is
 */
export async function recoverSpool(
  dir: string,
  account: SpoolAccount,
  log: Logger,
): Promise<Recovered> {
  const { found } = account;
  const recovered: Recovered = {
    segments: [],
    nextSeq: Math.max(found.reservedSeq, found.cursor) + 1,
    nextRef: found.reservedRef + 1,
    open: new Map(),
    ended: new Set(),
    held: new Map(),
    damage: noDamage(),
  };
  for (const [ref, data] of account.openSessions()) {
    const opened = decodeOpen(data);
    if (opened === undefined) continue;
    const { session, before } = opened;
    const { frames, bytes } = account.held(session.id) ?? before;
    recovered.open.set(ref, { session, total: { frames, bytes } });
  }
  for (const firstSeq of await segmentsOf(dir)) {
    const segment = await new SegmentRecovery(dir, firstSeq, account, recovered).run();
    if (segment === undefined) continue;
    recovered.segments.push(segment);
    recovered.nextSeq = Math.max(recovered.nextSeq, segment.lastSeq + 1);
  }
  reconcile(account, recovered.segments);
  const { blocks, records, bytes } = recovered.damage;
  if (bytes > 0 || records > 0) {
    log.error(
      { dir, blocks, records, bytes },
      'a spool was damaged: what is unreadable is skipped',
    );
  }
  return recovered;
}

/** First sequence numbers of the segments in a directory, in order. */
export async function segmentsOf(dir: string): Promise<number[]> {
  const names = await readdir(dir);
  return names
    .map(seqOfName)
    .filter((seq) => seq !== undefined)
    .sort((a, b) => a - b);
}

/** The index of a finished segment; undefined where there is none that fits the file. */
export async function readIndex(path: string): Promise<SegmentSummary | undefined> {
  try {
    const [text, { size }] = await Promise.all([readFile(indexPath(path), 'utf8'), stat(path)]);
    const index = parseIndex(path, text);
    return index?.bytes === size ? index : undefined;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
}

const NOTHING: Readonly<Amount> = { frames: 0, bytes: 0 };

class SegmentRecovery {
  readonly #path: string;
  readonly #firstSeq: number;
  readonly #account: SpoolAccount;
  readonly #recovered: Recovered;
  readonly #totals = new StreamTotals();
  readonly #sessions: ReadSessions = new Map();
  readonly #damage = noDamage();
  #lastSeq: number;
  #last: DiskBlock | undefined;

  constructor(dir: string, firstSeq: number, account: SpoolAccount, recovered: Recovered) {
    this.#path = segmentPath(dir, firstSeq);
    this.#firstSeq = firstSeq;
    this.#lastSeq = firstSeq - 1;
    this.#account = account;
    this.#recovered = recovered;
  }

  /** Undefined where nothing is left to do with it: its file is removed then. */
  async run(): Promise<Segment | undefined> {
    const { cursor, acceptedSeq } = this.#account.found;
    const index = await readIndex(this.#path);
    const isDone = index !== undefined && index.lastSeq <= cursor;
    const isKnown = index !== undefined && index.lastSeq <= acceptedSeq && cursor < this.#firstSeq;
    if (isKnown) {
      const totals = StreamTotals.of(index.streams);
      return new Segment(this.#path, { ...index, totals, isSealed: true });
    }
    const bytes = isDone ? 0 : await this.#scan();
    if (bytes > 0 && this.#lastSeq > cursor) return await this.#finished(bytes, cursor);
    // Done with, or nothing but the torn beginning of its first block.
    await rm(this.#path, { force: true });
    await rm(indexPath(this.#path), { force: true });
    return undefined;
  }

  /** Reads it all; the bytes that it then has. */
  async #scan(): Promise<number> {
    const handle = await open(this.#path, 'r+');
    try {
      const { size } = await handle.stat();
      const damage = this.#damage;
      const source = new FileSource(handle, size);
      const blocks = diskBlocks(source, this.#path, this.#sessions, damage, 0, this.#firstSeq);
      for await (const block of blocks) this.#take(block);
      addDamage(this.#recovered.damage, damage);
      for (const ref of this.#sessions.keys()) {
        this.#recovered.nextRef = Math.max(this.#recovered.nextRef, ref + 1);
      }
      return await this.#mendEnd(handle, damage.cut?.at ?? size, size);
    } catch (error) {
      if (!(error instanceof NewerFormatError)) throw error;
      throw new GatewayError('D4GW_E_SPOOL', error.message, { cause: error });
    } finally {
      await handle.close();
    }
  }

  #take(block: DiskBlock): void {
    const { cursor, acceptedSeq } = this.#account.found;
    this.#last = block;
    this.#lastSeq = block.lastSeq;
    const isNew = block.firstSeq > acceptedSeq;
    for (const span of block.sessions) {
      const { session, frames, bytes, ref } = span;
      if (block.firstSeq > cursor) this.#totals.addSpan(span);
      if (!isNew) continue;
      this.#takeBefore(span);
      this.#account.add(session.sensor, session.type, 'accepted', frames, bytes);
      this.#noteSession(ref);
    }
    if (block.firstSeq <= cursor && block.lastSeq > cursor) this.#takeRest(block, cursor);
  }

  /**
   * What of a session came before, and neither the account nor a segment tells of: it was released
   * before it was written, and just before the end.
   */
  #takeBefore({ session, before }: SessionSpan): void {
    const { id, sensor, type } = session;
    const known = this.#recovered.held.get(id) ?? this.#account.held(id) ?? NOTHING;
    const frames = Math.max(0, before.frames - known.frames);
    const bytes = Math.max(0, before.bytes - known.bytes);
    if (frames === 0 && bytes === 0) return;
    this.#account.add(sensor, type, 'accepted', frames, bytes);
    // Where damage took it, it stays in flight, and counts as dropped when all is added up.
    if (this.#damage.bytes === 0) this.#account.add(sensor, type, 'sent', frames, bytes);
  }

  /** The cursor is in mid-block: what is behind it counts. */
  #takeRest(block: DiskBlock, cursor: number): void {
    for (const { seq, kind, session, data } of block.records()) {
      if (seq <= cursor || session === undefined) continue;
      const { meta } = session;
      if (kind === RecordKind.OPEN && meta) {
        this.#totals.add(session, meta.frames, meta.bytes.length);
      } else if (kind === RecordKind.FRAME) {
        this.#totals.add(session, 1, data.length - HEADER_BYTES);
      }
    }
  }

  /** What became of a session that the account does not know of yet. */
  #noteSession(ref: number): void {
    const { session, total, isEnded } = this.#sessions.get(ref)!;
    const { open, held } = this.#recovered;
    held.set(session.id, { ...total });
    if (isEnded) {
      open.delete(ref);
      this.#recovered.ended.add(ref);
    } else open.set(ref, { session, total: { ...total } });
  }

  /** Puts a block of what is whole in the place of one that is cut. */
  async #mendEnd(handle: FileHandle, end: number, size: number): Promise<number> {
    const last = this.#last;
    if (last?.isCut) await handle.write(last.bytes, 0, last.bytes.length, last.at);
    if (end < size) {
      await handle.truncate(end);
      await handle.datasync();
    }
    return last === undefined ? 0 : end;
  }

  async #finished(bytes: number, cursor: number): Promise<Segment> {
    const isPartly = cursor >= this.#firstSeq;
    const segment = new Segment(this.#path, {
      firstSeq: this.#firstSeq,
      lastSeq: this.#lastSeq,
      bytes,
      totals: this.#totals,
      countedFrom: isPartly ? cursor : 0,
      isSealed: true,
    });
    // It is no more than a short cut: a full disk must not keep the spool from being opened.
    if (!isPartly) await writeIndex(segment.summary).catch(() => {});
    return segment;
  }
}

function addDamage(sum: Damage, { blocks, records, bytes }: Damage): void {
  sum.blocks += blocks;
  sum.records += records;
  sum.bytes += bytes;
}

/**
 * What the account says to be in flight and no segment holds was lost with the disk or the process; what
 * is there beyond it came into custody just before the end.
 */
function reconcile(account: SpoolAccount, segments: readonly Segment[]): void {
  const there = new StreamTotals();
  for (const { totals } of segments) there.merge(totals);
  const keys = [...account.streams, ...there.list()];
  const seen = new Set<string>();
  for (const { sensor, type } of keys) {
    const key = `${sensor}/${type}`;
    if (seen.has(key)) continue;
    seen.add(key);
    const expected = account.inFlight(sensor, type);
    const actual = there.amount(sensor, type);
    const frames = expected.frames - actual.frames;
    const bytes = expected.bytes - actual.bytes;
    const [lost, found] = [Math.max(0, frames), Math.max(0, -frames)];
    const [lostBytes, foundBytes] = [Math.max(0, bytes), Math.max(0, -bytes)];
    if (lost > 0 || lostBytes > 0) account.add(sensor, type, 'dropped/damaged', lost, lostBytes);
    if (found > 0 || foundBytes > 0) account.add(sensor, type, 'accepted', found, foundBytes);
  }
}
