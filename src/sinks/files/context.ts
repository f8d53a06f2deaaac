import type { SinkHost } from '../sink.js';
import type { Clock } from './clock.js';
import type { Directories } from './directories.js';
import type { FdCache } from './fd-cache.js';
import type { Limiter } from './limiter.js';
import type { Compression } from './names.js';
import type { Outage } from './outage.js';
import type { PartFile } from './part-file.js';
import type { BlockPool } from './pool.js';
import type { FileStream } from './stream.js';
import type { DueList } from './sweep.js';

export interface FilesSinkOptions {
  /** Directory below which the files are stored. */
  dir: string;
  /** Age at which a file is finished and the next begun, seconds. */
  rotateSeconds: number;
  /** Payload bytes at which a file is finished and the next begun. */
  rotateBytes: number;
  compress: Compression;
  /** When written data is forced to the disk. */
  fsync: 'never' | 'interval' | 'always';
  /** With `interval`: how often, ms. */
  fsyncIntervalMs: number;
  /** Longest time that taken data waits for a full block before it is written, ms. */
  flushMs: number;
}

/** What has happened, since the sink began. */
export interface FilesStats {
  filesFinished: number;
  /** Bytes written to files, preambles included, as they lie on the disk. */
  bytesWritten: number;
  /** How many of them were written directly, past the page cache. */
  bytesDirect: number;
  /** Streams of which something is kept as raw. */
  rawStreams: number;
  /** Files that were gone before they were finished. */
  filesVanished: number;
}

/** What a file keeps to from its beginning to its end. */
export interface FilesSettings {
  readonly options: FilesSinkOptions;
  readonly directories: Directories;
}

/** What the streams of one sink share. */
export interface FilesContext {
  readonly name: string;
  /** For files that are begun from now on. */
  settings: FilesSettings;
  readonly host: SinkHost;
  readonly clock: Clock;
  readonly pool: BlockPool;
  readonly outage: Outage;
  readonly fds: FdCache;
  /** Compressions under way at once. */
  readonly compressing: Limiter;
  /** Files of which a damaged end is being moved: one at a time, for it is read into memory. */
  readonly splitting: Limiter;
  readonly stats: FilesStats;
  /** Streams with data that waits for a full block. */
  readonly unflushed: DueList<FileStream>;
  /** Streams with a file open. */
  readonly aging: DueList<FileStream>;
  /** Files with data not forced to the disk, under fsync `interval`. */
  readonly unsynced: DueList<PartFile>;
  /** Whether the sink takes more; false: not before it has called `host.drain()`. */
  accepts(): boolean;
  /** Called after memory was given back. */
  freed(): void;
}
