import { readFileSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import type { DirectAccess } from './direct.js';

const OPEN_FILES_MAX = 4096;
/** Share of the process's limit: sockets need most of the rest. */
const LIMIT_SHARE = 1 / 4;
/** What is assumed where the limit can't be read. */
const LIMIT_DEFAULT = 1024;

/** How many files this process may hold open for its sinks. */
export function openFilesMax(): number {
  let limit = LIMIT_DEFAULT;
  try {
    const match = /^Max open files\s+(\d+|unlimited)/m.exec(
      readFileSync('/proc/self/limits', 'utf8'),
    );
    if (match !== null) limit = Number(match[1]); // NaN: unlimited
  } catch {
    // no /proc
  }
  const share = Math.floor(limit * LIMIT_SHARE);
  return share < OPEN_FILES_MAX ? Math.max(1, share) : OPEN_FILES_MAX;
}

/** A file that may be closed while nobody uses it, and be opened again by its path. */
export interface Reopenable {
  readonly path: string;
}

interface Entry {
  handle: FileHandle;
  /** A second handle on the same file; opened when it is first asked for. */
  direct: FileHandle | undefined;
  users: number;
}

/** A file while it is used. */
export interface OpenFile {
  readonly handle: FileHandle;
  /** The handle for direct writes; undefined where the file is written buffered. */
  direct(): Promise<FileHandle | undefined>;
  /** Whether a direct write failed because its file system takes none: it is then buffered. */
  isRefusal(error: unknown): Promise<boolean>;
}

/**
 * At most `max` handles stay open, and those in use; the least recently used is the first to be
 * closed. So ten thousand sensors that trickle have a file each, and not a descriptor each. Of one
 * file only one operation runs at a time.
 */
export class FdCache {
  readonly #entries = new Map<Reopenable, Entry>();
  readonly #access: DirectAccess;
  readonly #max: number;
  #directs = 0;

  constructor(access: DirectAccess, max = openFilesMax()) {
    this.#access = access;
    this.#max = max;
  }

  /** Handles that are open. */
  get size(): number {
    return this.#entries.size + this.#directs;
  }

  /** Takes a file that was just created. */
  async adopt(file: Reopenable, handle: FileHandle): Promise<void> {
    this.#entries.set(file, { handle, direct: undefined, users: 0 });
    await this.#evict();
  }

  /** Runs `task` with the file open; rejects as `open` does when it is gone. */
  async use<T>(file: Reopenable, task: (open: OpenFile) => Promise<T>): Promise<T> {
    let entry = this.#entries.get(file);
    if (entry === undefined) {
      entry = { handle: await open(file.path, 'r+'), direct: undefined, users: 0 };
      this.#entries.set(file, entry);
    }
    entry.users += 1;
    try {
      return await task(this.#opened(entry));
    } finally {
      entry.users -= 1;
      if (this.#entries.get(file) === entry) {
        this.#entries.delete(file);
        this.#entries.set(file, entry);
      }
      await this.#evict();
    }
  }

  /** Closes the file if it is open. */
  async close(file: Reopenable): Promise<void> {
    const entry = this.#entries.get(file);
    if (entry === undefined) return;
    this.#entries.delete(file);
    await this.#closeDirect(entry);
    await entry.handle.close().catch(() => {});
  }

  async closeAll(): Promise<void> {
    await Promise.all([...this.#entries.keys()].map((file) => this.close(file)));
  }

  #opened(entry: Entry): OpenFile {
    const access = this.#access;
    return {
      handle: entry.handle,
      direct: async () => {
        if (entry.direct === undefined) {
          entry.direct = await access.open(entry.handle);
          if (entry.direct !== undefined) this.#directs += 1;
        }
        return entry.direct;
      },
      isRefusal: async (error) => {
        const isRefusal = await access.noteRefusal(entry.handle, error);
        if (isRefusal) await this.#closeDirect(entry);
        return isRefusal;
      },
    };
  }

  async #closeDirect(entry: Entry): Promise<void> {
    const { direct } = entry;
    if (direct === undefined) return;
    entry.direct = undefined;
    this.#directs -= 1;
    await direct.close().catch(() => {});
  }

  async #evict(): Promise<void> {
    for (const [file, entry] of this.#entries) {
      if (this.size <= this.#max) return;
      if (entry.users === 0) await this.close(file);
    }
  }
}
