import type { Logger } from 'pino';
import type { SinkConfig } from '../config/schema.js';

/**
 * The contract between the data path and every sink.
 *
 * A sink takes frames, it does not finish them: `write` copies what it keeps before it returns,
 * for the frame's memory is released after the batch. Backpressure is the only flow control: a
 * `write` that returns false has still taken its frame, and asks for no more. The data path then
 * pauses the sockets of every session routed to that sink, until the sink calls `host.drain()`.
 * Between the two, the frames already in the ring still come, and must be taken: at most the
 * ring's size. Each frame is taken in the order in which its session received it.
 */
export interface Sink {
  readonly name: string;
  readonly kind: string;
  /** Makes ready what takes time; nothing is opened before it resolves. */
  start?(): Promise<void>;
  /**
   * Why a stream is not for this sink, though its route says so: it is then as if it did not. Asked
   * once a session, before it is opened.
   * @param frame its first, where it has one
   */
  declines?(session: SinkSession, frame?: FrameRef): string | undefined;
  /** Begins one session's stream. Must not throw for what the outside world does. */
  open(session: SinkSession): SinkStream;
  /**
   * Ends what is still open; resolves when all that was taken is delivered, or is given up at the
   * deadline. Every `end()` resolves then.
   */
  close(deadlineMs?: number): Promise<void>;
  /**
   * Goes on under another configuration of its kind, with `host.poolBytes` as it is now: nothing that
   * was taken is lost, and no stream ends. Without it, its configuration is as it was made.
   */
  reconfigure?(config: SinkConfig): Promise<void> | void;
  /** How it is, for the control plane: asked once a second, so it must cost nothing. */
  status?(): SinkStatus;
}

/** How a sink of one worker is. A sink without anything to tell is `ok`. */
export interface SinkStatus {
  /** `failing`: it can deliver nothing now, and goes on trying. */
  state: 'ok' | 'failing';
  /** It takes frames, though it fails, and keeps them until it does not. */
  isKeeping?: boolean | undefined;
  /** Ms since the epoch. */
  lastError?: { text: string; at: number } | undefined;
  /** What waits on disk to be delivered. */
  spool?: { bytes: number; maxBytes: number } | undefined;
  /** Age of the oldest frame that it holds and has not delivered, where it knows. */
  lagSeconds?: number | undefined;
  /** By reason: what it was told to drop, since the worker began. */
  dropped?: Record<string, { frames: number; bytes: number }> | undefined;
  /** Figures of its kind, such as `openFiles`. */
  figures?: Record<string, number> | undefined;
}

export interface SinkStream {
  /** Takes one verified frame; false asks for no more until `host.drain()`. */
  write(frame: FrameRef): boolean;
  /**
   * No frame follows. Resolves when all that was taken has been delivered (counted through
   * `host.delivered`); rejects only for a programmer's error.
   * @param how why the session ended; as a peer's close where left out
   */
  end(how?: SessionEnd): Promise<void>;
  /**
   * Of a session of a gateway link: resolves when all that was taken so far is on disk, but for what
   * it returns, which waits in memory for the rest of its record. Without it, `write` is enough.
   */
  sync?(): Promise<Rest | undefined>;
  /**
   * No frame follows here, but the stream will go on in another session: as `end`, but the record
   * under way is given to `SinkResume.keep` and left out. Without it, `end` is called.
   */
  suspend?(how?: SessionEnd): Promise<void>;
}

/** The end of what a stream took: the start of a record that it can't store yet. */
export interface Rest {
  /** Bytes of the session that the sink had delivered before it. */
  readonly at: number;
  /** Frames that end in it. */
  readonly frames: number;
  readonly bytes: Uint8Array;
  /** How many of the first of these bytes an earlier session brought, which counted them. */
  readonly known: number;
}

/** The end of a sink's file that was cut off, so that the next file can begin with it. */
export interface StreamPart {
  /** Bytes of the session that the sink had delivered with it, `rest` not included. */
  readonly at: number;
  /** What a file must begin with that goes on at a record's start. */
  readonly preamble: Uint8Array;
  /** The bytes of the record under way. */
  readonly tail: Uint8Array;
  /** The stream parses no more: it goes on as raw. */
  readonly raw: boolean;
  /** What follows `tail`, and was never in a file. */
  readonly rest?: Rest;
}

/** What is left of it once it is known to be held. */
export type CarriedPart = Pick<StreamPart, 'preamble' | 'tail' | 'raw'>;

/** How one sink goes on with a stream that another session began. */
export interface SinkResume {
  /** What its first file begins with: held already, and not counted again. */
  readonly part: CarriedPart | undefined;
  /** The stream began in an earlier session, which counted its meta header. */
  readonly continues: boolean;
  /** What of this session's frames the sink holds, and is not given: its count begins there. */
  readonly before: { readonly frames: number; readonly bytes: number };
  /** Keeps the end of a file; on disk when it resolves. */
  keep(part: StreamPart): Promise<void>;
}

export interface SessionEnd {
  /** By name: see `wire/reject.ts`. */
  readonly code: string;
  readonly detail: string;
}

/** One verified frame in the worker's memory; valid during the call alone. Addresses in bytes. */
export interface FrameRef {
  /** Where it lies, if not in the worker's memory. */
  memory?: Uint8Array;
  /** Address of the 62-byte header. */
  header: number;
  /** Address of the payload. */
  payload: number;
  /** Payload bytes. */
  size: number;
  /** D4 type. A meta header's type 2 frames are not written to streams: see `SinkSession.meta`. */
  type: number;
}

/** What a sink knows of the session that it serves. */
export interface SinkSession {
  /** Unique over all sessions of this gateway. */
  readonly id: string;
  /** Session slot in the worker. */
  readonly slot: number;
  /** The sensor's UUID, lower case with hyphens. */
  readonly sensor: string;
  /** Of its peer, where it is known. */
  readonly address?: string;
  /** The type of the stream's frames; 254 for one that began with a meta header. */
  readonly type: number;
  /** The meta header of a type 254 stream: its `type`, its bytes and its frames as they were sent. */
  readonly meta?: MetaHeader;
  readonly openedAt: Date;
  /** Of a session that came by a gateway link: the gateway that received it from its sensor. */
  readonly origin?: string;
  /** The gateways that it came through, that of the origin first. */
  readonly hops?: readonly string[];
  readonly tags?: readonly string[];
  /** Of a session that serves a gateway link, by sink name. */
  readonly resume?: ReadonlyMap<string, SinkResume>;
}

export interface MetaHeader {
  readonly type: string;
  readonly bytes: Buffer;
  /** How many type 2 frames brought it: delivered by each sink together with its first record. */
  readonly frames: number;
  /** Those frames, headers included, byte for byte; at most `META_HEADER_WIRE_BYTES_MAX` bytes. */
  readonly wire: Buffer;
}

/** What the data path offers a sink. */
export interface SinkHost {
  /** All of the worker's memory. */
  readonly memory: Uint8Array;
  /** Copies `bytes` bytes within `memory`, faster than its own methods do: see `wasm/copy.ts`. */
  copy(target: number, source: number, bytes: number): void;
  readonly log: Logger;
  readonly place: SinkPlace;
  /** Blocks of `memory`, which this worker's sinks share: `poolBytes` of them are this one's. */
  readonly blocks: SinkBlocks;
  readonly poolBytes: number;
  /** Counts frames and payload bytes of a session as delivered by this sink. */
  delivered(session: SinkSession, frames: number, bytes: number): void;
  /** The sink takes again after a `write` that returned false. */
  drain(): void;
  /** The key that a sensor's frames are signed with now; undefined where none is known. */
  keyOf(sensor: string): Buffer | undefined;
  /** A fact for the sensor's record, such as that its stream is kept as raw. */
  note(session: SinkSession, text: string): void;
  /** Journals the files that a sink has open, so that a crash can be reconciled. */
  readonly journal: FileJournal;
}

/** Gives out blocks of 4 KiB times a power of two, each at a multiple of 4 KiB. */
export interface SinkBlocks {
  /** Address of a block of that size; 0 where none is free. */
  allocate(bytes: number): number;
  free(address: number): void;
}

/** Where the gateway is, and which of its workers this is. */
export interface SinkPlace {
  readonly dataDir: string;
  /** The gateway's own id, a UUID. */
  readonly gateway: string;
  /** 0 to workers - 1. */
  readonly worker: number;
  readonly workers: number;
}

/** Implemented by `ledger/journal.ts`. */
export interface FileJournal {
  /**
   * Records a file before it is created. `path` is that of the `.part` file. `framesBefore` and
   * `bytesBefore`: what this sink had delivered of the session before this file.
   */
  open(file: {
    sink: string;
    path: string;
    session: SinkSession;
    framesBefore: number;
    bytesBefore: number;
  }): FileRecord;
}

export interface FileRecord {
  /**
   * Called before a write is issued: what holds once it is done. In the page cache on return, so
   * it outlives the process.
   * @param fileBytes size of the file on disk after the write
   * @param frames frames of the session delivered by this sink after the write, since its opening
   * @param bytes the same in payload bytes; bytes repeated at the start of a cut file (a pcap file
   *   header) are not counted
   */
  intent(fileBytes: number, frames: number, bytes: number): void;
  /** The file stands under its final name, or is gone. */
  release(): void;
}
