import {
  closeSync,
  fdatasyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  statSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { GatewayError, messageOf } from '../errors.js';
import {
  type Actor,
  type AuditAct,
  decodeEntry,
  encodeEntry,
  LINE_BYTES_MAX,
  TRAIL_START,
  type TrailHead,
} from './entry.js';
import { fileName, fileNumbers, readTail, trailDirectory } from './files.js';

/** A file that has grown to this is finished, and the next begun. */
export const FILE_BYTES_MAX = 16 * 1024 * 1024;
const DIRECTORY_MODE = 0o700;
const FILE_MODE = 0o600;

interface Place {
  number: number;
  bytes: number;
  head: TrailHead;
}

/**
 * The audit trail's writing end: `<dataDir>/audit/audit-NNNNNN.ndjson`, append-only, one line an act,
 * each chained to the one before, over all files. Files are never removed by the gateway.
 *
 * Commands and the gateway write it from processes of their own: whoever appends must hold the
 * registry's writer lock, that is, be within one of its transactions.
 */
export class AuditTrail {
  readonly #directory: string;
  readonly #fileBytesMax: number;
  /** Where this process left the trail; another may have gone on since. */
  #place: Place | undefined;

  constructor(dataDir: string, fileBytesMax = FILE_BYTES_MAX) {
    this.#directory = trailDirectory(dataDir);
    this.#fileBytesMax = fileBytesMax;
  }

  /**
   * Appends one act; on disk when it returns.
   * @returns where the trail stands now
   * @throws GatewayError D4GW_E_AUDIT where it can't be written: the act must not take place then
   */
  append(actor: Actor, act: AuditAct, at = new Date()): TrailHead {
    try {
      const place = this.#find();
      const { line, head } = encodeEntry(place.head, actor, act, at);
      const bytes = Buffer.from(`${line}\n`);
      if (bytes.length > LINE_BYTES_MAX) throw new Error(`a line of ${bytes.length} bytes`);
      const isFull = place.bytes > 0 && place.bytes + bytes.length > this.#fileBytesMax;
      const number = isFull ? place.number + 1 : place.number;
      const start = isFull ? 0 : place.bytes;
      this.#write(number, start, bytes);
      this.#place = { number, bytes: start + bytes.length, head };
      return head;
    } catch (error) {
      this.#place = undefined;
      throw new GatewayError(
        'D4GW_E_AUDIT',
        `cannot write the audit trail in ${this.#directory}: ${messageOf(error)}; nothing was changed`,
        { cause: error },
      );
    }
  }

  /** Writes behind what is whole: what a process that died began to write is cut off. */
  #write(number: number, start: number, bytes: Buffer): void {
    const fd = openSync(join(this.#directory, fileName(number)), 'a', FILE_MODE);
    try {
      ftruncateSync(fd, start);
      const written = writeSync(fd, bytes);
      if (written !== bytes.length) {
        ftruncateSync(fd, start);
        throw new Error(`${written} of ${bytes.length} bytes were taken: the disk is full`);
      }
      fdatasyncSync(fd);
    } finally {
      closeSync(fd);
    }
  }

  #find(): Place {
    mkdirSync(this.#directory, { recursive: true, mode: DIRECTORY_MODE });
    const numbers = fileNumbers(this.#directory);
    const newest = numbers.at(-1) ?? 1;
    const known = this.#place;
    const path = join(this.#directory, fileName(newest));
    if (known?.number === newest && statSync(path).size === known.bytes) return known;
    for (const number of numbers.reverse()) {
      const tail = readTail(join(this.#directory, fileName(number)));
      if (tail.line === undefined) continue;
      const entry = decodeEntry(tail.line);
      if ('problem' in entry) {
        throw new Error(
          `the last line of ${fileName(number)} ${entry.problem}: see \`audit verify\``,
        );
      }
      const { seq, hash } = entry;
      const bytes = number === newest ? tail.bytes - tail.tornBytes : 0;
      return { number: newest, bytes, head: { seq, hash } };
    }
    return { number: newest, bytes: 0, head: TRAIL_START };
  }
}
