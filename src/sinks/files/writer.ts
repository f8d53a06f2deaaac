import type { Rest, SinkSession, StreamPart } from '../sink.js';
import { encode } from './compress.js';
import type { FilesContext } from './context.js';
import { RAW_EXT } from './cutters/cutter.js';
import { GivenUp } from './outage.js';
import { type FileOwner, PartFile, type Tally, Vanished } from './part-file.js';
import type { Block } from './pool.js';
import { Split } from './split.js';
import { endOf } from './suspend.js';

/** Data for a file. */
export interface DataItem {
  readonly kind: 'data';
  readonly file: PartFile;
  data: Uint8Array;
  /** Where it lies; given back once written. */
  readonly block: Block;
  /** Leading bytes of `data` that are repeated from an earlier file, or were held in none. */
  preamble: number;
  /** How many of them were held in none: a file of them alone is worth keeping. */
  carried: number;
  /** Frames of the session whose last byte is in `data`. */
  frames: number;
  /** Where, in the file's uncompressed content, the last whole record known ends. */
  readonly boundary: number;
}

type Item =
  | DataItem
  | { readonly kind: 'finish' | 'sync' | 'force' | 'meta'; readonly file: PartFile }
  | { readonly kind: 'keep'; readonly part: OpenPart }
  | { readonly kind: 'done'; readonly resolve: () => void }
  | { readonly kind: 'suspend'; readonly file: PartFile; readonly at: number; part: OpenPart }
  | { readonly kind: 'split'; readonly file: PartFile; readonly split: Split };

const NO_BYTES = new Uint8Array(0);

/** A part of which it is not known yet where it stands, nor what its tail is. */
export type OpenPart = Omit<StreamPart, 'at' | 'tail'>;

/** A data item on its way. */
interface Attempt {
  written: number;
  /** Its intent is in the journal. */
  announced: boolean;
  encoded: Promise<Buffer> | undefined;
}

/**
 * Does what a stream asks for, in order, one file operation at a time; what is asked for meanwhile
 * waits in memory. What the file system refuses is repeated until it is done.
 */
export class StreamWriter implements FileOwner {
  /** What has been delivered of the session. */
  readonly tally: Tally;
  readonly next = { directory: '', base: '', number: 0 };
  readonly #context: FilesContext;
  readonly #session: SinkSession;
  readonly #items: Item[] = [];
  readonly #attempts = new WeakMap<DataItem, Attempt>();
  #lastData: DataItem | undefined;
  #running = false;
  #metaDelivered = false;
  #givenUp = false;
  #idle: (() => void)[] = [];

  constructor(context: FilesContext, session: SinkSession) {
    this.#context = context;
    this.#session = session;
    const resume = session.resume?.get(context.name);
    this.tally = { ...(resume?.before ?? { frames: 0, bytes: 0 }) };
    this.#metaDelivered = resume?.continues ?? false;
  }

  get isIdle(): boolean {
    return this.#items.length === 0;
  }

  /** Frames and payload bytes that wait to be written. */
  get waiting(): Tally {
    const waiting = { frames: 0, bytes: 0 };
    for (const item of this.#items) {
      if (item.kind !== 'data') continue;
      waiting.frames += item.frames;
      waiting.bytes += item.data.length - item.preamble;
    }
    return waiting;
  }

  /** A file of this session; nothing is made yet. */
  newFile(ext: string): PartFile {
    return new PartFile(this.#context, this.#session, this, ext);
  }

  requestSync(file: PartFile): void {
    this.push({ kind: 'sync', file });
  }

  metaStored(): void {
    const meta = this.#session.meta;
    if (meta === undefined || this.#metaDelivered) return;
    this.#metaDelivered = true;
    this.#delivered(meta.frames, meta.bytes.length);
  }

  push(item: Item): void {
    if (this.#givenUp) return;
    this.#items.push(item);
    if (item.kind === 'data') this.#lastData = item;
    if (this.#running) return;
    this.#running = true;
    // What the caller still adds to the item in this turn belongs to it.
    queueMicrotask(() => void this.#run());
  }

  split(from: PartFile, into: PartFile, at: number): void {
    this.push({ kind: 'split', file: from, split: new Split(from, into, at) });
  }

  /** Forces a file to the disk, behind all that was pushed; its directory too. */
  force(file: PartFile): void {
    this.push({ kind: 'force', file });
  }

  /** Resolves when all that was pushed so far is done, or given up. */
  done(): Promise<void> {
    if (this.isIdle || this.#givenUp) return Promise.resolve();
    return new Promise((resolve) => {
      this.push({ kind: 'done', resolve });
      this.#idle.push(resolve);
    });
  }

  /**
   * Cuts the end of a file off, which is kept elsewhere, and finishes the file.
   * @param at where the last whole record ends in its content
   * @param part all but its `tail`, which is read back
   */
  suspend(file: PartFile, at: number, part: OpenPart): void {
    this.push({ kind: 'suspend', file, at, part });
    this.push({ kind: 'finish', file });
  }

  /** Keeps what a file that follows has to begin with. */
  keep(part: OpenPart): void {
    this.push({ kind: 'keep', part });
  }

  /** What waits in memory is held elsewhere. */
  deliverRest({ frames, bytes, known }: Rest): void {
    this.#delivered(frames, bytes.length - known);
  }

  /** Counts frames that ended with what was pushed last: delivered with it. */
  credit(frames: number): void {
    if (this.#lastData !== undefined) this.#lastData.frames += frames;
    else this.#delivered(frames, 0);
  }

  /** Resolves when all is done, or given up. */
  idle(): Promise<void> {
    if (this.isIdle || this.#givenUp) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  /** Stops: whoever waits is told, and what waits stays undelivered. */
  giveUp(): void {
    this.#givenUp = true;
    this.#settle();
  }

  async #run(): Promise<void> {
    try {
      for (let item = this.#items[0]; item !== undefined; item = this.#items[0]) {
        await this.#do(item);
        if (this.#givenUp) return;
        this.#items.shift();
      }
      this.#running = false;
      this.#settle();
    } catch (error) {
      if (!(error instanceof GivenUp)) throw error;
    }
  }

  #settle(): void {
    for (const resolve of this.#idle.splice(0)) resolve();
  }

  async #do(item: Item): Promise<void> {
    const { outage, splitting } = this.#context;
    switch (item.kind) {
      case 'done':
        return item.resolve();
      case 'keep':
        return await outage.run(() => this.#keep(item.part));
      case 'suspend':
        return await splitting.run(() => this.#unlessVanished(() => this.#suspend(item)));
      default:
        return await this.#doFile(item);
    }
  }

  async #doFile(item: Exclude<Item, { kind: 'done' | 'keep' | 'suspend' }>): Promise<void> {
    const { outage, splitting } = this.#context;
    const { file } = item;
    switch (item.kind) {
      case 'data':
        return await this.#write(item);
      case 'finish':
        return await outage.run(() => file.finish());
      case 'meta':
        return await outage.run(() => file.createMeta(this.tally));
      case 'sync':
        return await this.#unlessVanished(() => file.sync());
      case 'force':
        return await this.#unlessVanished(() => file.force());
      case 'split':
        return await splitting.run(() => this.#unlessVanished(() => item.split.run(this.tally)));
    }
  }

  async #unlessVanished(operation: () => Promise<void>): Promise<void> {
    try {
      await this.#context.outage.run(operation);
    } catch (error) {
      if (!(error instanceof Vanished)) throw error; // `finish` will say so
    }
  }

  async #keep(part: OpenPart, tail: Uint8Array = NO_BYTES): Promise<void> {
    const { bytes: at } = this.tally;
    await this.#session.resume?.get(this.#context.name)?.keep({ ...part, at, tail });
  }

  /** The end is kept before it is cut off: at no moment is it in neither place. */
  async #suspend({ file, at, part }: { file: PartFile; at: number; part: OpenPart }) {
    const ending = file.vanished ? undefined : await endOf(file, at);
    await this.#keep(part, ending?.tail);
    if (ending) await ending.cut(this.tally);
  }

  async #write(item: DataItem): Promise<void> {
    const attempt = this.#attempt(item);
    for (let written = false; !written; ) {
      try {
        await this.#context.outage.run(() => this.#writeOnce(item, attempt));
        written = true;
      } catch (error) {
        if (!(error instanceof Vanished)) throw error;
        await this.#restart(item, attempt);
      }
    }
    if (item === this.#lastData) this.#lastData = undefined;
    this.#delivered(item.frames, item.data.length - item.preamble);
    this.#context.pool.free(item.block);
    this.#context.freed();
  }

  async #writeOnce(item: DataItem, attempt: Attempt): Promise<void> {
    const { file } = item;
    const data = await this.#encoded(item, attempt);
    this.#prepareNext();
    await file.create(this.tally);
    if (!attempt.announced) this.#announce(item, data.length);
    attempt.announced = true;
    await file.append(data, attempt);
    const plainFrom = file.plainBytes;
    const diskFrom = file.diskBytes - data.length;
    file.plainBytes += item.data.length;
    file.preambleBytes += item.preamble - item.carried;
    if (item.boundary >= file.plainBytes) {
      file.mark = { plain: file.plainBytes, disk: file.diskBytes };
    } else if (item.boundary >= plainFrom) {
      file.mark = { plain: plainFrom, disk: diskFrom };
    }
  }

  /** The file is gone with what was in it: this item and what follows go to a raw one. */
  async #restart(item: DataItem, attempt: Attempt): Promise<void> {
    await item.file.restart(RAW_EXT);
    this.#context.host.note(
      this.#session,
      'a file was removed while it was written; the rest of it is kept as raw',
    );
    item.data = item.data.subarray(item.preamble);
    item.preamble = 0;
    item.carried = 0;
    attempt.encoded = undefined;
    attempt.written = 0;
    attempt.announced = false;
  }

  #delivered(frames: number, bytes: number): void {
    this.tally.frames += frames;
    this.tally.bytes += bytes;
    if (frames > 0 || bytes > 0) this.#context.host.delivered(this.#session, frames, bytes);
  }

  /**
   * Tells the journal what will hold once the item is written. A preamble is announced on its own
   * first, with its length before compression: an intent that adds no bytes of the session.
   */
  #announce(item: DataItem, length: number): void {
    const { file } = item;
    const { frames, bytes } = this.tally;
    const added = item.data.length - item.preamble;
    if (item.preamble > 0) file.record?.intent(file.plainBytes + item.preamble, frames, bytes);
    if (added === 0) return;
    file.record?.intent(file.diskBytes + length, frames + item.frames, bytes + added);
  }

  #attempt(item: DataItem): Attempt {
    let attempt = this.#attempts.get(item);
    if (attempt === undefined) {
      attempt = { written: 0, announced: false, encoded: undefined };
      this.#attempts.set(item, attempt);
    }
    return attempt;
  }

  async #encoded(item: DataItem, attempt: Attempt): Promise<Uint8Array> {
    const { compressing } = this.#context;
    const { compress } = item.file;
    if (compress === 'none') return item.data;
    attempt.encoded ??= compressing.run(() => encode(item.data, compress));
    try {
      return await attempt.encoded;
    } catch (error) {
      attempt.encoded = undefined;
      throw error;
    }
  }

  /** Compresses the next item's data while this one's is written. */
  #prepareNext(): void {
    const next = this.#items[1];
    if (next?.kind !== 'data' || next.file.compress === 'none') return;
    this.#encoded(next, this.#attempt(next)).catch(() => {}); // tried again in its turn
  }
}
