import { mkdir, open, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { FilesSinkConfig, SinkConfig } from '../../config/schema.js';
import { GatewayError, messageOf } from '../../errors.js';
import type { Sink, SinkHost, SinkSession, SinkStatus, SinkStream } from '../sink.js';
import { type Clock, SYSTEM_CLOCK } from './clock.js';
import type { FilesContext, FilesSettings, FilesSinkOptions, FilesStats } from './context.js';
import { DirectAccess, openDirect } from './direct.js';
import { Directories } from './directories.js';
import { FdCache } from './fd-cache.js';
import { Limiter } from './limiter.js';
import { Outage } from './outage.js';
import type { PartFile } from './part-file.js';
import { BLOCK_BYTES_MAX, BlockPool, ENCODED_BLOCK_BYTES_MAX } from './pool.js';
import { FileStream } from './stream.js';
import { Sweep } from './sweep.js';

/** How long `close` waits for the file system unless it is told. */
export const CLOSE_DEADLINE_MS = 8000;
/** How long it then waits for files to be closed. */
const LATE_CLOSE_MS = 200;
/** Compressions under way at once: libuv's pool has four threads, which write too. */
const COMPRESSIONS_MAX = 4;
/** Directories of earlier configurations that are watched for being moved away. */
const FORMER_MAX = 8;

/** Stores each session's stream in files that stand alone: see `FileStream` and `placeOf`. */
export class FilesSink implements Sink {
  readonly kind = 'files';
  readonly name: string;
  readonly #context: FilesContext;
  readonly #sweep: Sweep;
  readonly #streams = new Set<FileStream>();
  /** Of configurations before: files may still be open below them. */
  readonly #former: Directories[] = [];
  /** The data path was asked for no more, and waits for `host.drain()`. */
  #isPaused = false;
  #closing: Promise<void> | undefined;

  constructor(
    name: string,
    options: FilesSinkOptions,
    host: SinkHost,
    clock: Clock = SYSTEM_CLOCK,
    openFiles?: number,
    direct: typeof openDirect | undefined = openDirect,
  ) {
    this.name = name;
    const sweep = new Sweep(clock);
    this.#sweep = sweep;
    this.#context = {
      name,
      settings: settingsOf(options),
      host,
      clock,
      pool: new BlockPool(host.memory, host.blocks, host.poolBytes, blockBytesMax(options)),
      outage: new Outage(host.log, options.dir, clock, () => this.#drainIfReady()),
      fds: new FdCache(new DirectAccess(host.log, direct), openFiles),
      compressing: new Limiter(COMPRESSIONS_MAX),
      splitting: new Limiter(1),
      stats: { filesFinished: 0, bytesWritten: 0, bytesDirect: 0, rawStreams: 0, filesVanished: 0 },
      unflushed: sweep.list<FileStream>(options.flushMs, (stream) => stream.flush()),
      aging: sweep.list<FileStream>(options.rotateSeconds * 1000, (stream) => stream.age()),
      unsynced: sweep.list<PartFile>(options.fsyncIntervalMs, (file) => file.requestSync()),
      accepts: () => this.#accepts(),
      freed: () => this.#drainIfReady(),
    };
  }

  get stats(): Readonly<FilesStats> {
    return this.#context.stats;
  }

  /** Memory in use: of the pool, and of the heap beyond it. */
  get memory(): { usedBytes: number; overflowBytes: number } {
    const { usedBytes, overflowBytes } = this.#context.pool;
    return { usedBytes, overflowBytes };
  }

  get openFiles(): number {
    return this.#context.fds.size;
  }

  status(): SinkStatus {
    const { outage, stats, pool, fds } = this.#context;
    const { filesFinished, bytesWritten, rawStreams } = stats;
    const figures = { openFiles: fds.size, filesFinished, bytesWritten, rawStreams };
    return {
      state: outage.active ? 'failing' : 'ok',
      lastError: outage.lastError,
      figures: { ...figures, streams: this.#streams.size, poolBytes: pool.usedBytes },
    };
  }

  open(session: SinkSession): SinkStream {
    const stream = new FileStream(this.#context, session, (ended) => this.#streams.delete(ended));
    this.#streams.add(stream);
    return stream;
  }

  /** What is open is finished as it was begun; what differs for good ends at the next boundary. */
  reconfigure(config: SinkConfig): void {
    const options = config as FilesSinkConfig;
    const { settings: before, pool, host, outage, unflushed, aging, unsynced } = this.#context;
    pool.resize(host.poolBytes, blockBytesMax(options));
    if (isDeepStrictEqual(options, before.options)) return;
    this.#former.push(before.directories);
    while (this.#former.length > FORMER_MAX) void this.#former.shift()!.close();
    this.#context.settings = settingsOf(options);
    outage.dir = options.dir;
    unflushed.wait(options.flushMs);
    aging.wait(options.rotateSeconds * 1000);
    unsynced.wait(options.fsyncIntervalMs);
    for (const stream of this.#streams) stream.age();
  }

  /**
   * Ends all streams and resolves when all is delivered, or at the deadline: what the file system
   * has not taken by then stays undelivered, and the files concerned stay `.part`. Every `end()`
   * resolves then.
   */
  close(deadlineMs = CLOSE_DEADLINE_MS): Promise<void> {
    this.#closing ??= this.#close(deadlineMs);
    return this.#closing;
  }

  async #close(deadlineMs: number): Promise<void> {
    const { clock, outage, fds, settings } = this.#context;
    const ends = Promise.all([...this.#streams].map((stream) => stream.end()));
    let cancel = () => {};
    const deadline = new Promise<'late'>((resolve) => {
      cancel = clock.after(deadlineMs, () => resolve('late'));
    });
    const isLate = (await Promise.race([ends, deadline])) === 'late';
    cancel();
    this.#sweep.stop();
    if (isLate) {
      this.#logUndelivered();
      outage.giveUp();
      for (const stream of this.#streams) stream.giveUp();
      await ends;
    }
    const directories = [settings.directories, ...this.#former];
    const closed = Promise.all([
      fds.closeAll(),
      ...directories.map((directory) => directory.close()),
    ]).then(() => {});
    if (!isLate) return await closed;
    // An operation may hang for good: its file stays open.
    await Promise.race([
      closed,
      new Promise<void>((resolve) => clock.after(LATE_CLOSE_MS, resolve)),
    ]);
  }

  #logUndelivered(): void {
    let frames = 0;
    let bytes = 0;
    for (const stream of this.#streams) {
      frames += stream.undelivered.frames;
      bytes += stream.undelivered.bytes;
    }
    const sessions = this.#streams.size;
    this.#context.host.log.error(
      { sessions, frames, bytes },
      'the files sink was closed before the file system took all; .part files remain',
    );
  }

  #accepts(): boolean {
    const { outage, pool, unflushed } = this.#context;
    if (this.#isPaused) return false;
    if (!outage.active && !pool.isHigh) return true;
    this.#isPaused = true;
    // Nothing more comes to fill the blocks: they wait no longer where they hold up the rest.
    if (pool.isHigh) {
      for (const stream of [...unflushed.items]) {
        if (!pool.isStarved) break;
        stream.flush();
      }
    }
    return false;
  }

  #drainIfReady(): void {
    const { outage, pool, host } = this.#context;
    if (!this.#isPaused || outage.active || !pool.isLow || this.#closing !== undefined) return;
    this.#isPaused = false;
    host.drain();
  }
}

function settingsOf(options: FilesSinkOptions): FilesSettings {
  return { options, directories: new Directories(options.dir, options.fsync === 'always') };
}

function blockBytesMax({ compress }: FilesSinkOptions): number {
  return compress === 'none' ? BLOCK_BYTES_MAX : ENCODED_BLOCK_BYTES_MAX;
}

/**
 * Makes the directory of a files sink and proves that it can be written.
 * @throws GatewayError `D4GW_E_SINK`
 */
export async function checkFilesDirectory(name: string, dir: string): Promise<void> {
  const probe = join(dir, `.d4gw-probe-${process.pid}`);
  try {
    await mkdir(dir, { recursive: true });
    await (await open(probe, 'w')).close();
    await unlink(probe);
  } catch (cause) {
    const reason = messageOf(cause);
    throw new GatewayError(
      'D4GW_E_SINK',
      `sink ${name}: can't write to ${dir}: ${reason}; give it a directory that it may write to`,
      {
        cause,
      },
    );
  }
}
