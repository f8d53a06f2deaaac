/** What a walk ended with. */
export const Verdict = {
  /** All bytes were walked, but for the start of a header (under `HEADER_BYTES_MAX` bytes). */
  MORE: 0,
  /** A new file begins at `boundary`; the header of its first record is whole and good. */
  CUT: 1,
  /** The record that begins at `boundary` does not parse. */
  DAMAGED: 2,
} as const;

export type Verdict = (typeof Verdict)[keyof typeof Verdict];

/** No cutter asks for more contiguous bytes than this before it walks on. */
export const HEADER_BYTES_MAX = 28;

/**
 * Walks one stream, cut anywhere by its frames, from record to record. Positions are byte offsets
 * from the start of the stream, and `boundary <= position`:
 *
 *   ├─ record ─┼─ record ─┼─ header ┬ body …        … ┤
 *                         boundary              position
 *
 * A header is walked as a whole once it is known to be good, so the bytes up to `position` may be
 * written as they come; those behind it are the caller's to keep and to bring again.
 */
export interface Cutter {
  /** Extension of the files; known as soon as a walk ended with CUT. */
  readonly ext: string;
  /** Bytes walked. */
  readonly position: number;
  /** Where the last whole record ended, or the damaged one begins. */
  readonly boundary: number;
  /** How the last walk ended. */
  readonly verdict: Verdict;
  /** Whether a file may end at `boundary`: it holds a record, and can be taken up again. */
  readonly cuttable: boolean;

  /**
   * Walks `bytes[from, to)`, the stream from `position` on, and returns how far it came. It ends
   * at the first boundary at or after the position `cutAt` where the stream can be cut (CUT).
   * Without an open file the caller passes 0: CUT then comes before the first byte is walked.
   */
  walk(bytes: Uint8Array, from: number, to: number, cutAt: number): number;

  /**
   * What a file must begin with that goes on at `boundary`, called after CUT alone; empty at the
   * start of the stream and where the next record stands for itself.
   */
  preamble(): Uint8Array;

  /**
   * The same for a file that goes on at the newest `boundary`, whatever the last walk ended with;
   * undefined where a stream can't be taken up again there.
   */
  resume(): Uint8Array | undefined;
}

export const EMPTY = new Uint8Array(0);

/** Extension of what does not parse as its type. */
export const RAW_EXT = 'raw';

/** A copy of `bytes[from, to)` (a Buffer's own `slice` would be a view). */
export function copyOf(bytes: Uint8Array, from: number, to: number): Uint8Array {
  return new Uint8Array(bytes.subarray(from, to));
}

export function u16(bytes: Uint8Array, at: number, littleEndian: boolean): number {
  const a = bytes[at]!;
  const b = bytes[at + 1]!;
  return littleEndian ? a | (b << 8) : (a << 8) | b;
}

export function u32(bytes: Uint8Array, at: number, littleEndian: boolean): number {
  const first = u16(bytes, at, littleEndian);
  const second = u16(bytes, at + 2, littleEndian);
  return (littleEndian ? first | (second << 16) : (first << 16) | second) >>> 0;
}
