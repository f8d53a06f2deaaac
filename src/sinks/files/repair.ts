import { type FileHandle, lstat, open, rename, unlink } from 'node:fs/promises';
import { basename } from 'node:path';
import { GatewayError } from '../../errors.js';
import type { CarriedPart } from '../sink.js';
import { decode, encode } from './compress.js';
import { cutterForExtension } from './cutters/choose.js';
import { type Cutter, RAW_EXT } from './cutters/cutter.js';
import { RawCutter } from './cutters/raw.js';
import { exists, hasCode } from './directories.js';
import { type Compression, fullExtension, PART_SUFFIX, parsePartName } from './names.js';
import { beside, copyMeta, writeAll } from './part-file.js';
import { type StreamVisitor, StreamWalker } from './walker.js';

const META_SUFFIX = `.json${PART_SUFFIX}`;

/** What is left of a `.part` file, and where. */
export interface PartRepair {
  /** The finished file; undefined when nothing of it was worth keeping, and it was removed. */
  path: string | undefined;
  /** Where its end stands when that does not parse: as much evidence as the rest. */
  rawPath: string | undefined;
  /** Bytes that both hold before compression, with those repeated from an earlier file. */
  payloadBytes: number;
  /** Size of the finished file. */
  fileBytes: number;
  /** Bytes before compression of the last, incomplete record, that were cut off. */
  cutBytes: number;
}

/**
 * Keeps the end of a file; on disk when it resolves.
 * @param contentBytes of the file before compression, the end included
 */
export type KeepEnd = (end: CarriedPart, contentBytes: number) => Promise<void>;

const NOTHING: PartRepair = {
  path: undefined,
  rawPath: undefined,
  payloadBytes: 0,
  fileBytes: 0,
  cutBytes: 0,
};

/**
 * Finishes a `.part` file that a dead process left: cuts it to its last whole record and gives it
 * a final name, never that of another file. Memory is bounded by one frame of the file. A repair
 * that was cut short is taken up by the next.
 *
 * @param partPath the `.part` file; where it is gone and a finished one stands in its place, that
 *   is measured and left as it is
 * @param signal gives the repair up: it rejects before its next step
 * @param keep of a stream that goes on in another file: given what that has to begin with, and the
 *   end of the file, before it is cut off
 * @throws GatewayError D4GW_E_SINK for a file that no sink writes, which is left alone; what the
 *   file system throws otherwise
 */
export async function repairPart(
  partPath: string,
  signal?: AbortSignal,
  keep?: KeepEnd,
): Promise<PartRepair> {
  signal?.throwIfAborted();
  const name = basename(partPath);
  if (name.endsWith(META_SUFFIX)) {
    await removeIfThere(partPath);
    return NOTHING;
  }
  const parts = parsePartName(name);
  const cutter = parts && cutterForExtension(parts.ext);
  if (parts === undefined || cutter === undefined) {
    throw new GatewayError('D4GW_E_SINK', `${partPath} is not a file of a files sink: left alone`);
  }
  const finalPath = partPath.slice(0, -PART_SUFFIX.length);
  const isPart = await exists(partPath);
  if (!isPart && !(await exists(finalPath))) return NOTHING;
  const path = isPart ? partPath : finalPath;
  if (!(await lstat(path)).isFile()) {
    throw new GatewayError('D4GW_E_SINK', `${path} is not a regular file: left alone`);
  }
  const handle = await open(path, isPart ? 'r+' : 'r');
  try {
    const survey = new Survey(
      new StreamWalker(
        cutter,
        visitorOf(() => survey),
      ),
    );
    await survey.run(handle, parts.compress, signal);
    if (!isPart) return measured(finalPath, survey, (await handle.stat()).size);
    const { ext, compress } = parts;
    return await new Repair(handle, partPath, ext, compress, survey, signal, keep).run();
  } finally {
    await handle.close();
  }
}

function measured(path: string, survey: Survey, fileBytes: number): PartRepair {
  return { ...NOTHING, path, payloadBytes: survey.plainBytes, fileBytes };
}

/** Where a file's last whole record ends. */
class Survey {
  /** Bytes of all whole frames, before compression. */
  plainBytes = 0;
  /** How many of them are whole records; what follows is damaged, or only incomplete. */
  keptBytes = 0;
  isDamaged = false;
  /** The frame in which the last whole record ends: its place in the file and in the content. */
  readonly last = { disk: 0, plain: 0 };
  /** Where the last whole frame ends in the file. */
  diskBytes = 0;
  readonly #walker: StreamWalker;

  constructor(walker: StreamWalker) {
    this.#walker = walker;
  }

  async run(handle: FileHandle, compress: Compression, signal?: AbortSignal): Promise<void> {
    for await (const frame of decode(handle, compress)) {
      signal?.throwIfAborted();
      this.#walker.feed(frame.plain, 0, frame.plain.length);
      if (!this.isDamaged) this.keptBytes = this.#walker.cutter.boundary;
      if (this.keptBytes >= this.plainBytes) {
        this.last.disk = frame.from;
        this.last.plain = this.plainBytes;
      }
      this.plainBytes += frame.plain.length;
      this.diskBytes = frame.to;
    }
  }

  damaged(at: number): void {
    this.isDamaged = true;
    this.keptBytes = at;
  }

  get position(): number {
    return this.#walker.cutter.position;
  }

  get cutter(): Cutter {
    return this.#walker.cutter;
  }
}

/** Walks to the end without a cut. */
function visitorOf(survey: () => Survey): StreamVisitor {
  let isOpen = false;
  return {
    cutAt: () => (isOpen ? Number.POSITIVE_INFINITY : 0),
    cut: () => {
      isOpen = true;
    },
    append: () => {},
    damaged: (damagedBytes) => survey().damaged(survey().position - damagedBytes),
  };
}

class Repair {
  readonly #handle: FileHandle;
  readonly #partPath: string;
  readonly #ext: string;
  readonly #compress: Compression;
  readonly #survey: Survey;
  readonly #signal: AbortSignal | undefined;
  readonly #keep: KeepEnd | undefined;

  constructor(
    handle: FileHandle,
    partPath: string,
    ext: string,
    compress: Compression,
    survey: Survey,
    signal: AbortSignal | undefined,
    keep: KeepEnd | undefined,
  ) {
    this.#keep = keep;
    this.#handle = handle;
    this.#partPath = partPath;
    this.#ext = ext;
    this.#compress = compress;
    this.#survey = survey;
    this.#signal = signal;
  }

  async run(): Promise<PartRepair> {
    const { plainBytes, keptBytes, isDamaged } = this.#survey;
    this.#signal?.throwIfAborted();
    await this.#keepEnd();
    if (keptBytes === 0) return await this.#withoutRecord();
    const rawPath = isDamaged ? await this.#keepTail() : undefined;
    const fileBytes = await this.#cut();
    const path = await renameFree(this.#partPath, this.#named(this.#ext), this.#signal);
    const payloadBytes = isDamaged ? plainBytes : keptBytes;
    return { path, rawPath, payloadBytes, fileBytes, cutBytes: plainBytes - payloadBytes };
  }

  async #keepEnd(): Promise<void> {
    const { isDamaged, keptBytes, plainBytes, cutter } = this.#survey;
    if (!this.#keep) return;
    const preamble = isDamaged ? undefined : cutter.resume();
    const tail = isDamaged ? new Uint8Array(0) : await this.#read(keptBytes, plainBytes);
    const raw = preamble === undefined || cutter instanceof RawCutter;
    await this.#keep({ preamble: preamble ?? new Uint8Array(0), tail, raw }, plainBytes);
  }

  /** A part of the file's content. */
  async #read(from: number, to: number): Promise<Uint8Array> {
    const { last } = this.#survey;
    const parts: Uint8Array[] = [];
    let plain = this.#compress === 'none' ? from : last.plain;
    const disk = this.#compress === 'none' ? from : last.disk;
    for await (const frame of decode(this.#handle, this.#compress, disk)) {
      if (plain >= to) break;
      const start = Math.max(0, from - plain);
      const end = Math.min(frame.plain.length, to - plain);
      if (start < end) parts.push(Uint8Array.prototype.slice.call(frame.plain, start, end));
      plain += frame.plain.length;
    }
    return Buffer.concat(parts);
  }

  /** What has not one whole record is kept as raw, unless it is empty or goes on elsewhere. */
  async #withoutRecord(): Promise<PartRepair> {
    const { plainBytes, diskBytes, isDamaged } = this.#survey;
    if (plainBytes === 0 || (this.#keep && !isDamaged)) {
      await unlink(this.#partPath);
      return NOTHING;
    }
    await this.#truncate(diskBytes, new Uint8Array(0));
    const path = await renameFree(this.#partPath, this.#named(RAW_EXT), this.#signal);
    return { ...NOTHING, path, payloadBytes: plainBytes, fileBytes: diskBytes };
  }

  /** Cuts the file behind its last whole record; returns its size. */
  async #cut(): Promise<number> {
    const { plainBytes, keptBytes, last, diskBytes } = this.#survey;
    if (keptBytes === plainBytes) return await this.#truncate(diskBytes, new Uint8Array(0));
    if (this.#compress === 'none') return await this.#truncate(keptBytes, new Uint8Array(0));
    // The frame is overwritten before the file is cut: at no moment are its records gone.
    for await (const frame of decode(this.#handle, this.#compress, last.disk)) {
      const head = frame.plain.subarray(0, keptBytes - last.plain);
      const bytes = head.length > 0 ? await encode(head, this.#compress) : head;
      return await this.#truncate(last.disk, bytes);
    }
    return await this.#truncate(last.disk, new Uint8Array(0));
  }

  async #truncate(at: number, bytes: Uint8Array): Promise<number> {
    const size = at + bytes.length;
    this.#signal?.throwIfAborted();
    await writeAll(this.#handle, bytes, { written: 0 }, at);
    if ((await this.#handle.stat()).size !== size) await this.#handle.truncate(size);
    await this.#handle.datasync();
    return size;
  }

  /** Copies what does not parse to a `raw` file beside this one. */
  async #keepTail(): Promise<string> {
    const { keptBytes, last } = this.#survey;
    const compress = this.#compress;
    const { raw, rawPath } = await createFree(this.#named(RAW_EXT));
    try {
      let plain = last.plain;
      let at = 0;
      for await (const frame of decode(this.#handle, compress, last.disk)) {
        this.#signal?.throwIfAborted();
        const tail = frame.plain.subarray(Math.max(0, keptBytes - plain));
        plain += frame.plain.length;
        if (tail.length === 0) continue;
        const bytes = compress === 'none' ? tail : await encode(tail, compress);
        await writeAll(raw, bytes, { written: 0 }, at);
        at += bytes.length;
      }
      await raw.datasync();
    } catch (error) {
      // The next repair copies it anew.
      await removeIfThere(rawPath + PART_SUFFIX);
      throw error;
    } finally {
      await raw.close();
    }
    return await renameFree(rawPath + PART_SUFFIX, rawPath);
  }

  /** The final name with an extension. */
  #named(ext: string): string {
    const old = fullExtension(this.#ext, this.#compress) + PART_SUFFIX;
    return this.#partPath.slice(0, -old.length) + fullExtension(ext, this.#compress);
  }
}

/** Creates the `.part` file for `path`, or for `-N` of it where that is taken. */
async function createFree(path: string): Promise<{ raw: FileHandle; rawPath: string }> {
  for (let number = 0; ; number += 1) {
    const rawPath = number === 0 ? path : beside(path, number);
    if (await exists(rawPath)) continue;
    try {
      return { raw: await open(rawPath + PART_SUFFIX, 'wx'), rawPath };
    } catch (error) {
      if (!hasCode(error, 'EEXIST')) throw error;
    }
  }
}

/** Renames to `path`, or to `-N` of it where that is taken; returns the name given. */
async function renameFree(from: string, path: string, signal?: AbortSignal): Promise<string> {
  let target = path;
  for (let number = 1; await exists(target); number += 1) target = beside(path, number);
  if (target !== path) await copyMeta(path, target);
  signal?.throwIfAborted();
  await rename(from, target);
  return target;
}

async function removeIfThere(path: string): Promise<void> {
  await unlink(path).catch((error: unknown) => {
    if (!hasCode(error, 'ENOENT')) throw error;
  });
}
