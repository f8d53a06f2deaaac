import { fstatSync } from 'node:fs';
import { copyFile, type FileHandle, open, rename, stat, unlink } from 'node:fs/promises';
import { constants as osConstants } from 'node:os';
import { dirname, join } from 'node:path';
import { writeAgain } from '../../storage/write-again.js';
import type { FileRecord, SinkSession } from '../sink.js';
import type { FilesContext, FilesSinkOptions } from './context.js';
import { DIRECT_ALIGNMENT_BYTES, nextStep } from './direct.js';
import { type Directories, exists, hasCode, syncDirectory } from './directories.js';
import type { OpenFile } from './fd-cache.js';
import { type Compression, fullExtension, numbered, PART_SUFFIX, placeOf } from './names.js';

/** Files of one sensor, type and second. */
const NUMBER_MAX = 1_000_000;
const META_EXT = 'json';

/** What a file rejects with that was removed while it was written. */
export class Vanished extends Error {}

/** Frames and payload bytes of a session that its sink has delivered. */
export interface Tally {
  frames: number;
  bytes: number;
}

/** Who has a session's files made, one after the other. */
export interface FileOwner {
  /** The session's last directory, known to be there, and the number to try next in it. */
  readonly next: { directory: string; base: string; number: number };
  /** The meta header stands beside the file that is being made. */
  metaStored(): void;
  /** Time to force the file's data to the disk. */
  requestSync(file: PartFile): void;
}

/** Data on its way to a file; an attempt that fails leaves in `written` how far it came. */
export interface Chunk {
  written: number;
}

/**
 * One file of a session: made as `.part` when its first data is written, renamed when it is
 * finished. Every step can be repeated after an error and goes on where it was. One runs at a
 * time.
 */
export class PartFile {
  /** Of the `.part` file; empty until it is made. */
  path = '';
  /** Bytes of the file that have been written, as they lie on the disk. */
  diskBytes = 0;
  /** The same before compression. */
  plainBytes = 0;
  /** Those that are repeated from an earlier file. */
  preambleBytes = 0;
  /** A frame of the compressed file that begins at or before its last whole record. */
  mark = { plain: 0, disk: 0 };
  record: FileRecord | undefined;
  /** It was removed while it was written; what followed is kept as raw. */
  vanished = false;
  readonly #context: FilesContext;
  /** As they were when it was begun: a reload holds for the next file. */
  readonly #options: FilesSinkOptions;
  readonly #directories: Directories;
  readonly #session: SinkSession;
  readonly #owner: FileOwner;
  #ext: string;
  #openedAt: number;
  #directory = '';
  #finalPath = '';
  #isDirty = false;
  /** Of them, what was forced to the disk; and whether the last attempt failed. */
  #forcedBytes = 0;
  #isDoubtful = false;
  /** Its directory is on the disk since it was made. */
  #isNameForced = false;
  /** Its last step is still to be done: its directory is to be put on the disk. */
  #isRenamed = false;
  /** The number under which the meta header's file stands; −1: it does not. */
  #metaNumber = -1;

  /** Files made in vain that could not be removed then. */
  readonly #strays: { path: string; dev: number; ino: number }[] = [];

  /** @param ext without what compression adds */
  constructor(context: FilesContext, session: SinkSession, owner: FileOwner, ext: string) {
    this.#context = context;
    this.#options = context.settings.options;
    this.#directories = context.settings.directories;
    this.#session = session;
    this.#owner = owner;
    this.#ext = ext;
    this.#openedAt = context.clock.now();
  }

  get compress(): Compression {
    return this.#options.compress;
  }

  requestSync(): void {
    this.#owner.requestSync(this);
  }

  /**
   * Makes the file unless it is there, with its meta header beside it.
   * @param before what was delivered before this file; read once the meta header is stored
   */
  async create(before: Tally): Promise<void> {
    if (this.record !== undefined) return;
    await this.#inDirectory(async (directory, base) => {
      const { next } = this.#owner;
      const first = next.base === base ? next.number : 0;
      const number = await this.#firstFree(Math.max(first, this.#metaNumber), async (number) => {
        const stem = join(directory, numbered(base, number));
        if (!(await this.#createMeta(stem, number, before))) return false;
        if (await this.#createPart(stem, before)) return true;
        await this.#removeMeta(stem);
        return false;
      });
      next.base = base;
      next.number = number + 1;
    });
  }

  /**
   * Stores the meta header alone, for a session that ended without payload.
   * @param before what was delivered before it
   */
  async createMeta(before: Tally): Promise<void> {
    await this.#inDirectory(async (directory, base) => {
      await this.#firstFree(0, (number) =>
        this.#createMeta(join(directory, numbered(base, number)), number, before),
      );
      if (this.#isLinked) await this.#directories.force(directory);
      else if (this.#options.fsync === 'always') await syncDirectory(directory);
    });
  }

  /** It serves a gateway link, which acknowledges what is on the disk. */
  get #isLinked(): boolean {
    return this.#session.resume !== undefined;
  }

  /** Writes `data`, from `chunk.written` on, behind what has been written. */
  async append(data: Uint8Array, chunk: Chunk): Promise<void> {
    await this.#use(async (file) => {
      const { handle } = file;
      await this.#write(file, data, chunk);
      if (fstatSync(handle.fd).nlink === 0) throw new Vanished();
      if (this.#options.fsync !== 'always') return;
      await handle.datasync().catch((error: unknown) => {
        chunk.written = 0; // the kernel may have dropped what it failed to write
        throw error;
      });
    });
    this.diskBytes += data.length;
    this.#context.stats.bytesWritten += data.length;
    if (this.#options.fsync !== 'interval') return;
    this.#isDirty = true;
    this.#context.unsynced.add(this);
  }

  /** Forces what was written to the disk. */
  async sync(): Promise<void> {
    if (!this.#isDirty) return;
    this.#context.unsynced.delete(this);
    await this.#datasync();
    this.#isDirty = false;
  }

  /** Forces what was written to the disk, and the file's name, whatever the sink is told to do. */
  async force(): Promise<void> {
    if (this.record === undefined) return;
    this.#context.unsynced.delete(this);
    await this.#datasync();
    this.#isDirty = false;
    if (this.#isNameForced) return;
    await this.#directories.force(this.#directory);
    this.#isNameForced = true;
  }

  /** What could not be forced the kernel takes for written: then it is written again before. */
  async #datasync(): Promise<void> {
    await this.#use(async ({ handle }) => {
      const bytes = this.diskBytes;
      if (this.#isDoubtful) await writeAgain(handle, this.path, this.#forcedBytes, bytes);
      this.#isDoubtful = true;
      await handle.datasync();
      this.#isDoubtful = false;
      this.#forcedBytes = bytes;
    });
  }

  /** Runs `task` on the open file, for what is no appending. */
  async use<T>(task: (handle: FileHandle) => Promise<T>): Promise<T> {
    this.#isDirty = this.#options.fsync !== 'never';
    this.#forcedBytes = 0;
    return await this.#use(({ handle }) => task(handle));
  }

  /** Gives the file its final name, or removes it where it holds nothing of the session. */
  async finish(): Promise<void> {
    if (this.record === undefined) return;
    // Gone at the first look, its directory may have been away for that moment.
    for (let isAgain = false; ; isAgain = true) {
      try {
        if (this.plainBytes <= this.preambleBytes) await this.#remove();
        else await this.#rename();
        break;
      } catch (error) {
        if (!hasCode(error, 'ENOENT') && !(error instanceof Vanished)) throw error;
        await this.#directories.assertNotMoved();
        if (isAgain) {
          this.#lost();
          break;
        }
      }
    }
    await this.#forget();
  }

  /** Begins again, after the file was removed: what follows is kept as raw, in a new file. */
  async restart(ext: string): Promise<void> {
    this.#lost();
    await this.#forget();
    this.vanished = true;
    this.path = '';
    this.diskBytes = 0;
    this.plainBytes = 0;
    this.preambleBytes = 0;
    this.mark = { plain: 0, disk: 0 };
    this.#ext = ext;
    this.#openedAt = this.#context.clock.now();
    this.#metaNumber = -1;
    this.#isNameForced = false;
  }

  async #forget(): Promise<void> {
    this.#isDirty = false;
    this.#context.unsynced.delete(this);
    await this.#context.fds.close(this);
    this.record?.release();
    this.record = undefined;
  }

  #lost(): void {
    this.#context.stats.filesVanished += 1;
    const path = this.path;
    this.#context.host.log.error({ path }, 'a file was removed before it was finished');
  }

  /** Runs `task` in the file's directory, which it makes where it is missing. */
  async #inDirectory(task: (directory: string, base: string) => Promise<void>): Promise<void> {
    const options = this.#options;
    const directories = this.#directories;
    const { directory, base } = placeOf(options.dir, this.#session, this.#openedAt);
    const { next } = this.#owner;
    this.#directory = directory;
    for (let isAgain = false; ; isAgain = true) {
      if (next.directory !== directory) await directories.make(directory);
      next.directory = directory;
      try {
        await task(directory, base);
        await this.#removeStrays();
        return;
      } catch (error) {
        if (!hasCode(error, 'ENOENT')) throw error;
        next.directory = '';
        if (isAgain) throw error;
      }
    }
  }

  async #firstFree(from: number, take: (number: number) => Promise<boolean>): Promise<number> {
    for (let number = from; number < NUMBER_MAX; number += 1) {
      if (await take(number)) return number;
    }
    throw refusal('EEXIST', `no free name in ${this.#directory}`);
  }

  /**
   * Creates the `.part` file; false where the name is taken. Who creates a name's `.part` file
   * alone may give the name to a file, so once the final name is seen to be free it stays free.
   */
  async #createPart(stem: string, before: Tally): Promise<boolean> {
    const { host, name, fds } = this.#context;
    const options = this.#options;
    const finalPath = `${stem}.${fullExtension(this.#ext, options.compress)}`;
    const path = finalPath + PART_SUFFIX;
    // Not even for a moment may the journal name a file that another process is writing.
    if (await exists(path)) return false;
    const record = host.journal.open({
      sink: name,
      path,
      session: this.#session,
      framesBefore: before.frames,
      bytesBefore: before.bytes,
    });
    let handle: FileHandle | undefined;
    try {
      handle = await open(path, 'wx+');
      if (await exists(finalPath)) throw refusal('EEXIST', `${finalPath} exists`);
      if (options.fsync === 'always') await syncDirectory(this.#directory);
    } catch (error) {
      if (handle !== undefined) await this.#discard(handle, path);
      await handle?.close();
      record.release();
      if (hasCode(error, 'EEXIST')) return false;
      throw error;
    }
    this.path = path;
    this.#finalPath = finalPath;
    this.record = record;
    await fds.adopt(this, handle);
    return true;
  }

  /**
   * Stores the meta header, if there is one, as `<stem>.json`; false where the name is taken. It is
   * journaled as a file of its own: killed before its stream's first file, it is counted for itself.
   */
  async #createMeta(stem: string, number: number, before: Tally): Promise<boolean> {
    const { host, name } = this.#context;
    const options = this.#options;
    const meta = this.#session.meta;
    if (meta === undefined || this.#metaNumber === number) return true;
    const path = `${stem}.${META_EXT}`;
    const part = path + PART_SUFFIX;
    if ((await exists(path)) || (await exists(part))) return false;
    const record = host.journal.open({
      sink: name,
      path: part,
      session: this.#session,
      framesBefore: before.frames,
      bytesBefore: before.bytes,
    });
    let handle: FileHandle | undefined;
    try {
      handle = await open(part, 'wx');
      if (await exists(path)) throw refusal('EEXIST', `${path} exists`);
      await writeAll(handle, meta.bytes, { written: 0 }, 0);
      if (options.fsync !== 'never' || this.#isLinked) await handle.datasync();
      await rename(part, path);
      this.#metaNumber = number;
      this.#owner.metaStored();
    } catch (error) {
      if (handle !== undefined) await this.#discard(handle, part);
      if (hasCode(error, 'EEXIST')) return false;
      throw error;
    } finally {
      await handle?.close();
      record.release();
    }
    return true;
  }

  /**
   * Removes a file that was made in vain. Where its directory is away at the moment, it is removed
   * when the file that takes its place is made.
   */
  async #discard(handle: FileHandle, path: string): Promise<void> {
    try {
      await unlink(path);
    } catch {
      const { dev, ino } = fstatSync(handle.fd);
      this.#strays.push({ path, dev, ino });
    }
  }

  async #removeStrays(): Promise<void> {
    for (const { path, dev, ino } of this.#strays.splice(0)) {
      const found = await stat(path).catch(() => undefined);
      if (found?.dev === dev && found.ino === ino) await unlink(path).catch(() => {});
    }
  }

  async #removeMeta(stem: string): Promise<void> {
    if (this.#metaNumber < 0) return;
    await unlink(`${stem}.${META_EXT}`);
    this.#metaNumber = -1;
  }

  async #use<T>(task: (file: OpenFile) => Promise<T>): Promise<T> {
    const { fds } = this.#context;
    const directories = this.#directories;
    for (let isAgain = false; ; isAgain = true) {
      let opened = false;
      try {
        return await fds.use(this, (file) => {
          opened = true;
          return task(file);
        });
      } catch (error) {
        if (opened || !hasCode(error, 'ENOENT')) throw error;
        await directories.assertNotMoved();
        // It may have been moved back between the two looks.
        if (isAgain) throw new Vanished();
      }
    }
  }

  /** Writes directly what lies in the worker's memory as it is to lie in the file's pages. */
  async #write(file: OpenFile, data: Uint8Array, chunk: Chunk): Promise<void> {
    const { host, stats } = this.#context;
    const isShared = data.buffer === host.memory.buffer;
    const isAligned = (data.byteOffset - this.diskBytes) % DIRECT_ALIGNMENT_BYTES === 0;
    while (isShared && isAligned && chunk.written < data.length) {
      const from = chunk.written;
      const step = nextStep(this.diskBytes + from, data.length - from);
      const direct = step.isDirect ? await file.direct() : undefined;
      if (step.isDirect && direct === undefined) break;
      const before = chunk.written;
      try {
        const part = data.subarray(0, from + step.length);
        await writeAll(direct ?? file.handle, part, chunk, this.diskBytes, direct !== undefined);
      } catch (error) {
        if (direct === undefined || !(await file.isRefusal(error))) throw error;
      } finally {
        if (direct !== undefined) stats.bytesDirect += chunk.written - before;
      }
    }
    await writeAll(file.handle, data, chunk, this.diskBytes);
  }

  async #rename(): Promise<void> {
    const { fsync } = this.#options;
    const isForced = fsync === 'always' || this.#isLinked;
    await (isForced ? this.force() : this.sync());
    await this.#context.fds.close(this);
    let target = this.#finalPath;
    // Nobody else gives this name; a file that some other program put there is left alone.
    for (let number = 1; !this.#isRenamed && (await exists(target)); number += 1) {
      target = beside(this.#finalPath, number);
    }
    if (!this.#isRenamed) {
      if (target !== this.#finalPath) await copyMeta(this.#finalPath, target);
      await rename(this.path, target);
      this.#isRenamed = true;
      this.#context.stats.filesFinished += 1;
    }
    if (isForced) await syncDirectory(this.#directory);
  }

  async #remove(): Promise<void> {
    await unlink(this.path).catch(async (error: unknown) => {
      if (!hasCode(error, 'ENOENT')) throw error;
      await this.#directories.assertNotMoved();
    });
    const stem = join(this.#directory, stemOf(this.#finalPath));
    await this.#removeMeta(stem);
  }
}

/** `<stem>-N.<ext>` beside `<stem>.<ext>`. */
export function beside(path: string, number: number): string {
  const stem = join(dirname(path), stemOf(path));
  return `${stem}-${number}${path.slice(stem.length)}`;
}

/** The file's name up to its extensions, without its directory. */
function stemOf(path: string): string {
  const name = path.slice(dirname(path).length + 1);
  return name.slice(0, name.indexOf('.'));
}

/** Keeps the meta header beside a file that had to take another name. */
export async function copyMeta(from: string, to: string): Promise<void> {
  const source = join(dirname(from), `${stemOf(from)}.${META_EXT}`);
  const target = join(dirname(to), `${stemOf(to)}.${META_EXT}`);
  if (await exists(source)) await copyFile(source, target);
}

/**
 * Writes `data` at `position`, from `chunk.written` on; keeps in it how far it came.
 * @param isOnce one write, which may come less far
 */
export async function writeAll(
  handle: FileHandle,
  data: Uint8Array,
  chunk: Chunk,
  position: number,
  isOnce = false,
): Promise<void> {
  while (chunk.written < data.length) {
    const from = chunk.written;
    const { bytesWritten } = await handle.write(data, from, data.length - from, position + from);
    if (bytesWritten === 0) throw refusal('ENOSPC', 'nothing could be written');
    chunk.written += bytesWritten;
    if (isOnce) return;
  }
}

function refusal(code: 'EEXIST' | 'ENOSPC', message: string): NodeJS.ErrnoException {
  const errno = -osConstants.errno[code];
  return Object.assign(new Error(`${code}: ${message}`), { code, errno });
}
