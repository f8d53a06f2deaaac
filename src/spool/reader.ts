import { type FileHandle, open } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../errors.js';
import { hasCode } from '../sinks/files/directories.js';
import { BlockFile } from './block-file.js';
import type { BlockPool } from './block-pool.js';
import { type DiskBlock, diskBlocks, type ReadSessions } from './disk-blocks.js';
import type { LiveBlock } from './live-block.js';
import { type Damage, noDamage } from './records.js';
import type { Segment } from './segment.js';
import { FileSource } from './segment-reader.js';
import { StreamTotals } from './stream-totals.js';
import type { BlockReader, SpoolBlock } from './types.js';

/** A segment that can't be read is tried again so often, ever later, before it is given up. */
const READ_TRIES_MAX = 6;
const READ_RETRY_MS = 250;

/** What a reader needs of its spool. */
export interface ReadFrom {
  /** The block in memory that holds `seq`, or the next one behind it. */
  inMemory(seq: number): LiveBlock | undefined;
  /** The segment that holds `seq`, or the next one behind it. */
  onDisk(seq: number): Segment | undefined;
  /** Resolves when there is a new block, or the spool or this reader is closed. */
  more(): Promise<void>;
  readonly isClosed: boolean;
  /** A block is handed out. */
  given(block: LiveBlock, isFromDisk: boolean): void;
  /** A segment was read to its end, and was damaged. */
  damaged(segment: Segment, good: StreamTotals, damage: Damage): void;
  /** A segment can't be read at all. */
  unreadable(segment: Segment, error: string): void;
  closed(reader: Reader): void;
  /** Of which blocks are read. */
  readonly pool: BlockPool;
}

/** Reads a spool from some record on: from memory what is still there, the rest from the disk. */
export class Reader implements BlockReader {
  readonly #spool: ReadFrom;
  #next: number;
  #disk: SegmentRead | undefined;
  #isClosed = false;
  readonly #abort = new AbortController();
  /** What was given out last. */
  #given: LiveBlock | undefined;
  #tries = 0;

  readonly #isChecked: boolean;

  /** @param isChecked false: whoever gets the blocks checks their records */
  constructor(spool: ReadFrom, fromSeq: number, isChecked = true) {
    this.#isChecked = isChecked;
    this.#spool = spool;
    this.#next = fromSeq;
  }

  get isClosed(): boolean {
    return this.#isClosed || this.#spool.isClosed;
  }

  async next(): Promise<SpoolBlock | undefined> {
    this.#letGo();
    while (!this.isClosed) {
      const block = this.#fromMemory() ?? (await this.#fromDisk());
      if (block === undefined) continue;
      this.#next = block.lastSeq + 1;
      this.#given = block.hold();
      return block;
    }
    await this.#leave();
    return undefined;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#letGo();
    this.#abort.abort();
    this.#spool.closed(this);
    void this.#leave();
  }

  #letGo(): void {
    this.#given?.letGo();
    this.#given = undefined;
  }

  #fromMemory(): LiveBlock | undefined {
    const block = this.#spool.inMemory(this.#next);
    if (block === undefined) return undefined;
    const segment = this.#spool.onDisk(this.#next);
    // What lies on the disk alone comes first.
    if (segment !== undefined && block.firstSeq > this.#next && segment.firstSeq < block.firstSeq) {
      return undefined;
    }
    void this.#leave();
    this.#spool.given(block, false);
    return block;
  }

  /** The next block of the segment at hand; undefined: look again where to go on. */
  async #fromDisk(): Promise<LiveBlock | undefined> {
    const segment = this.#spool.onDisk(this.#next);
    if (segment === undefined) {
      // What comes while the file is closed wakes nobody: it is looked for before the wait.
      if (this.#disk !== undefined) await this.#leave();
      else await this.#spool.more();
      return undefined;
    }
    if (this.#disk?.segment !== segment) {
      await this.#leave();
      this.#disk = new SegmentRead(segment, this.#next, this.#spool.pool, this.#isChecked);
    }
    const read = this.#disk!;
    try {
      const block = await read.next();
      this.#tries = 0;
      if (block !== undefined) {
        this.#spool.given(block, true);
        return block;
      }
      if (this.#disk !== read) return undefined;
      // Its end was reached: what it has no more of is behind it.
      if (segment.lastSeq >= this.#next) this.#next = segment.lastSeq + 1;
    } catch (error) {
      await this.#leave();
      if (!segment.isGone && !this.isClosed) await this.#failed(segment, error);
    }
    return undefined;
  }

  /** Tries again for a while, unless the file is gone; then goes on behind it. */
  async #failed(segment: Segment, error: unknown): Promise<void> {
    this.#tries += 1;
    if (!hasCode(error, 'ENOENT') && this.#tries < READ_TRIES_MAX) {
      const { signal } = this.#abort;
      await sleep(READ_RETRY_MS * 2 ** this.#tries, undefined, { signal }).catch(() => {});
      return;
    }
    this.#tries = 0;
    this.#spool.unreadable(segment, messageOf(error));
    this.#next = Math.max(this.#next, segment.lastSeq + 1);
  }

  async #leave(): Promise<void> {
    const disk = this.#disk;
    this.#disk = undefined;
    if (disk === undefined) return;
    if (disk.isThrough && disk.isDamaged) {
      this.#spool.damaged(disk.segment, disk.good, disk.damage);
    }
    await disk.close();
  }
}

/** Reads one segment, which may be growing, from its start on. */
class SegmentRead {
  readonly segment: Segment;
  readonly damage = noDamage();
  /** What of the segment's totals could be read. */
  readonly good = new StreamTotals();
  readonly #from: number;
  readonly #sessions: ReadSessions = new Map();
  readonly #pool: BlockPool;
  readonly #isChecked: boolean;
  #handle: FileHandle | undefined;
  #fast: BlockFile | undefined;
  #blocks: AsyncGenerator<DiskBlock> | undefined;
  #isClosed = false;
  #readBytes = 0;
  /** How far the blocks under way go. */
  #limit = 0;
  #nextSeq: number;

  constructor(segment: Segment, from: number, pool: BlockPool, isChecked: boolean) {
    this.#pool = pool;
    this.#isChecked = isChecked;
    this.segment = segment;
    this.#from = from;
    this.#nextSeq = segment.firstSeq;
  }

  get isDamaged(): boolean {
    return this.damage.bytes > 0 || this.damage.records > 0;
  }

  /** All that the segment has by now was read. */
  get isThrough(): boolean {
    return this.#nextSeq > this.segment.lastSeq || this.#readBytes >= this.segment.bytes;
  }

  /** The next block that reaches to `from`; undefined at the end of what is there by now. */
  async next(): Promise<LiveBlock | undefined> {
    const handle = await this.#opened();
    while (!this.#isClosed) {
      if (this.#blocks === undefined && this.#readBytes >= this.segment.bytes) return undefined;
      const block = (await this.#sound(handle)) ?? (await this.#any(handle));
      if (block === undefined) continue;
      this.#nextSeq = block.lastSeq + 1;
      if (block.firstSeq > this.segment.countedFrom) {
        for (const span of block.sessions) this.good.addSpan(span);
      }
      if (block.lastSeq >= this.#from) return block;
      block.hold().letGo();
    }
    return undefined;
  }

  /** The next block, where nothing is special about it. */
  async #sound(handle: FileHandle): Promise<LiveBlock | undefined> {
    if (this.#blocks !== undefined) return undefined;
    this.#fast ??= new BlockFile(handle, {
      pool: this.#pool,
      sessions: this.#sessions,
      isChecked: this.#isChecked,
    });
    const found = await this.#fast.read(this.#readBytes, this.segment.bytes, this.#nextSeq);
    if (found !== undefined) this.#readBytes = found.end;
    return found?.block;
  }

  /** The next block, whatever became of it; undefined at the end of what was there. */
  async #any(handle: FileHandle): Promise<LiveBlock | undefined> {
    if (this.#blocks === undefined) {
      this.#limit = this.segment.bytes;
      const source = new FileSource(handle, this.#limit);
      const { path } = this.segment;
      const [at, seq] = [this.#readBytes, this.#nextSeq];
      this.#blocks = diskBlocks(source, path, this.#sessions, this.damage, at, seq);
    }
    const before = this.damage.bytes + this.damage.records;
    const { value: block, done } = await this.#blocks.next();
    if (done) {
      this.#blocks = undefined;
      this.#readBytes = this.#limit;
      return undefined;
    }
    const isWhole = !block.isCut && this.damage.bytes + this.damage.records === before;
    if (isWhole && block.bytes.length === block.end - block.at) {
      // What follows may be as it was written again.
      await this.#blocks.return(undefined);
      this.#blocks = undefined;
      this.#readBytes = block.end;
    }
    return block;
  }

  async #opened(): Promise<FileHandle> {
    if (this.#handle !== undefined) return this.#handle;
    const handle = await open(this.segment.path, 'r');
    if (this.#isClosed) await handle.close();
    else this.#handle = handle;
    return handle;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#blocks?.return(undefined);
    await this.#handle?.close();
  }
}
