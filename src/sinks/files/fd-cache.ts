import { readFileSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';

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
  users: number;
}

/**
 * At most `max` files stay open, and those in use; the least recently used is the first to be
 * closed. So ten thousand sensors that trickle have a file each, and not a descriptor each. Of one
 * file only one operation runs at a time.
 */
export class FdCache {
  readonly #entries = new Map<Reopenable, Entry>();
  readonly #max: number;

  constructor(max = openFilesMax()) {
    this.#max = max;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Takes a file that was just created. */
  async adopt(file: Reopenable, handle: FileHandle): Promise<void> {
    this.#entries.set(file, { handle, users: 0 });
    await this.#evict();
  }

  /** Runs `task` with the file open; rejects as `open` does when it is gone. */
  async use<T>(file: Reopenable, task: (handle: FileHandle) => Promise<T>): Promise<T> {
    let entry = this.#entries.get(file);
    if (entry === undefined) {
      entry = { handle: await open(file.path, 'r+'), users: 0 };
      this.#entries.set(file, entry);
    }
    entry.users += 1;
    try {
      return await task(entry.handle);
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
    await entry.handle.close().catch(() => {});
  }

  async closeAll(): Promise<void> {
    await Promise.all([...this.#entries.keys()].map((file) => this.close(file)));
  }

  async #evict(): Promise<void> {
    for (const [file, entry] of this.#entries) {
      if (this.#entries.size <= this.#max) return;
      if (entry.users === 0) await this.close(file);
    }
  }
}
