import { recordCrc } from './checksum.js';
import {
  RECORD_CRC,
  RECORD_DATA_BYTES,
  RECORD_FLAGS,
  RECORD_HEADER_BYTES,
  RECORD_KIND,
  RECORD_REF,
  RECORD_ZERO,
  RecordKind,
} from './layout.js';
import type { SessionSpan, SpoolRecord } from './types.js';

export interface RawRecord {
  seq: number;
  kind: RecordKind;
  flags: number;
  /** Number of its session in the spool. */
  ref: number;
  /** A view: it lives as long as the block's memory. */
  data: Buffer;
}

/** What could not be read. */
export interface Damage {
  /** Blocks whose header is bad, or whose content can't be unpacked. */
  blocks: number;
  records: number;
  /** As they lie in the file. */
  bytes: number;
  /** Of a file whose end is cut: where the last whole record ends, and what the cut costs of all. */
  cut?: { at: number; blocks: number; records: number; bytes: number };
}

export const noDamage = (): Damage => ({ blocks: 0, records: 0, bytes: 0 });

/** Bytes that the search for a block's second half may checksum, in lengths of the block. */
const SEARCH_LENGTHS_MAX = 16;

/**
 * The records of a block that hold. One whose checksum fails is skipped by its length; or the records
 * before the first bad one count, and those behind it which lead to the block's end, where that
 * saves more: a length itself may be damaged, and lead to the end by chance.
 *
 *     record record ▓▓▓▓▓▓▓▓▓▓ record record record ┊
 *     ├─ in order ─┤ skipped  ├─ by their number, from the end
 *
 * @param raw the block's content before compression
 * @param count how many its header says that it has
 * @param numbered false: a preface, whose records have no numbers of their own
 * @param damage what was skipped is added to it
 */
export function readRecords(
  raw: Buffer,
  count: number,
  firstSeq: number,
  damage: Damage,
  numbered = true,
): RawRecord[] {
  const byLength = readByLength(raw, count);
  let found = byLength;
  if (byLength === undefined || byLength.length < count) {
    const byEnds = readFromEnds(raw, count);
    if (byLength === undefined || byEnds.length > byLength.length) found = byEnds;
  }
  const records = found!.map(({ at, index }) =>
    recordAt(raw, at, numbered ? firstSeq + index : firstSeq),
  );
  if (records.length === count) return records;
  damage.records += count - records.length;
  damage.bytes += found!.reduce((left, { at }) => left - (endOf(raw, at) - at), raw.length);
  return records;
}

/** A record that holds, and which of its block's it is. */
interface Place {
  at: number;
  index: number;
}

/** Those that hold of the records that their lengths lead to; undefined where they lead elsewhere. */
function readByLength(raw: Buffer, count: number): Place[] | undefined {
  const places: Place[] = [];
  let at = 0;
  for (let index = 0; index < count; index += 1) {
    if (raw.length - at < RECORD_HEADER_BYTES) return undefined;
    const end = endOf(raw, at);
    if (end > raw.length) return undefined;
    if (isPlausible(raw, at) && holds(raw, at, end)) places.push({ at, index });
    at = end;
  }
  return at === raw.length ? places : undefined;
}

/** Those before the first that does not hold, and those which lead from behind it to the end. */
function readFromEnds(raw: Buffer, count: number): Place[] {
  const places: Place[] = [];
  let at = 0;
  let index = 0;
  for (; index < count && isPlausible(raw, at) && holds(raw, at, endOf(raw, at)); index += 1) {
    places.push({ at, index });
    at = endOf(raw, at);
  }
  if (index === count) return places;
  const rest = findRest(raw, at, count - index - 1);
  for (const [place, start] of rest.entries()) {
    places.push({ at: start, index: count - rest.length + place });
  }
  return places;
}

/** The records of a block of which nothing is doubted, with their sessions. */
export function* walkRecords(
  raw: Buffer,
  count: number,
  firstSeq: number,
  sessions: readonly SessionSpan[],
): Generator<SpoolRecord> {
  const sessionOf = new Map(sessions.map(({ ref, session }) => [ref, session]));
  let at = 0;
  for (let index = 0; index < count; index += 1) {
    const end = endOf(raw, at);
    const ref = raw.readUInt32LE(at + RECORD_REF);
    yield {
      seq: firstSeq + index,
      kind: raw[at + RECORD_KIND] as RecordKind,
      ref,
      session: sessionOf.get(ref),
      data: raw.subarray(at + RECORD_HEADER_BYTES, end),
    };
    at = end;
  }
}

/** How many records from the start of `raw` on hold, and where they end: of a block that was cut. */
export function wholeRecords(raw: Buffer): { records: number; bytes: number } {
  let at = 0;
  let records = 0;
  while (isPlausible(raw, at) && holds(raw, at, endOf(raw, at))) {
    at = endOf(raw, at);
    records += 1;
  }
  return { records, bytes: at };
}

/** What a record is, without its data. */
export function headIn(raw: Buffer, at: number): { kind: RecordKind; ref: number } {
  const kind = raw[at + RECORD_KIND] as RecordKind;
  return { kind, ref: raw.readUInt32LE(at + RECORD_REF) };
}

export function recordAt(raw: Buffer, at: number, seq: number): RawRecord {
  return {
    seq,
    kind: raw[at + RECORD_KIND] as RecordKind,
    flags: raw[at + RECORD_FLAGS]!,
    ref: raw.readUInt32LE(at + RECORD_REF),
    data: raw.subarray(at + RECORD_HEADER_BYTES, endOf(raw, at)),
  };
}

export function endOf(raw: Buffer, at: number): number {
  return at + RECORD_HEADER_BYTES + raw.readUInt32LE(at + RECORD_DATA_BYTES);
}

/** Whether a record may begin at `at` by its header alone. */
export function isPlausible(raw: Buffer, at: number): boolean {
  if (raw.length - at < RECORD_HEADER_BYTES) return false;
  const kind = raw[at + RECORD_KIND]!;
  if (kind < RecordKind.OPEN || kind > RecordKind.END) return false;
  return raw.readUInt16LE(at + RECORD_ZERO) === 0 && endOf(raw, at) <= raw.length;
}

export function holds(raw: Buffer, at: number, end: number): boolean {
  return raw.readUInt32LE(at + RECORD_CRC) === recordCrc(raw, at, end);
}

/**
 * Where the records begin that follow on a bad one and lead, each of them whole, to the end: the
 * longest such row of at most `max` records behind `from`.
 */
function findRest(raw: Buffer, from: number, max: number): number[] {
  /** How many records lead from there to the end; 0: none. By position behind `from`. */
  const rows = new Uint32Array(raw.length - from + 1);
  for (let at = raw.length - RECORD_HEADER_BYTES; at > from; at -= 1) {
    if (!isPlausible(raw, at)) continue;
    const end = endOf(raw, at);
    if (end === raw.length) rows[at - from] = 1;
    else if (rows[end - from]! > 0) rows[at - from] = rows[end - from]! + 1;
  }
  const known = new Map<number, boolean>();
  let budget = SEARCH_LENGTHS_MAX * raw.length;
  for (let start = from + 1; start < raw.length && budget > 0; start += 1) {
    const length = rows[start - from]!;
    if (length === 0 || length > max) continue;
    const row: number[] = [];
    for (let at = start; at < raw.length; at = endOf(raw, at)) {
      let isGood = known.get(at);
      if (isGood === undefined) {
        const end = endOf(raw, at);
        budget -= end - at;
        isGood = holds(raw, at, end);
        known.set(at, isGood);
      }
      // Whatever else leads here leads no further: each record is gone over once.
      if (!isGood || rows[at - from] === 0) break;
      row.push(at);
    }
    if (row.length === length) return row;
    for (const at of row) rows[at - from] = 0;
  }
  return [];
}
