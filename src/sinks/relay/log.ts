import { RecordKind } from '../../spool/layout.js';
import type { SpoolSession } from '../../spool/session-record.js';
import type { Spool } from '../../spool/spool.js';
import type { SessionSpan, SpoolBlock } from '../../spool/types.js';

/** What the relay reads of its spool: see `logOf`. */
export interface RelayLog {
  /** Records with this number or a later one, in order, block by block. */
  blocks(fromSeq: number): LogReader;
}

export interface LogReader {
  /** Waits for the next block; undefined once the reader or the log is closed. */
  next(): Promise<LogBlock | undefined>;
  close(): void;
}

export interface LogBlock {
  readonly firstSeq: number;
  readonly lastSeq: number;
  readonly bytes: { readonly length: number };
  readonly sessions: readonly Pick<SessionSpan, 'session' | 'frames' | 'bytes'>[];
  records(): Iterable<LogRecord>;
}

export interface LogRecord {
  readonly seq: number;
  readonly kind: 'open' | 'frame' | 'end';
  readonly session: SpoolSession;
  /** Of a frame: its header and payload, valid as long as the block. */
  readonly data: Buffer;
}

/** A spool as the relay reads it. Records whose session damage took are passed over. */
export function logOf(spool: Spool): RelayLog {
  return {
    blocks(fromSeq) {
      const reader = spool.blocks(fromSeq);
      return {
        async next() {
          const block = await reader.next();
          return block && blockOf(block);
        },
        close: () => reader.close(),
      };
    },
  };
}

const KINDS = {
  [RecordKind.OPEN]: 'open',
  [RecordKind.FRAME]: 'frame',
  [RecordKind.END]: 'end',
} as const;

function blockOf(block: SpoolBlock): LogBlock {
  const { firstSeq, lastSeq, bytes, sessions } = block;
  return { firstSeq, lastSeq, bytes, sessions, records: () => recordsOf(block) };
}

function* recordsOf(block: SpoolBlock): Generator<LogRecord> {
  for (const { seq, kind, session, data } of block.records()) {
    if (session) yield { seq, kind: KINDS[kind], session, data };
  }
}
