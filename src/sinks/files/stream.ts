import type { FrameRef, SinkSession, SinkStream } from '../sink.js';
import type { FilesContext } from './context.js';
import { cutterForType } from './cutters/choose.js';
import { RAW_EXT } from './cutters/cutter.js';
import { DIRECT_ALIGNMENT_BYTES, DIRECT_BYTES_MIN } from './direct.js';
import type { PartFile } from './part-file.js';
import { BLOCK_BYTES_MIN, BLOCK_GROWTH, type Block } from './pool.js';
import { type StreamVisitor, StreamWalker } from './walker.js';
import { StreamWriter } from './writer.js';

/** The file that a stream is filling. */
interface Piece {
  readonly file: PartFile;
  /** Stream position at which it begins. */
  readonly start: number;
  readonly preambleBytes: number;
  /** Bytes of its content that were put into blocks. */
  gatheredBytes: number;
  /** It has reached its age. */
  isDue: boolean;
}

/**
 * One session's stream on its way to its files: finds where one file ends and the next begins, and
 * gathers what is to be written in blocks. What it has gathered its writer writes.
 */
export class FileStream implements SinkStream, StreamVisitor {
  readonly #context: FilesContext;
  readonly #session: SinkSession;
  readonly #writer: StreamWriter;
  readonly #walker: StreamWalker;
  readonly #ended: (stream: FileStream) => void;
  #piece: Piece | undefined;
  #block: Block | undefined;
  /** Where the block's data begins: as far into a page as its place in the file. */
  #lead = 0;
  /** Of the block: bytes filled, how many of them are preamble, frames that end in it. */
  #filled = 0;
  #preamble = 0;
  #frames = 0;
  /** Size of the next block. */
  #blockBytes = BLOCK_BYTES_MIN;
  /** Frames that ended within what the walker keeps. */
  #framesInRest = 0;
  #hadFile = false;
  #end: Promise<void> | undefined;

  /** @param ended called once all is written, or given up */
  constructor(context: FilesContext, session: SinkSession, ended: (stream: FileStream) => void) {
    this.#context = context;
    this.#session = session;
    this.#ended = ended;
    this.#writer = new StreamWriter(context, session);
    this.#walker = new StreamWalker(cutterForType(session.type), this);
  }

  get session(): SinkSession {
    return this.#session;
  }

  /** Frames and bytes taken and not delivered. */
  get undelivered(): { frames: number; bytes: number } {
    const { frames, bytes } = this.#writer.waiting;
    return {
      frames: frames + this.#frames + this.#framesInRest,
      bytes: bytes + this.#filled - this.#preamble + this.#walker.restLength,
    };
  }

  write(frame: FrameRef): boolean {
    if (frame.size > 0) {
      this.#walker.feed(this.#context.host.memory, frame.payload, frame.payload + frame.size);
    }
    if (this.#walker.restLength > 0) this.#framesInRest += 1;
    else this.#credit(1);
    this.#rollIfDue();
    return this.#context.accepts();
  }

  end(): Promise<void> {
    this.#end ??= this.#finish();
    return this.#end;
  }

  giveUp(): void {
    this.#writer.giveUp();
  }

  /** Hands over what waits for a full block. */
  flush(): void {
    if (this.#filled < this.#blockBytes / BLOCK_GROWTH) {
      this.#blockBytes = Math.max(BLOCK_BYTES_MIN, this.#blockBytes / BLOCK_GROWTH);
    }
    this.#flush();
  }

  /** The file has reached its age: it ends at the next boundary. */
  age(): void {
    if (this.#piece !== undefined) this.#piece.isDue = true;
    this.#rollIfDue();
  }

  cutAt(): number {
    const piece = this.#piece;
    if (piece === undefined || piece.isDue || piece.file.vanished) return 0;
    return piece.start + this.#context.options.rotateBytes;
  }

  append(bytes: Uint8Array, from: number, to: number): void {
    if (this.#framesInRest === 0) {
      this.#copy(bytes, from, to, false);
      return;
    }
    // Whatever is walked, the bytes kept are walked first: they are few. In one block, so that the
    // frames that end in them are counted with the bytes.
    if (to - from > this.#room) this.#flush();
    this.#copy(bytes, from, to, false);
    this.#credit(this.#framesInRest);
    this.#framesInRest = 0;
  }

  cut(): void {
    this.#roll();
    const { cutter } = this.#walker;
    this.#open(cutter.ext, cutter.position, cutter.preamble());
  }

  damaged(damagedBytes: number): void {
    const at = this.#walker.cutter.position - damagedBytes;
    const piece = this.#piece;
    const text =
      at === 0
        ? `the stream is not ${this.#expected()}: kept as raw`
        : `the stream is damaged at byte ${at}: kept as raw from there on`;
    this.#context.stats.rawStreams += 1;
    this.#context.host.note(this.#session, text);
    this.#flush(at);
    this.#context.aging.delete(this);
    this.#open(RAW_EXT, at);
    if (piece === undefined) return;
    if (damagedBytes > 0) {
      const offset = piece.preambleBytes + at - piece.start;
      const into = this.#piece!;
      into.gatheredBytes = damagedBytes;
      this.#writer.split(piece.file, into.file, offset);
    }
    this.#writer.push({ kind: 'finish', file: piece.file });
  }

  async #finish(): Promise<void> {
    const { rest } = this.#walker;
    if (rest.length > 0) {
      // Too little to be a header: with the file that is open, or on its own.
      if (this.#piece === undefined) this.#openForRest();
      this.append(rest, 0, rest.length);
    }
    this.#roll();
    if (this.#session.meta !== undefined && !this.#hadFile) {
      this.#writer.push({ kind: 'meta', file: this.#writer.newFile(RAW_EXT) });
    }
    await this.#writer.idle();
    this.#ended(this);
  }

  #openForRest(): void {
    if (this.#walker.cutter.position === 0) {
      this.#context.stats.rawStreams += 1;
      this.#context.host.note(
        this.#session,
        `the stream is too short to be ${this.#expected()}: kept as raw`,
      );
    }
    this.#open(RAW_EXT, this.#walker.cutter.position);
  }

  #expected(): string {
    return `what its type ${this.#session.type} says`;
  }

  #open(ext: string, start: number, preamble?: Uint8Array): void {
    this.#hadFile = true;
    const preambleBytes = preamble?.length ?? 0;
    const file = this.#writer.newFile(ext);
    this.#piece = { file, start, preambleBytes, gatheredBytes: 0, isDue: false };
    this.#context.aging.add(this);
    if (preamble !== undefined) this.#copy(preamble, 0, preambleBytes, true);
  }

  #rollIfDue(): void {
    const piece = this.#piece;
    if (piece === undefined || !this.#walker.atCut) return;
    const { boundary } = this.#walker.cutter;
    if (boundary >= this.cutAt() && boundary > piece.start) this.#roll();
  }

  /** Ends the file that is open; the next begins with the next record. */
  #roll(): void {
    const piece = this.#piece;
    if (piece === undefined) return;
    this.#flush();
    this.#writer.push({ kind: 'finish', file: piece.file });
    this.#context.aging.delete(this);
    this.#piece = undefined;
  }

  /** Bytes that the block at hand still takes; none where there is none. */
  get #room(): number {
    return this.#block === undefined
      ? Number.POSITIVE_INFINITY
      : this.#block.bytes.length - this.#lead - this.#filled;
  }

  /** Counts frames that ended with what was appended last. */
  #credit(frames: number): void {
    if (this.#filled > 0) this.#frames += frames;
    else this.#writer.credit(frames);
  }

  #copy(bytes: Uint8Array, from: number, to: number, isPreamble: boolean): void {
    const { host } = this.#context;
    for (let at = from; at < to; ) {
      if (this.#block === undefined) {
        this.#block = this.#context.pool.allocate(this.#blockBytes, to - at);
        this.#lead = this.#leadOf(this.#block);
        this.#context.unflushed.add(this);
      }
      const { bytes: block, address } = this.#block;
      const end = this.#lead + this.#filled;
      const step = Math.min(to - at, block.length - end);
      if (address !== 0 && bytes === host.memory) host.copy(address + end, at, step);
      else block.set(bytes.subarray(at, at + step), end);
      this.#filled += step;
      if (isPreamble) this.#preamble += step;
      this.#piece!.gatheredBytes += step;
      at += step;
      if (end + step < block.length) continue;
      const { blockBytesMax } = this.#context.pool;
      this.#blockBytes = Math.min(blockBytesMax, this.#blockBytes * BLOCK_GROWTH);
      this.#flush();
    }
  }

  /**
   * Where in a block its data begins. In one that is to be written directly each byte lies as far
   * into a page of memory as into one of the file.
   */
  #leadOf(block: Block): number {
    const isDirect = block.address !== 0 && block.bytes.length > DIRECT_BYTES_MIN;
    if (!isDirect || this.#context.options.compress !== 'none') return 0;
    return this.#piece!.gatheredBytes % DIRECT_ALIGNMENT_BYTES;
  }

  /** @param boundary where the last whole record ended */
  #flush(boundary = this.#walker.cutter.boundary): void {
    const block = this.#block;
    const piece = this.#piece;
    if (block === undefined || piece === undefined) return;
    this.#context.pool.seal(block);
    this.#writer.push({
      kind: 'data',
      file: piece.file,
      block,
      data: block.bytes.subarray(this.#lead, this.#lead + this.#filled),
      preamble: this.#preamble,
      frames: this.#frames,
      boundary: piece.preambleBytes + boundary - piece.start,
    });
    this.#context.unflushed.delete(this);
    this.#block = undefined;
    this.#filled = 0;
    this.#preamble = 0;
    this.#frames = 0;
  }
}
