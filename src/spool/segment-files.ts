import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import type { Logger } from 'pino';
import { messageOf } from '../errors.js';
import { DIRECT_BYTES_MIN, DirectAccess, openDirect } from '../sinks/files/direct.js';
import { syncDirectory } from '../sinks/files/directories.js';
import { checkRoomFor } from '../storage/disk-space.js';
import { writeAgain } from '../storage/write-again.js';
import { padded } from './layout.js';
import { type LiveBlock, prefaceOf } from './live-block.js';
import { Segment, segmentPath, writeIndex } from './segment.js';
import type { SegmentSummary } from './types.js';

const SEGMENT_MODE = 0o640;

interface Active {
  readonly segment: Segment;
  readonly handle: FileHandle;
  /** For writes past the page cache, once there was one; null where it takes none. */
  direct: FileHandle | null | undefined;
  /** Refs that it introduces. */
  readonly opened: Set<number>;
  /** How much of it is known to be on the disk. */
  syncedBytes: number;
  /** The last attempt to force it failed: what is behind `syncedBytes` is written again first. */
  isDoubtful: boolean;
}

/** The segment files of a spool, oldest first, the last of which may be growing. */
export class SegmentFiles {
  readonly #dir: string;
  readonly #segmentBytes: number;
  readonly #log: Logger;
  readonly #sealed: ((segment: SegmentSummary) => void) | undefined;
  readonly #segments: Segment[];
  #active: Active | undefined;
  readonly #access: DirectAccess;
  #isDirectorySynced = true;
  #syncing: Promise<void> = Promise.resolve();
  #isAppending = false;
  #bytes: number;

  /** @param found what earlier runs left, oldest first */
  constructor(
    dir: string,
    segmentBytes: number,
    found: Segment[],
    log: Logger,
    sealed?: (segment: SegmentSummary) => void,
  ) {
    this.#dir = dir;
    this.#segmentBytes = segmentBytes;
    this.#segments = found;
    this.#bytes = found.reduce((sum, { bytes }) => sum + bytes, 0);
    this.#log = log;
    this.#sealed = sealed;
    this.#access = new DirectAccess(log, openDirect);
  }

  get list(): readonly Segment[] {
    return this.#segments;
  }

  /** Bytes on the disk. */
  get bytes(): number {
    return this.#bytes;
  }

  get active(): Segment | undefined {
    return this.#active?.segment;
  }

  /** The segment that holds `seq`, or the next one behind it. */
  at(seq: number): Segment | undefined {
    return this.#segments.find(({ lastSeq }) => lastSeq >= seq);
  }

  /**
   * Writes one block behind the last. May be called again with the same block where it rejects.
   * @param stored its bytes as they are to be on the disk
   */
  async append(block: LiveBlock, stored: Buffer): Promise<void> {
    this.#isAppending = true;
    try {
      await this.#append(block, stored);
    } finally {
      this.#isAppending = false;
    }
  }

  /** A block is being written, to this segment perhaps: it must stay. */
  isBusy(segment: Segment): boolean {
    return this.#isAppending && segment === this.active;
  }

  async #append(block: LiveBlock, stored: Buffer): Promise<void> {
    checkRoomFor(this.#dir, padded(stored.length));
    const active = await this.#activeFor(block, stored.length);
    const { segment, handle, opened } = active;
    const unknown = block.sessions.filter(({ ref, opens }) => !opens && !opened.has(ref));
    const preface = prefaceOf(block.firstSeq, unknown);
    const at = segment.bytes;
    if (preface !== undefined) await writeAll(handle, preface, at);
    const behind = at + (preface?.length ?? 0);
    let end = behind + stored.length;
    const pages = stored === block.bytes ? await this.#direct(active, block) : undefined;
    if (pages === undefined) await writeAll(handle, stored, behind);
    else {
      end = padded(behind) + stored.length;
      await this.#writePages(active, pages, padded(behind));
    }
    const length = end - at;
    for (const span of block.sessions) {
      opened.add(span.ref);
      segment.totals.addSpan(span);
    }
    segment.bytes = at + length;
    segment.lastSeq = block.lastSeq;
    if (!segment.isGone) this.#bytes += length;
  }

  /** The block as it is written past the page cache; undefined where it goes through it. */
  async #direct(active: Active, block: LiveBlock): Promise<Buffer | undefined> {
    if (block.bytes.length < DIRECT_BYTES_MIN) return undefined;
    active.direct ??= (await this.#access.open(active.handle)) ?? null;
    return active.direct ? block.pages() : undefined;
  }

  async #writePages(active: Active, pages: Buffer, at: number): Promise<void> {
    const { direct, handle } = active;
    try {
      const { bytesWritten } = await direct!.write(pages, 0, pages.length, at);
      if (bytesWritten < pages.length) {
        await writeAll(handle, pages.subarray(bytesWritten), at + bytesWritten);
      }
    } catch (error) {
      if (!(await this.#access.noteRefusal(handle, error))) throw error;
      active.direct = null;
      await direct!.close();
      await writeAll(handle, pages, at);
    }
  }

  /** Everything that was appended is on the disk when it resolves. */
  sync(): Promise<void> {
    const synced = this.#syncing.then(() => this.#sync());
    this.#syncing = synced.catch(() => {});
    return synced;
  }

  async #sync(): Promise<void> {
    const active = this.#active;
    if (active !== undefined && active.syncedBytes < active.segment.bytes) {
      const { bytes, path } = active.segment;
      if (active.isDoubtful) await writeAgain(active.handle, path, active.syncedBytes, bytes);
      active.isDoubtful = true;
      await active.handle.datasync();
      active.isDoubtful = false;
      active.syncedBytes = bytes;
    }
    if (this.#isDirectorySynced) return;
    await syncDirectory(this.#dir);
    this.#isDirectorySynced = true;
  }

  /** Finishes the segment that grows: on the disk, with its index beside it. */
  async seal(): Promise<void> {
    const active = this.#active;
    if (active === undefined) return;
    const { segment, handle } = active;
    if (segment.isGone) {
      this.#active = undefined;
      await close(active);
      return;
    }
    // What was padded ends where its last block does.
    if (active.direct) await handle.truncate(segment.bytes);
    await this.sync();
    this.#active = undefined;
    segment.isSealed = true;
    await close(active);
    if (segment.bytes === 0) {
      this.forget(segment);
      await segment.remove();
      return;
    }
    try {
      await writeIndex(segment.summary);
    } catch (error) {
      // It is no more than a short cut: who needs it reads the segment.
      const text = 'the index of a segment cannot be written';
      this.#log.warn({ segment: segment.path, error: messageOf(error) }, text);
    }
    this.#sealed?.(segment.summary);
  }

  /** It counts no longer; its file is the caller's to remove. */
  forget(segment: Segment): void {
    segment.isGone = true;
    const index = this.#segments.indexOf(segment);
    if (index < 0) return;
    this.#segments.splice(index, 1);
    this.#bytes -= segment.bytes;
  }

  async #activeFor(block: LiveBlock, bytes: number): Promise<Active> {
    const active = this.#active;
    if (active !== undefined) {
      const { segment } = active;
      const isEmpty = segment.bytes === 0;
      const isFull = !isEmpty && segment.bytes + bytes > this.#segmentBytes;
      const isNext = isEmpty
        ? block.firstSeq === segment.firstSeq
        : block.firstSeq === segment.lastSeq + 1;
      if (!isFull && isNext && !segment.isGone) return active;
      await this.seal();
    }
    return await this.#begin(block.firstSeq);
  }

  async #begin(firstSeq: number): Promise<Active> {
    const path = segmentPath(this.#dir, firstSeq);
    const handle = await open(
      path,
      constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL,
      SEGMENT_MODE,
    );
    this.#isDirectorySynced = false;
    const segment = new Segment(path, {
      firstSeq,
      lastSeq: firstSeq - 1,
      bytes: 0,
      isSealed: false,
    });
    this.#segments.push(segment);
    const opened = new Set<number>();
    this.#active = {
      segment,
      handle,
      direct: undefined,
      opened,
      syncedBytes: 0,
      isDoubtful: false,
    };
    return this.#active;
  }
}

async function close({ handle, direct }: Active): Promise<void> {
  await direct?.close();
  await handle.close();
}

async function writeAll(handle: FileHandle, bytes: Buffer, at: number): Promise<void> {
  for (let written = 0; written < bytes.length; ) {
    const left = bytes.length - written;
    written += (await handle.write(bytes, written, left, at + written)).bytesWritten;
  }
}
