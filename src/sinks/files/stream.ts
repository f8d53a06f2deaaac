import type { CarriedPart, FrameRef, Rest, SinkSession, SinkStream } from '../sink.js';
import type { FilesContext } from './context.js';
import { cutterForType } from './cutters/choose.js';
import { RAW_EXT } from './cutters/cutter.js';
import { RawCutter } from './cutters/raw.js';
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
  /** Bytes of a preamble that an earlier session left, which are walked as its own. */
  readonly carriedBytes: number;
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
  #carriedInBlock = 0;
  #frames = 0;
  /** Size of the next block. */
  #blockBytes = BLOCK_BYTES_MIN;
  /** Frames that ended within what the walker keeps. */
  #framesInRest = 0;
  #hadFile = false;
  #isOver = false;
  #end: Promise<void> | undefined;
  /** What the stream goes on from, until its first byte comes; and how much of it is to be walked. */
  #carried: CarriedPart | undefined;
  #carriedBytes = { preamble: 0, tail: 0 };

  /** @param ended called once all is written, or given up */
  constructor(context: FilesContext, session: SinkSession, ended: (stream: FileStream) => void) {
    this.#context = context;
    this.#session = session;
    this.#ended = ended;
    this.#writer = new StreamWriter(context, session);
    this.#carried = session.resume?.get(context.name)?.part;
    const cutter = this.#carried?.raw ? new RawCutter() : cutterForType(session.type);
    this.#walker = new StreamWalker(cutter, this);
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
      this.#goOn();
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

  suspend(): Promise<void> {
    this.#end ??= this.#suspend();
    return this.#end;
  }

  async sync(): Promise<Rest | undefined> {
    this.#flush();
    if (this.#piece !== undefined) this.#writer.force(this.#piece.file);
    const rest = this.#rest();
    await this.#writer.done();
    return rest;
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
    return piece.start + piece.carriedBytes + this.#context.settings.options.rotateBytes;
  }

  append(bytes: Uint8Array, from: number, to: number): void {
    if (this.#carriedBytes.tail + this.#carriedBytes.preamble > 0) {
      this.#appendCarried(bytes, from, to);
      return;
    }
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
    this.#isOver = true;
    if (this.#carried && this.#carried.tail.length > 0) this.#goOn();
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

  /** The record under way goes elsewhere: the file ends with its last whole one. */
  async #suspend(): Promise<void> {
    const writer = this.#writer;
    // Where nothing came, what was kept of the stream stays as it is.
    if (this.#carried === undefined) {
      const rest = this.#rest();
      const piece = this.#piece;
      const { boundary, cuttable } = this.#walker.cutter;
      // Nothing in it stands alone yet, such as a pcapng section without interfaces.
      const isNothing = !cuttable && piece?.start === 0 && piece.carriedBytes === 0;
      const here = isNothing ? { preamble: new Uint8Array(0), raw: false } : this.#partHere();
      const part = { ...here, ...(rest ? { rest } : {}) };
      const at = piece && !isNothing ? piece.preambleBytes + boundary - piece.start : 0;
      this.#flush();
      if (piece === undefined) writer.keep(part);
      else writer.suspend(piece.file, at, part);
      this.#context.aging.delete(this);
      this.#piece = undefined;
      await writer.idle();
      if (rest && writer.isIdle) writer.deliverRest(rest);
    }
    this.#ended(this);
  }

  /** What a file that goes on here must begin with. */
  #partHere(): { preamble: Uint8Array; raw: boolean } {
    const { cutter } = this.#walker;
    const preamble = cutter.resume();
    const raw = preamble === undefined || cutter instanceof RawCutter;
    return { preamble: preamble ?? new Uint8Array(0), raw };
  }

  /** What was taken and is in no block: the start of a header. */
  #rest(): Rest | undefined {
    const bytes = Uint8Array.from(this.#walker.rest);
    if (bytes.length === 0 && this.#framesInRest === 0) return undefined;
    const { tally, waiting } = this.#writer;
    const gathered = this.#filled - this.#preamble;
    const at = tally.bytes + waiting.bytes + gathered;
    const { preamble, tail } = this.#carriedBytes;
    return {
      at,
      frames: this.#framesInRest,
      bytes,
      known: Math.min(bytes.length, preamble + tail),
    };
  }

  /** Walks what is carried over, before the first byte that is new. */
  #goOn(): void {
    const carried = this.#carried;
    if (carried === undefined) return;
    this.#carried = undefined;
    const { preamble, tail } = carried;
    this.#carriedBytes = { preamble: preamble.length, tail: tail.length };
    this.#walker.feed(preamble, 0, preamble.length);
    this.#walker.feed(tail, 0, tail.length);
  }

  /** The first bytes of the first file were counted before, by another session. */
  #appendCarried(bytes: Uint8Array, from: number, to: number): void {
    const left = this.#carriedBytes;
    const preamble = Math.min(left.preamble, to - from);
    const tail = Math.min(left.tail, to - from - preamble);
    left.preamble -= preamble;
    left.tail -= tail;
    this.#copy(bytes, from, from + preamble, true);
    const end = from + preamble + tail;
    this.#copy(bytes, from + preamble, end, true, true);
    if (end < to) this.append(bytes, end, to);
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
    const carriedBytes = this.#carriedBytes.preamble;
    this.#piece = { file, start, preambleBytes, carriedBytes, gatheredBytes: 0, isDue: false };
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
    if (this.#session.resume !== undefined && !this.#isOver) this.#keepPreamble();
    this.#writer.push({ kind: 'finish', file: piece.file });
    this.#context.aging.delete(this);
    this.#piece = undefined;
  }

  /** Once no file is open, nothing else tells what the next must begin with. */
  #keepPreamble(): void {
    const part = this.#partHere();
    if (part.raw || part.preamble.length > 0) this.#writer.keep(part);
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

  #copy(bytes: Uint8Array, from: number, to: number, isPreamble: boolean, isCarried = false): void {
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
      if (isCarried) this.#carriedInBlock += step;
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
    if (!isDirect || this.#piece!.file.compress !== 'none') return 0;
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
      carried: this.#carriedInBlock,
      frames: this.#frames,
      boundary: piece.preambleBytes + boundary - piece.start,
    });
    this.#context.unflushed.delete(this);
    this.#block = undefined;
    this.#filled = 0;
    this.#preamble = 0;
    this.#carriedInBlock = 0;
    this.#frames = 0;
  }
}
