import { GatewayError } from '../errors.js';
import type { FileRecord } from '../sinks/sink.js';
import { crc32 } from './crc32.js';
import {
  FILE_BYTES_BEFORE,
  FILE_FLAGS,
  FILE_FRAMES_BEFORE,
  FILE_ID,
  FILE_ID_LENGTH,
  FILE_INTENTS,
  FILE_META_BYTES,
  FILE_META_FRAMES,
  FILE_PATH,
  FILE_PATH_LENGTH,
  FILE_ROW_BYTES,
  FILE_SINK,
  ID_BYTES_MAX,
  INTENT_BYTES,
  INTENT_CONTENT,
  INTENT_CRC,
  INTENT_FILE_BYTES,
  INTENT_FRAMES,
  INTENT_PAYLOAD,
  INTENT_SEQUENCE,
  PATH_BYTES_MAX,
  ROW_CRC,
  ROW_FILE,
  ROW_KIND,
  writeText,
} from './journal-layout.js';
import type { SessionRow } from './session-row.js';
import type { Amount } from './totals.js';

/** What holds of a file once a write is done. */
export interface Intent {
  /** Size of the file on disk. */
  fileBytes: number;
  /** Delivered by the sink since the session's opening. */
  frames: number;
  bytes: number;
  /** Bytes of the file before compression. */
  contentBytes: number;
}

export interface NewFile {
  sink: number;
  path: string;
  sessionId: string;
  framesBefore: number;
  bytesBefore: number;
  /** Of the file of a meta header, which is stored whole or not at all: what it delivers. */
  meta: Amount;
  compressed: boolean;
}

/** The file of a meta header: it has a row of its own, for it stands beside that of the data. */
export function isMetaPart(path: string): boolean {
  return path.endsWith('.json.part');
}

/** What a file's row needs of its journal; both throw GatewayError where the disk refuses. */
export interface FileRowOwner {
  /** Writes at an offset of the row. */
  writeFile(index: number, offset: number, bytes: Buffer): void;
  writeSession(row: SessionRow): void;
  /** The row is free. Never throws. */
  fileReleased(record: FileRow): void;
}

const intentImage = Buffer.alloc(INTENT_BYTES);

/** The image of an intent; valid until the next call. */
function encodeIntent(sequence: number, intent: Intent): Buffer {
  intentImage.writeUInt32LE(sequence, INTENT_SEQUENCE);
  intentImage.writeDoubleLE(intent.fileBytes, INTENT_FILE_BYTES);
  intentImage.writeDoubleLE(intent.frames, INTENT_FRAMES);
  intentImage.writeDoubleLE(intent.bytes, INTENT_PAYLOAD);
  intentImage.writeDoubleLE(intent.contentBytes, INTENT_CONTENT);
  intentImage.writeUInt32LE(crc32(intentImage, INTENT_SEQUENCE, INTENT_BYTES), INTENT_CRC);
  return intentImage;
}

/** @throws GatewayError D4GW_E_LEDGER where the path is too long for a row */
export function encodeFileRow(file: NewFile): Buffer {
  const pathBytes = Buffer.byteLength(file.path);
  if (pathBytes > PATH_BYTES_MAX) {
    throw new GatewayError(
      'D4GW_E_LEDGER',
      `a path of ${pathBytes} bytes, over ${PATH_BYTES_MAX}, cannot be journaled: ${file.path}`,
    );
  }
  const row = Buffer.alloc(FILE_ROW_BYTES);
  row.writeUInt32LE(ROW_FILE, ROW_KIND);
  row.writeUInt16LE(file.sink, FILE_SINK);
  row.writeUInt16LE(writeText(row, file.path, FILE_PATH, PATH_BYTES_MAX), FILE_PATH_LENGTH);
  row.writeUInt16LE(writeText(row, file.sessionId, FILE_ID, ID_BYTES_MAX), FILE_ID_LENGTH);
  row.writeUInt16LE(file.compressed ? 1 : 0, FILE_FLAGS);
  row.writeDoubleLE(file.framesBefore, FILE_FRAMES_BEFORE);
  row.writeDoubleLE(file.bytesBefore, FILE_BYTES_BEFORE);
  row.writeDoubleLE(file.meta.frames, FILE_META_FRAMES);
  row.writeDoubleLE(file.meta.bytes, FILE_META_BYTES);
  row.writeUInt32LE(crc32(row, FILE_SINK, FILE_INTENTS), ROW_CRC);
  const first = {
    fileBytes: 0,
    frames: file.framesBefore,
    bytes: file.bytesBefore,
    contentBytes: 0,
  };
  encodeIntent(1, first).copy(row, FILE_INTENTS + INTENT_BYTES);
  return row;
}

/** One open file of a sink in the journal. */
export class FileRow implements FileRecord {
  readonly index: number;
  readonly session: SessionRow;
  readonly sink: number;
  readonly #owner: FileRowOwner;
  readonly #compressed: boolean;
  /** The sink's file of this session before this one, and after it. */
  #older: FileRow | undefined;
  #newer: FileRow | undefined;
  #freed = false;
  readonly #bytesBefore: number;
  /** Bytes repeated from an earlier file: they are announced before any of the session's. */
  #preamble = 0;
  readonly #intent: Intent = { fileBytes: 0, frames: 0, bytes: 0, contentBytes: 0 };
  #sequence = 1;
  #released = false;

  constructor(owner: FileRowOwner, index: number, session: SessionRow, file: NewFile) {
    this.#owner = owner;
    this.index = index;
    this.session = session;
    this.sink = file.sink;
    this.#compressed = file.compressed;
    this.#bytesBefore = file.bytesBefore;
    session.newestFile ??= [];
    const newest = session.newestFile;
    const older = newest[file.sink];
    if (older && !older.#freed) {
      this.#older = older;
      older.#newer = this;
    }
    newest[file.sink] = this;
  }

  /**
   * As `FileRecord.intent`.
   * @throws GatewayError D4GW_E_LEDGER where it cannot be recorded: the write must not be issued
   */
  intent(fileBytes: number, frames: number, bytes: number): void {
    if (this.#released) throw new TypeError('the file has left the journal');
    this.session.announce(frames, bytes);
    this.#owner.writeSession(this.session);
    const payload = bytes - this.#bytesBefore;
    if (payload === 0) this.#preamble = fileBytes;
    const intent = this.#intent;
    intent.fileBytes = fileBytes;
    intent.frames = frames;
    intent.bytes = bytes;
    intent.contentBytes = this.#compressed ? this.#preamble + payload : fileBytes;
    this.#sequence += 1;
    const offset = FILE_INTENTS + (this.#sequence & 1) * INTENT_BYTES;
    this.#owner.writeFile(this.index, offset, encodeIntent(this.#sequence, intent));
  }

  /**
   * As `FileRecord.release`. What the file held must have been counted as delivered before. The
   * row stays until those of all older files of the stream are gone: recovery takes what was
   * delivered before the oldest row, and adds what the files of the rows hold.
   */
  release(): void {
    this.#released = true;
    this.#free();
  }

  #free(): void {
    if (!this.#released || this.#freed || (this.#older && !this.#older.#freed)) return;
    this.#freed = true;
    this.#older = undefined;
    this.#owner.fileReleased(this);
    if (this.#newer) this.#newer.#free();
    this.#newer = undefined;
  }
}
