import { constants } from 'node:fs';
import { access, type FileHandle, mkdir, open, readlink, stat } from 'node:fs/promises';
import { constants as osConstants } from 'node:os';
import { dirname } from 'node:path';

/** Whether something stands at `path`. */
export async function exists(path: string): Promise<boolean> {
  try {
    await access(path, constants.F_OK);
    return true;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false;
    throw error;
  }
}

export function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && (error as NodeJS.ErrnoException).code === code;
}

/** Puts a directory's entries on the disk. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Puts a directory's entries on the disk, and those of all above it, up to `root`'s own name: where the
 * directory that has that may not be read, it is its owner's to force.
 */
export async function syncDirectories(path: string, root: string): Promise<void> {
  for (let at = path; at.length >= root.length; at = dirname(at)) {
    await syncDirectory(at);
    if (at === dirname(at)) return;
  }
  await syncDirectory(dirname(root)).catch((error: unknown) => {
    if (!hasCode(error, 'EACCES')) throw error;
  });
}

/**
 * The sink's directory and those below. One that was removed is made again. One that was moved
 * away is waited for: what was stored in it is not gone, and its files are still being written.
 */
export class Directories {
  readonly #root: string;
  readonly #sync: boolean;
  #handle: FileHandle | undefined;
  #opening: Promise<void> | undefined;

  /** @param sync whether a new directory is put on the disk */
  constructor(root: string, sync: boolean) {
    this.#root = root;
    this.#sync = sync;
  }

  /** Puts the names of `path` and of all above it on the disk, up to the root's. */
  force(path: string): Promise<void> {
    return syncDirectories(path, this.#root);
  }

  /** Makes `path`, at or below the root, with all above it. */
  async make(path: string): Promise<void> {
    await this.assertNotMoved();
    const first = await mkdir(path, { recursive: true });
    if (this.#sync && first !== undefined) {
      for (let above = dirname(path); above.length >= dirname(first).length; ) {
        await syncDirectory(above);
        if (above === dirname(above)) break;
        above = dirname(above);
      }
    }
    await this.watch();
  }

  /** Holds on to the root, once it is there, so that its removal can be told from its moving. */
  async watch(): Promise<void> {
    this.#opening ??= this.#open().finally(() => {
      this.#opening = undefined;
    });
    await this.#opening;
  }

  async #open(): Promise<void> {
    if (this.#handle !== undefined) return;
    try {
      this.#handle = await open(this.#root, constants.O_RDONLY | constants.O_DIRECTORY);
    } catch (error) {
      if (!hasCode(error, 'ENOENT')) throw error;
    }
  }

  /** Rejects with an ENOENT of its own when the root was moved away. */
  async assertNotMoved(): Promise<void> {
    const held = await this.#handle?.stat();
    if (held === undefined) return;
    const found = await stat(this.#root).catch((error: unknown) => {
      if (hasCode(error, 'ENOENT')) return undefined;
      throw error;
    });
    if (found?.ino === held.ino && found.dev === held.dev) return;
    if (found === undefined && held.nlink > 0 && !(await this.#isRemoved())) {
      const error: NodeJS.ErrnoException = new Error(
        `the directory ${this.#root} was moved away; move it back, or restart the gateway`,
      );
      throw Object.assign(error, { code: 'ENOENT', errno: -osConstants.errno.ENOENT });
    }
    await this.close();
  }

  /** Some file systems count no links of directories; Linux tells it in the descriptor's name. */
  async #isRemoved(): Promise<boolean> {
    const name = await readlink(`/proc/self/fd/${this.#handle?.fd}`).catch(() => '');
    return name.endsWith(' (deleted)');
  }

  async close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    await handle?.close();
  }
}
