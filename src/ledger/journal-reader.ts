import { closeSync, openSync, readSync } from 'node:fs';
import { pauseThread } from '../ring/wait.js';
import { formatUuid } from '../wire/uuid.js';
import { crc32 } from './crc32.js';
import type { Intent } from './file-row.js';
import {
  decodeHeader,
  FILE_BYTES_BEFORE,
  FILE_FLAGS,
  FILE_FRAMES_BEFORE,
  FILE_ID,
  FILE_ID_LENGTH,
  FILE_INTENTS,
  FILE_MARK,
  FILE_META_FRAMES,
  FILE_PATH,
  FILE_PATH_LENGTH,
  FILE_ROW_BYTES,
  FILE_SINK,
  fileRowAt,
  HEADER_BYTES,
  ID_BYTES_MAX,
  INTENT_BYTES,
  INTENT_CONTENT,
  INTENT_CRC,
  INTENT_FILE_BYTES,
  INTENT_FRAMES,
  INTENT_PAYLOAD,
  INTENT_SEQUENCE,
  type JournalHeader,
  MARK_BYTES,
  MARK_CRC,
  MARK_FRAMES,
  MARK_PAYLOAD,
  MARK_SIZE,
  MARK_STATE,
  Mark,
  PATH_BYTES_MAX,
  REJECT_SLOTS,
  ROW_CRC,
  ROW_FILE,
  ROW_FREE,
  ROW_KIND,
  ROW_SESSION,
  SESSION_END,
  SESSION_END_LENGTH,
  SESSION_ENDED,
  SESSION_ENDED_AT,
  SESSION_ID,
  SESSION_ID_LENGTH,
  SESSION_OPENED,
  SESSION_RECEIVED,
  SESSION_REJECT_CODES,
  SESSION_REJECTS,
  SESSION_ROUTED,
  SESSION_ROW_BYTES,
  SESSION_SINKS,
  SESSION_TRUNCATED,
  SESSION_TYPE,
  SESSION_USED,
  SESSION_UUID,
  sessionRowAt,
} from './journal-layout.js';
import { reasonName } from './session-row.js';
import { atOnce, type Steps } from './steps.js';
import type { Amount, SessionTotals } from './totals.js';

/** A row that is being written looks damaged for microseconds: it is read again this often. */
const READS_MAX = 5;
const READ_AGAIN_MS = 1;
const CHUNK_BYTES = 256 * 1024;

/** A session's row. While it has not ended, `endedAt` is 0 and `end` is empty. */
export interface SessionImage {
  index: number;
  totals: SessionTotals;
  ended: boolean;
}

/** A file's row. */
export interface FileImage {
  index: number;
  sink: string;
  sessionId: string;
  /** The `.part` file. */
  path: string;
  framesBefore: number;
  bytesBefore: number;
  /** Of the file of a meta header: what it delivers once it stands under its final name. */
  meta: Amount;
  compressed: boolean;
  /** Newest first: none, one or two. */
  intents: Intent[];
  mark: { state: number; size: number; frames: number; bytes: number };
}

export interface JournalSnapshot {
  header: JournalHeader;
  /** Its worker closed it in order. */
  closed: boolean;
  sessions: SessionImage[];
  files: FileImage[];
  /** Rows that could not be read. */
  damaged: number;
}

/**
 * Reads a journal, beside its writer or after it. Each row is whole; rows read one after the other
 * are of slightly different moments.
 *
 * @returns undefined where the file has no whole header
 * @throws where it cannot be read (ENOENT and the like)
 */
export function readJournal(path: string): JournalSnapshot | undefined {
  return atOnce(readingJournal(path));
}

/** As `readJournal`, in steps. */
export function* readingJournal(path: string): Steps<JournalSnapshot | undefined> {
  const fd = openSync(path, 'r');
  try {
    const found = headerOf(fd);
    if (!found) return undefined;
    const { header, closed } = found;
    const snapshot: JournalSnapshot = { header, closed, sessions: [], files: [], damaged: 0 };
    const sessions = { at: sessionRowAt(0), bytes: SESSION_ROW_BYTES, count: header.sessions };
    const files = { at: fileRowAt(header, 0), bytes: FILE_ROW_BYTES, count: header.files };
    // Files first: a file's session was written before it, and is looked for in what is read later.
    snapshot.damaged += yield* eachRow(fd, files, (row, index) => {
      const file = decodeFile(row, index, header);
      if (file) snapshot.files.push(file);
      return file !== undefined;
    });
    snapshot.damaged += yield* eachRow(fd, sessions, (row, index) => {
      const session = decodeSession(row, index, header);
      if (session) snapshot.sessions.push(session);
      return session !== undefined;
    });
    return snapshot;
  } finally {
    closeSync(fd);
  }
}

/**
 * What a journal says of itself; undefined where it has no whole header.
 * @throws where it cannot be read (ENOENT and the like)
 */
export function readHeader(path: string): JournalHeader | undefined {
  const fd = openSync(path, 'r');
  try {
    return headerOf(fd)?.header;
  } finally {
    closeSync(fd);
  }
}

function headerOf(fd: number): ReturnType<typeof decodeHeader> {
  const block = Buffer.alloc(HEADER_BYTES);
  if (readSync(fd, block, 0, HEADER_BYTES, 0) !== HEADER_BYTES) return undefined;
  return decodeHeader(block);
}

/** Hands every row in use to `take`, again where it says that the row is not whole. */
function* eachRow(
  fd: number,
  region: { at: number; bytes: number; count: number },
  take: (row: Buffer, index: number) => boolean,
): Steps<number> {
  const chunk = Buffer.alloc(CHUNK_BYTES);
  const end = region.at + region.bytes * region.count;
  let damaged = 0;
  for (let at = region.at; at < end; at += CHUNK_BYTES) {
    const wanted = Math.min(CHUNK_BYTES, end - at);
    const got = readSync(fd, chunk, 0, wanted, at);
    // The last row written may be shorter than its room.
    chunk.fill(0, got, wanted);
    for (let offset = 0; offset < Math.min(got, wanted); offset += region.bytes) {
      const row = chunk.subarray(offset, offset + region.bytes);
      const index = (at + offset - region.at) / region.bytes;
      if (!takeRow(fd, row, at + offset, index, take)) damaged += 1;
    }
    if (got < wanted) break;
    yield;
  }
  return damaged;
}

function takeRow(
  fd: number,
  row: Buffer,
  at: number,
  index: number,
  take: (row: Buffer, index: number) => boolean,
): boolean {
  for (let reads = 1; ; reads += 1) {
    if (row.readUInt32LE(ROW_KIND) === ROW_FREE || take(row, index)) return true;
    if (reads === READS_MAX) return false;
    pauseThread(READ_AGAIN_MS);
    row.fill(0, readSync(fd, row, 0, row.length, at));
  }
}

function decodeSession(
  row: Buffer,
  index: number,
  header: JournalHeader,
): SessionImage | undefined {
  const used = row.readUInt16LE(SESSION_USED);
  if (row.readUInt32LE(ROW_KIND) !== ROW_SESSION) return undefined;
  if (used < SESSION_SINKS || used > SESSION_ROW_BYTES) return undefined;
  if (row.readUInt32LE(ROW_CRC) !== crc32(row, SESSION_USED, used)) return undefined;
  const text = (at: number, length: number) => row.toString('utf8', at, at + length);
  const routed = row.readUInt16LE(SESSION_ROUTED);
  const delivered: Record<string, Amount> = {};
  for (const [sink, name] of header.sinks.entries()) {
    if ((routed & (1 << sink)) !== 0) delivered[name] = amount(row, SESSION_SINKS + sink * 16);
  }
  const rejected: Record<string, Amount> = {};
  for (let slot = 0; slot < REJECT_SLOTS; slot += 1) {
    const code = row.readUInt16LE(SESSION_REJECT_CODES + slot * 2);
    if (code !== 0) rejected[reasonName(code)] = amount(row, SESSION_REJECTS + slot * 16);
  }
  const { frames: count, bytes } = amount(row, SESSION_TRUNCATED);
  const totals: SessionTotals = {
    id: text(SESSION_ID, row[SESSION_ID_LENGTH]!),
    sensor: formatUuid(row, SESSION_UUID),
    type: row[SESSION_TYPE]!,
    openedAt: row.readDoubleLE(SESSION_OPENED),
    endedAt: row.readDoubleLE(SESSION_ENDED_AT),
    end: text(SESSION_END, row[SESSION_END_LENGTH]!),
    received: amount(row, SESSION_RECEIVED),
    delivered,
    rejected,
    lost: {},
    truncated: { count, bytes },
  };
  return { index, totals, ended: row[SESSION_ENDED] === 1 };
}

function decodeFile(row: Buffer, index: number, header: JournalHeader): FileImage | undefined {
  if (row.readUInt32LE(ROW_KIND) !== ROW_FILE) return undefined;
  if (row.readUInt32LE(ROW_CRC) !== crc32(row, FILE_SINK, FILE_INTENTS)) return undefined;
  const sink = header.sinks[row.readUInt16LE(FILE_SINK)];
  const pathBytes = row.readUInt16LE(FILE_PATH_LENGTH);
  const idBytes = row.readUInt16LE(FILE_ID_LENGTH);
  if (sink === undefined || pathBytes > PATH_BYTES_MAX || idBytes > ID_BYTES_MAX) return undefined;
  return {
    index,
    sink,
    sessionId: row.toString('utf8', FILE_ID, FILE_ID + idBytes),
    path: row.toString('utf8', FILE_PATH, FILE_PATH + pathBytes),
    framesBefore: row.readDoubleLE(FILE_FRAMES_BEFORE),
    bytesBefore: row.readDoubleLE(FILE_BYTES_BEFORE),
    meta: amount(row, FILE_META_FRAMES),
    compressed: row.readUInt16LE(FILE_FLAGS) === 1,
    intents: [decodeIntent(row, 0), decodeIntent(row, 1)]
      .filter((intent) => intent !== undefined)
      .sort((a, b) => b.sequence - a.sequence),
    mark: decodeMark(row),
  };
}

function decodeIntent(row: Buffer, slot: number): (Intent & { sequence: number }) | undefined {
  const at = FILE_INTENTS + slot * INTENT_BYTES;
  const sequence = row.readUInt32LE(at + INTENT_SEQUENCE);
  const crc = crc32(row, at + INTENT_SEQUENCE, at + INTENT_BYTES);
  if (sequence === 0 || row.readUInt32LE(at + INTENT_CRC) !== crc) return undefined;
  return {
    sequence,
    fileBytes: row.readDoubleLE(at + INTENT_FILE_BYTES),
    frames: row.readDoubleLE(at + INTENT_FRAMES),
    bytes: row.readDoubleLE(at + INTENT_PAYLOAD),
    contentBytes: row.readDoubleLE(at + INTENT_CONTENT),
  };
}

function decodeMark(row: Buffer): FileImage['mark'] {
  const crc = crc32(row, FILE_MARK + MARK_STATE, FILE_MARK + MARK_BYTES);
  if (row.readUInt32LE(FILE_MARK + MARK_CRC) !== crc) {
    return { state: Mark.NONE, size: 0, frames: 0, bytes: 0 };
  }
  return {
    state: row.readUInt32LE(FILE_MARK + MARK_STATE),
    size: row.readDoubleLE(FILE_MARK + MARK_SIZE),
    frames: row.readDoubleLE(FILE_MARK + MARK_FRAMES),
    bytes: row.readDoubleLE(FILE_MARK + MARK_PAYLOAD),
  };
}

/** The image of a mark, for FILE_MARK of a file's row. */
export function encodeMark(mark: FileImage['mark']): Buffer {
  const image = Buffer.alloc(MARK_BYTES);
  image.writeUInt32LE(mark.state, MARK_STATE);
  image.writeDoubleLE(mark.size, MARK_SIZE);
  image.writeDoubleLE(mark.frames, MARK_FRAMES);
  image.writeDoubleLE(mark.bytes, MARK_PAYLOAD);
  image.writeUInt32LE(crc32(image, MARK_STATE, MARK_BYTES), MARK_CRC);
  return image;
}

function amount(row: Buffer, at: number): Amount {
  return { frames: row.readDoubleLE(at), bytes: row.readDoubleLE(at + 8) };
}
