import { HEADER_BYTES } from '../wire/layout.js';
import { BlockBuilder } from './block-builder.js';
import { BlockFlag, RecordKind } from './layout.js';
import { LiveBlock } from './live-block.js';
import type { Damage, RawRecord } from './records.js';
import type { ByteSource } from './scan.js';
import { readSegment, type SegmentBlock } from './segment-reader.js';
import { type Amount, decodeOpen, type SpoolSession } from './session-record.js';
import { secondsOf } from './stream-totals.js';
import type { SessionSpan, SpoolRecord } from './types.js';

/** A session as far as a segment was read. */
export interface ReadSession {
  readonly session: SpoolSession;
  readonly total: Amount;
  isEnded: boolean;
}

/** A block, and where in its file it was read; several may come of one place. */
export type DiskBlock = LiveBlock & { at: number; end: number; isCut: boolean };

/** The sessions of a segment, by ref, as they are met. */
export type ReadSessions = Map<number, ReadSession>;

/**
 * The blocks of a segment, in order. One that is damaged comes as what is left of it: as blocks of its
 * own for each row of consecutive records.
 * @param sessions brought up to date with each block
 * @param damage what can't be read is added to it
 * @param from offset of a block
 * @throws NewerFormatError
 */
export async function* diskBlocks(
  source: ByteSource,
  name: string,
  sessions: ReadSessions,
  damage: Damage,
  from = 0,
  expectedSeq?: number,
): AsyncGenerator<DiskBlock> {
  for await (const found of readSegment(source, name, damage, from, expectedSeq)) {
    if ((found.header.flags & BlockFlag.PREFACE) !== 0) {
      for (const record of found.records) open(sessions, record);
      continue;
    }
    const place = { at: found.at, end: found.at + found.bytes.length, isCut: found.isCut };
    for (const row of rowsOf(found)) {
      const block = { ...row, sessions: spansOf(row.records, sessions) };
      const list = row.records.map(
        (record): SpoolRecord => ({ ...record, session: sessions.get(record.ref)?.session }),
      );
      yield Object.assign(new LiveBlock(block, 0, () => list), place);
    }
  }
}

interface Row {
  firstSeq: number;
  count: number;
  bytes: Buffer;
  records: readonly RawRecord[];
}

function rowsOf({ header, bytes, records, isCut }: SegmentBlock): Row[] {
  if (records.length === header.records && !isCut) {
    return [{ firstSeq: header.firstSeq, count: records.length, bytes, records }];
  }
  const rows: RawRecord[][] = [];
  for (const record of records) {
    const last = rows.at(-1);
    if (last !== undefined && last.at(-1)!.seq + 1 === record.seq) last.push(record);
    else rows.push([record]);
  }
  return rows.map((row) => ({
    firstSeq: row[0]!.seq,
    count: row.length,
    bytes: rebuilt(row),
    records: row,
  }));
}

function rebuilt(records: readonly RawRecord[]): Buffer {
  const bytes = records.reduce((sum, { data }) => sum + data.length, 0);
  const builder = BlockBuilder.ofRecords(records[0]!.seq, records.length, bytes);
  for (const { kind, flags, ref, data } of records) builder.add(kind, flags, ref, data);
  return builder.finish();
}

/** A session's OPEN was met. */
export function open(sessions: ReadSessions, { ref, data }: RawRecord): ReadSession | undefined {
  const opened = decodeOpen(data);
  if (opened === undefined) return undefined;
  const { session, before } = opened;
  const state = { session, total: { ...before }, isEnded: false };
  sessions.set(ref, state);
  return state;
}

function spansOf(records: readonly RawRecord[], sessions: ReadSessions): SessionSpan[] {
  const spans = new Map<number, SessionSpan>();
  for (const record of records) {
    const { kind, ref, data } = record;
    const state = kind === RecordKind.OPEN ? open(sessions, record) : sessions.get(ref);
    if (state === undefined) continue;
    let span = spans.get(ref);
    if (span === undefined) {
      span = spanOf(ref, state);
      spans.set(ref, span);
    }
    if (kind === RecordKind.OPEN) {
      const { meta } = state.session;
      span.opens = true;
      if (meta) count(state, span, meta.frames, meta.bytes.length);
    } else if (kind === RecordKind.FRAME) {
      if (data.length < HEADER_BYTES) continue;
      count(state, span, 1, data.length - HEADER_BYTES);
      const seconds = secondsOf(data, 0);
      span.firstTime = Math.min(span.firstTime, seconds);
      span.lastTime = Math.max(span.lastTime, seconds);
    } else {
      span.ends = true;
      state.isEnded = true;
    }
  }
  return [...spans.values()];
}

/** Nothing of a session yet, which goes on from what is known of it. */
export function spanOf(
  ref: number,
  { session, total }: { session: SpoolSession; total: Readonly<Amount> },
): SessionSpan {
  return {
    ref,
    session,
    before: { ...total },
    frames: 0,
    bytes: 0,
    opens: false,
    ends: false,
    firstTime: Number.POSITIVE_INFINITY,
    lastTime: 0,
  };
}

export function count(state: ReadSession, span: SessionSpan, frames: number, bytes: number): void {
  state.total.frames += frames;
  state.total.bytes += bytes;
  span.frames += frames;
  span.bytes += bytes;
}
