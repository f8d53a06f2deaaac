import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { open, type RootDatabase, type RootDatabaseOptions } from 'lmdb';
import { checkSpace } from './disk-space.js';

const DIRECTORY_MODE = 0o700;
const FILE_MODE = 0o600;

/** The first meta page's `mm_magic` (liblmdb/mdb.c), in the byte order of the machine. */
const MAGIC_OFFSET = 24;
const MAGIC = 0xbeefc0de;

export interface EnvironmentOptions {
  readOnly: boolean;
  /** The number under the key `format` that this release reads. */
  format: number;
  /** Address space, not memory or disk. Large from the start: growing it means mapping it anew. */
  mapBytes: number;
  readersMax?: number;
  /**
   * A commit's return promises that it outlives the process; the disk has it soon after. After a
   * power failure the last ones may be missing. Default: it promises the disk.
   */
  isLateToDisk?: boolean;
}

/** An LMDB environment with one database, of which this program is the only user. */
export type Environment = RootDatabase<unknown, string>;

/** Whether a writer has made an environment there. */
export function hasEnvironment(directory: string): boolean {
  return existsSync(join(directory, 'data.mdb'));
}

/**
 * Opens the environment in a directory; a writer creates what is missing, for its user alone.
 * @throws Error telling why it can't be opened
 */
export function openEnvironment(directory: string, options: EnvironmentOptions): Environment {
  const { readOnly, format, mapBytes, readersMax, isLateToDisk = false } = options;
  // `permissionsMode` is lmdb's own option; its type declarations miss it.
  const settings: RootDatabaseOptions & { path: string; permissionsMode: number } = {
    path: directory,
    noSubdir: false,
    permissionsMode: FILE_MODE,
    readOnly,
    ...(readersMax === undefined ? {} : { maxReaders: readersMax }),
    mapSize: mapBytes,
    overlappingSync: isLateToDisk,
  };
  if (!readOnly) {
    mkdirSync(directory, { recursive: true, mode: DIRECTORY_MODE });
    chmodSync(directory, DIRECTORY_MODE);
  }
  if (hasEnvironment(directory)) checkMagic(join(directory, 'data.mdb'));
  else checkSpace(directory);
  const db = open<unknown, string>(settings);
  try {
    const found = db.get('format');
    if (found !== undefined && found !== format) {
      throw new Error(`its format is ${found}, made by another release; this one reads ${format}`);
    }
    if (found === undefined && !readOnly) {
      db.putSync('format', format);
      if (!isLateToDisk) forceName(directory);
    }
    return db;
  } catch (error) {
    void db.close();
    throw error;
  }
}

/** What is committed promises the disk: so does the file's name. */
function forceName(directory: string): void {
  for (const at of [directory, dirname(directory)]) {
    const descriptor = openSync(at, 'r');
    try {
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
  }
}

/** lmdb-js crashes the process on a data file that is none; a new one may be empty. */
function checkMagic(file: string): void {
  const head = Buffer.alloc(MAGIC_OFFSET + 4);
  const descriptor = openSync(file, 'r');
  try {
    const size = readSync(descriptor, head, 0, head.length, 0);
    if (size > 0 && head.readUInt32LE(MAGIC_OFFSET) !== MAGIC) {
      throw new Error('data.mdb is damaged: restore it from a backup, or move it away');
    }
  } finally {
    closeSync(descriptor);
  }
}
