import type { Logger } from 'pino';
import type { Clock } from '../sinks/files/clock.js';
import type { RecordKind } from './layout.js';
import type { Amount, SpoolSession } from './session-record.js';

export interface SpoolOptions {
  /** Directory of its own for the segments; the account is kept in `account/` below it. */
  dir: string;
  /** Bytes on the disk and in memory together at which it is full. */
  maxBytes: number;
  /** Size at which a segment is finished; at most an eighth of `maxBytes`. Default 64 MiB. */
  segmentBytes?: number;
  /**
   * When a block is written. `always`: once it is finished, at most 100 ms after its first record.
   * `behind`: when the reader lags by half of `memoryBytes` or by a second; what is released before
   * never touches the disk.
   */
  persist: 'always' | 'behind';
  /** Bytes of blocks kept in memory, for reading without the disk and while the disk takes none. */
  memoryBytes: number;
  compress: 'none' | 'lz4';
  log: Logger;
  /**
   * Frames came into the spool's custody: they are written (to the page cache), or were released.
   * A session's meta header counts with its opening.
   */
  custody?: (session: SpoolSession, frames: number, bytes: number) => void;
  /** A segment is finished; its index stands beside it. */
  sealed?: (segment: SegmentSummary) => void;
  clock?: Clock;
}

/** A finished segment as its index describes it. */
export interface SegmentSummary {
  path: string;
  firstSeq: number;
  lastSeq: number;
  bytes: number;
  streams: readonly StreamSummary[];
}

/** What a segment holds of one sensor and type. */
export interface StreamSummary extends Amount {
  sensor: string;
  type: number;
  /** Of the meta headers of type 254 streams. */
  metaTypes?: readonly string[];
  /** Smallest and largest timestamp in the frames' headers, seconds since the epoch. */
  firstTime: number;
  lastTime: number;
}

/** What a block holds of one session. */
export interface SessionSpan {
  readonly ref: number;
  readonly session: SpoolSession;
  /** Of the session before this block. */
  readonly before: Readonly<Amount>;
  /** In this block; the meta header counts where the session opens. */
  frames: number;
  bytes: number;
  /** Its OPEN is in this block; otherwise it goes on from an earlier one. */
  opens: boolean;
  ends: boolean;
  /** Smallest and largest timestamp in the frames' headers, seconds; Infinity and 0 without any. */
  firstTime: number;
  lastTime: number;
}

export interface SpoolRecord {
  readonly seq: number;
  readonly kind: RecordKind;
  readonly ref: number;
  /** Undefined where damage took its OPEN. */
  readonly session: SpoolSession | undefined;
  /** A view on the block's memory. FRAME: header and payload; OPEN, END: see FORMAT.md. */
  readonly data: Buffer;
}

/** A block as it is stored and sent: one buffer, which nobody changes. */
export interface SpoolBlock {
  readonly firstSeq: number;
  readonly lastSeq: number;
  readonly count: number;
  /** With its header. Compressed only where it was read from a compressed segment. */
  readonly bytes: Buffer;
  /** Bytes in front of it in the same memory, to be used by whoever sends it. */
  readonly headroom: number;
  readonly sessions: readonly SessionSpan[];
  records(): Iterable<SpoolRecord>;
  /**
   * Keeps its memory from being used for another block; `letGo` as often as `hold`. A reader holds what
   * `next` gave until it is called again, or closed.
   */
  hold(): this;
  letGo(): void;
  /**
   * A preface (FORMAT.md; more than one block where meta headers are many and long) with the OPEN of
   * every session that goes on in this block, for a reader that has not seen them; undefined where
   * there is none.
   */
  preface(): Buffer | undefined;
}

export interface BlockReader {
  /**
   * The next block, oldest first; waits for one. The first may begin before the sequence number asked
   * for, and a gap in the numbers is what was dropped, damaged, or never given out. One call at a
   * time.
   * @returns undefined once the reader or the spool is closed; whoever needs the block's bytes or
   *   records beyond the next call holds it
   */
  next(): Promise<SpoolBlock | undefined>;
  close(): void;
}

/** What `dropOldest` gave up. */
export interface Dropped {
  frames: number;
  bytes: number;
  streams: readonly ({ sensor: string; type: number } & Amount)[];
  /** Sessions whose END was among it: no reader will see it. */
  ended: readonly { ref: number; session: SpoolSession }[];
}
