import type { Logger } from 'pino';
import type { Clock } from '../sinks/files/clock.js';
import { compressBlock } from './block-builder.js';
import type { LiveBlock } from './live-block.js';
import { Retry } from './retry.js';
import type { SegmentFiles } from './segment-files.js';
import type { Tail, TailEntry } from './tail.js';

/** Blocks compressed ahead of the one that is written: libuv's pool has four threads. */
const COMPRESSIONS_AHEAD = 3;

export interface WriterOptions {
  dir: string;
  compress: 'none' | 'lz4';
  log: Logger;
  clock: Clock;
  /** Whether a block is to be written now. */
  isDue(block: LiveBlock): boolean;
  /** A block is written: with it, all before. */
  written(block: LiveBlock): void;
  /** Something may have changed in whether the spool is full. */
  changed(): void;
}

/** Writes the tail's blocks in order, one after the other, for as long as any is due. */
export class Writer {
  readonly #options: WriterOptions;
  readonly #tail: Tail;
  readonly #files: SegmentFiles;
  readonly #retry: Retry;
  #running: Promise<void> | undefined;
  #isStopped = false;

  constructor(tail: Tail, files: SegmentFiles, options: WriterOptions) {
    this.#tail = tail;
    this.#files = files;
    this.#options = options;
    const { log, clock, dir } = options;
    this.#retry = new Retry(log, clock, `the spool in ${dir}`);
  }

  /** The disk takes nothing at the moment. */
  get isFailing(): boolean {
    return this.#retry.isFailing;
  }

  get lastError(): { text: string; at: number } | undefined {
    return this.#retry.lastError;
  }

  /** Looks whether there is something to write. */
  kick(): void {
    if (this.#running !== undefined || this.#isStopped || this.#due() === undefined) return;
    this.#running = this.#run().finally(() => {
      this.#running = undefined;
      this.kick();
    });
  }

  /** Begins nothing more; resolves when what is under way is over. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#retry.stop();
    await this.#running;
  }

  #due(): TailEntry | undefined {
    const entry = this.#tail.unwritten();
    return entry !== undefined && this.#options.isDue(entry.block) ? entry : undefined;
  }

  async #run(): Promise<void> {
    for (let entry = this.#due(); entry !== undefined; entry = this.#due()) {
      // It may leave the tail while it is being written.
      entry.block.hold();
      try {
        const stored = await this.#stored(entry);
        this.#compressAhead();
        await this.#files.append(entry.block, stored);
      } catch (error) {
        entry.stored = undefined;
        if (this.#isStopped) return;
        const refused = this.#retry.refused(error, { keptBytes: this.#tail.bytes });
        this.#options.changed();
        await refused;
        if (this.#isStopped) return;
        continue;
      } finally {
        entry.block.letGo();
      }
      this.#retry.succeeded();
      this.#tail.written(entry);
      this.#options.written(entry.block);
      if (this.#isStopped) return;
    }
  }

  #stored(entry: TailEntry): Promise<Buffer> {
    const { block } = entry;
    if (this.#options.compress === 'none') return Promise.resolve(block.bytes);
    entry.stored ??= compressHeld(block);
    return entry.stored;
  }

  #compressAhead(): void {
    if (this.#options.compress === 'none') return;
    for (let offset = 1; offset <= COMPRESSIONS_AHEAD; offset += 1) {
      const next = this.#tail.unwritten(offset);
      if (next === undefined) return;
      this.#stored(next).catch(() => {}); // tried again in its turn
    }
  }
}

async function compressHeld(block: LiveBlock): Promise<Buffer> {
  block.hold();
  try {
    const { bytes, count: records, firstSeq } = block;
    return await compressBlock(bytes, { flags: 0, records, firstSeq });
  } finally {
    block.letGo();
  }
}
