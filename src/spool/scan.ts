import { type BlockHeader, decodeBlockHeader } from './block-header.js';
import {
  BLOCK_HEADER_BYTES,
  BLOCK_MAGIC,
  BlockFlag,
  padded,
  RECORD_HEADER_BYTES,
} from './layout.js';
import { type Damage, wholeRecords } from './records.js';

/** The most that LZ4 shrinks what was skipped is taken to be. */
const SKIPPED_EXPANSION_MAX = 16 * RECORD_HEADER_BYTES;

/** Bytes of a file or a buffer, asked for by their place. */
export interface ByteSource {
  readonly size: number;
  /** Up to `length` bytes from `at` on; fewer at the end alone. The view holds until the next call. */
  read(at: number, length: number): Promise<Buffer>;
}

export interface FoundBlock {
  /** Where its header lies. */
  at: number;
  header: BlockHeader;
  /** The header and what is stored behind it; a view until the next block is asked for. */
  bytes: Buffer;
  /** The file ends inside: `header` tells of the records that are whole. */
  isCut: boolean;
  /** How many others it was to have, where it is cut. */
  lostRecords: number;
}

/** A block of a release that this one does not know. */
export class NewerFormatError extends Error {
  constructor(name: string, at: number) {
    super(
      `${name}: the block at offset ${at} was written by a newer release of d4gw: ` +
        'use that release, or move the file away',
    );
    this.name = 'NewerFormatError';
  }
}

const WINDOW_BYTES = 64 * 1024;
const MAGIC = Buffer.alloc(4);
MAGIC.writeUInt32LE(BLOCK_MAGIC);

/**
 * The blocks of a segment from `from` on, past what is damaged: see FORMAT.md, "Damage".
 * @param name of the file, for errors
 * @param damage what was skipped between blocks is added to it; the records of a skipped block show
 *   in the gap of the sequence numbers, and are added here too
 * @throws NewerFormatError
 */
export async function* scanBlocks(
  source: ByteSource,
  name: string,
  damage: Damage,
  from = 0,
  expectedSeq?: number,
): AsyncGenerator<FoundBlock> {
  let expected = expectedSeq;
  let skipped = 0;
  /** The first block that the end cuts, while one that is whole is looked for behind damage. */
  let cut: FoundBlock | undefined;
  for (let at = from; at < source.size; ) {
    const found = await blockAt(source, at, skipped > 0 ? undefined : name);
    if (found === undefined && skipped === 0) {
      const next = await behindPadding(source, at);
      if (next > at) {
        at = next;
        continue;
      }
    }
    if (found === undefined || !follows(found.header, expected, skipped) || found.isCut) {
      if (found?.isCut && skipped === 0) {
        yield* endCut(found, source.size, damage);
        return;
      }
      if (found?.isCut) cut ??= { ...found, bytes: Buffer.from(found.bytes) };
      const next = await nextMagic(source, at + 1);
      skipped += next - at;
      at = next;
      continue;
    }
    const { header } = found;
    if (skipped > 0) noteSkipped(damage, skipped, header.firstSeq - (expected ?? header.firstSeq));
    skipped = 0;
    cut = undefined;
    expected = header.firstSeq + numbered(header);
    at += found.bytes.length;
    yield found;
  }
  if (cut !== undefined) {
    const before = skipped - (source.size - cut.at);
    noteSkipped(damage, before, cut.header.firstSeq - (expected ?? cut.header.firstSeq));
    yield* endCut(cut, source.size, damage);
  } else if (skipped > 0) {
    noteSkipped(damage, skipped, 0);
    if (skipped < BLOCK_HEADER_BYTES) {
      damage.cut = { at: source.size - skipped, blocks: 1, records: 0, bytes: skipped };
    }
  }
}

function* endCut(found: FoundBlock, size: number, damage: Damage): Generator<FoundBlock> {
  const { records } = found.header;
  const at = records > 0 ? found.at + found.bytes.length : found.at;
  damage.cut = { at, blocks: 0, records: found.lostRecords, bytes: size - at };
  damage.bytes += damage.cut.bytes;
  damage.records += damage.cut.records;
  if (records > 0) yield found;
}

/** Records with sequence numbers. */
export function numbered({ flags, records }: BlockHeader): number {
  return (flags & BlockFlag.PREFACE) !== 0 ? 0 : records;
}

function noteSkipped(damage: Damage, bytes: number, records: number): void {
  damage.blocks += 1;
  damage.bytes += bytes;
  damage.records += records;
}

/** A header out of its order is none: a payload may hold one that its sender made up. */
function follows(header: BlockHeader, expected: number | undefined, skipped: number): boolean {
  if (expected === undefined) return true;
  const ahead = header.firstSeq - expected;
  return ahead >= 0 && ahead * RECORD_HEADER_BYTES <= skipped * SKIPPED_EXPANSION_MAX;
}

/** @param name of the file where a newer block ends the reading; behind damage it is none */
async function blockAt(
  source: ByteSource,
  at: number,
  name: string | undefined,
): Promise<FoundBlock | undefined> {
  const head = await source.read(at, BLOCK_HEADER_BYTES);
  const header = decodeBlockHeader(head);
  if (header === 'newer' && name !== undefined) throw new NewerFormatError(name, at);
  if (header === 'damaged' || header === 'newer') return undefined;
  const bytes = await source.read(at, BLOCK_HEADER_BYTES + header.storedBytes);
  if (bytes.length === BLOCK_HEADER_BYTES + header.storedBytes) {
    return { at, header, bytes, isCut: false, lostRecords: 0 };
  }
  return { at, ...cutBlock(header, bytes) };
}

/** Where a block may begin behind the zeros at `at`; `at` where none are there. */
async function behindPadding(source: ByteSource, at: number): Promise<number> {
  const end = Math.min(padded(at), source.size);
  const zeros = await source.read(at, end - at);
  return zeros.every((byte) => byte === 0) ? end : at;
}

/** What is whole of a block that the end of its file cuts. */
function cutBlock(header: BlockHeader, bytes: Buffer): Omit<FoundBlock, 'at'> {
  const isPacked = (header.flags & BlockFlag.LZ4) !== 0;
  const raw = bytes.subarray(BLOCK_HEADER_BYTES);
  const whole = isPacked ? { records: 0, bytes: 0 } : wholeRecords(raw);
  const { records } = whole;
  return {
    header: { ...header, records, storedBytes: whole.bytes, rawBytes: whole.bytes },
    bytes: bytes.subarray(0, BLOCK_HEADER_BYTES + whole.bytes),
    isCut: true,
    lostRecords: header.records - records,
  };
}

/** Where the magic next stands at `from` or behind; the end of the file where it does not. */
async function nextMagic(source: ByteSource, from: number): Promise<number> {
  for (let at = from; at < source.size; ) {
    const window = await source.read(at, WINDOW_BYTES);
    const found = window.indexOf(MAGIC);
    if (found >= 0) return at + found;
    if (at + window.length >= source.size) break;
    at += window.length - (MAGIC.length - 1);
  }
  return source.size;
}
