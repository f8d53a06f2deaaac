import { parseUuid } from '../wire/uuid.js';
import { crc32 } from './crc32.js';

/**
 * A worker's journal: a header block, then one row a session slot, then rows for open files. The
 * file is sparse: a row that was never used is a hole, and reads as zeros.
 *
 *   0         4096                    4096 + sessions × 512           … + files × 1024
 *   ┌─────────┬───────────────────────┬───────────────────────────────┐
 *   │ header  │ SESSION rows, 512 B   │ FILE rows, 1024 B             │
 *   └─────────┴───────────────────────┴───────────────────────────────┘
 *
 * No row crosses a page, and each row or intent is one write: in the page cache it is whole or was
 * never made. The checksums are for readers beside a writer, and for a machine that went down.
 * All integers are little-endian, amounts are f64 (exact up to 2^53).
 */
export const JOURNAL_MAGIC = 'D4GWJRNL';
export const JOURNAL_VERSION = 1;
export const HEADER_BYTES = 4096;
export const SINKS_MAX = 16;
export const ID_BYTES_MAX = 48;
export const PATH_BYTES_MAX = 800;
const END_BYTES_MAX = 24;

/** The header: magic, then these, then JSON text. */
const HEADER_CRC = 8; // u32 over everything after it
const HEADER_VERSION = 12; // u32
const HEADER_CLOSED = 16; // u32: 1 once the worker has closed it in order; not in the checksum
const HEADER_LENGTH = 20; // u32: bytes of text
const HEADER_TEXT = 24;

/** First word of a row; 0 is a free one. */
export const ROW_FREE = 0;
export const ROW_SESSION = 0x53534553;
export const ROW_FILE = 0x454c4946;
export const ROW_KIND = 0; // u32
/** Written at a row's kind, it frees the row. */
export const FREE_ROW = Buffer.from([ROW_FREE, 0, 0, 0]);
export const ROW_CRC = 4; // u32

export const SESSION_ROW_BYTES = 512;
export const SESSION_USED = 8; // u16: bytes of the row under the checksum
export const SESSION_TYPE = 10; // u8
export const SESSION_ENDED = 11; // u8: 1 once its totals are final
export const SESSION_ROUTED = 12; // u16: bit s: sink s is in its route
export const SESSION_ID_LENGTH = 14; // u8
export const SESSION_END_LENGTH = 15; // u8
export const SESSION_UUID = 16; // 16 bytes
export const SESSION_OPENED = 32; // f64: ms since the epoch
export const SESSION_ENDED_AT = 40; // f64
export const SESSION_RECEIVED = 48; // f64 frames, f64 bytes
export const SESSION_TRUNCATED = 64; // f64 count, f64 bytes
export const SESSION_ID = 80;
export const SESSION_END = SESSION_ID + ID_BYTES_MAX;
/** Four reasons and one slot for all further ones: a session ends with its first reject. */
export const REJECT_SLOTS = 5;
export const REJECT_OTHER = 0xffff;
export const SESSION_REJECT_CODES = SESSION_END + END_BYTES_MAX; // u16 each; 0 is unused
export const SESSION_REJECTS = SESSION_REJECT_CODES + 16; // f64 frames, f64 bytes each
export const SESSION_SINKS = SESSION_REJECTS + REJECT_SLOTS * 16; // f64 frames, f64 bytes each

export const FILE_ROW_BYTES = 1024;
export const FILE_SINK = 8; // u16
export const FILE_PATH_LENGTH = 10; // u16
export const FILE_ID_LENGTH = 12; // u16
export const FILE_FLAGS = 14; // u16: 1 when its content is compressed
export const FILE_FRAMES_BEFORE = 16; // f64
export const FILE_BYTES_BEFORE = 24; // f64
/** Of the file of a meta header: what it delivers once it stands under its final name. */
export const FILE_META_FRAMES = 32; // f64
export const FILE_META_BYTES = 40; // f64
export const FILE_ID = 48;
export const FILE_PATH = FILE_ID + ID_BYTES_MAX;
/** What is above here is written once and under the row's checksum. */
export const FILE_STATIC_END = FILE_PATH + PATH_BYTES_MAX;
/** Two intents, written in turn: the newest whole one counts, the other is the one before it. */
export const FILE_INTENTS = FILE_STATIC_END;
export const INTENT_BYTES = 40;
export const INTENT_CRC = 0; // u32 over the rest
export const INTENT_SEQUENCE = 4; // u32, from 1
export const INTENT_FILE_BYTES = 8; // f64
export const INTENT_FRAMES = 16; // f64
export const INTENT_PAYLOAD = 24; // f64
export const INTENT_CONTENT = 32; // f64: bytes of the file before compression
/** What recovery has done with the file, so that it may itself be cut short. */
export const FILE_MARK = FILE_INTENTS + 2 * INTENT_BYTES;
export const MARK_BYTES = 32;
export const MARK_CRC = 0; // u32 over the rest
export const MARK_STATE = 4; // u32
export const MARK_SIZE = 8; // f64: size before the repair
export const MARK_FRAMES = 16; // f64: frames of the session that the file holds
export const MARK_PAYLOAD = 24; // f64
export const Mark = { NONE: 0, BEGUN: 1, DONE: 2 } as const;

/** What a journal says of itself. */
export interface JournalHeader {
  /** Random; names this journal in the ledger's list of recoveries. */
  id: string;
  worker: string;
  pid: number;
  /** When the process began, in clock ticks since boot: tells two uses of a pid apart. */
  startTicks: string;
  bootId: string;
  sinks: readonly string[];
  sessions: number;
  files: number;
  createdAt: number;
}

export function sessionRowAt(index: number): number {
  return HEADER_BYTES + index * SESSION_ROW_BYTES;
}

export function fileRowAt(header: Pick<JournalHeader, 'sessions'>, index: number): number {
  // Aligned to a row, so that none crosses a page.
  const base = Math.ceil(sessionRowAt(header.sessions) / FILE_ROW_BYTES) * FILE_ROW_BYTES;
  return base + index * FILE_ROW_BYTES;
}

/** @throws RangeError where the sinks' names do not fit */
export function encodeHeader(header: JournalHeader): Buffer {
  const text = Buffer.from(JSON.stringify(header));
  if (text.length > HEADER_BYTES - HEADER_TEXT) throw new RangeError('sink names are too long');
  const block = Buffer.alloc(HEADER_BYTES);
  block.write(JOURNAL_MAGIC, 'latin1');
  block.writeUInt32LE(JOURNAL_VERSION, HEADER_VERSION);
  block.writeUInt32LE(text.length, HEADER_LENGTH);
  text.copy(block, HEADER_TEXT);
  block.writeUInt32LE(headerCrc(block, text.length), HEADER_CRC);
  return block;
}

/** The header of a journal's first block and whether it was closed; undefined where it is none. */
export function decodeHeader(
  block: Buffer,
): { header: JournalHeader; closed: boolean } | undefined {
  if (block.length < HEADER_BYTES || block.toString('latin1', 0, 8) !== JOURNAL_MAGIC) return;
  if (block.readUInt32LE(HEADER_VERSION) !== JOURNAL_VERSION) return;
  const length = block.readUInt32LE(HEADER_LENGTH);
  if (length > HEADER_BYTES - HEADER_TEXT) return;
  if (block.readUInt32LE(HEADER_CRC) !== headerCrc(block, length)) return;
  const header = JSON.parse(block.toString('utf8', HEADER_TEXT, HEADER_TEXT + length));
  return { header, closed: block.readUInt32LE(HEADER_CLOSED) === 1 };
}

/** Where and what to write when a journal is closed in order. */
export const CLOSED_MARK = { at: HEADER_CLOSED, bytes: Buffer.from([1, 0, 0, 0]) } as const;

function headerCrc(block: Buffer, length: number): number {
  const crc = crc32(block, HEADER_VERSION, HEADER_CLOSED);
  return crc32(block, HEADER_LENGTH, HEADER_TEXT + length, crc);
}

/** Writes text of at most `max` bytes and returns its length; longer text is cut. */
export function writeText(row: Buffer, text: string, at: number, max: number): number {
  return row.write(text, at, max, 'utf8');
}

export function writeSensor(row: Buffer, sensor: string, at: number): void {
  const bytes = parseUuid(sensor);
  if (!bytes) throw new RangeError(`no sensor's UUID: ${sensor}`);
  bytes.copy(row, at);
}

export function writeEnd(row: Buffer, at: number, end: string): void {
  row[at + SESSION_END_LENGTH] = writeText(row, end, at + SESSION_END, END_BYTES_MAX);
}
