import { type Cutter, EMPTY, Verdict } from './cutter.js';

/** A longer line is none: the stream is binary, or was never meant to be cut into lines. */
export const LINE_BYTES_MAX = 16 * 1024 * 1024;

const NEWLINE = 10;
/** Where most lines end that a frame ends in: a view of the memory costs more than to look here. */
const NEARBY_BYTES = 512;

/** Lines of text, each with its newline; nothing else is asked of them. */
export class LinesCutter implements Cutter {
  readonly ext: string;
  readonly cuttable = true;
  position = 0;
  boundary = 0;
  verdict: Verdict = Verdict.MORE;
  readonly #lineBytesMax: number;

  constructor(ext: string, lineBytesMax = LINE_BYTES_MAX) {
    this.ext = ext;
    this.#lineBytesMax = lineBytesMax;
  }

  walk(bytes: Uint8Array, from: number, to: number, cutAt: number): number {
    const base = this.position - from;
    let at = from;
    this.verdict = Verdict.MORE;
    while (at < to) {
      if (base + at === this.boundary && this.boundary >= cutAt) {
        this.verdict = Verdict.CUT;
        break;
      }
      const stop = this.#stop(bytes, at, to, cutAt - base, this.boundary - base);
      if (base + stop - this.boundary > this.#lineBytesMax) {
        this.verdict = Verdict.DAMAGED;
        break;
      }
      const last = lastNewline(bytes, at, stop);
      if (last >= 0) this.boundary = base + last + 1;
      at = stop;
    }
    this.position = base + at;
    return at;
  }

  preamble(): Uint8Array {
    return EMPTY;
  }

  resume(): Uint8Array {
    return EMPTY;
  }

  /** How far to go at once; `cutAt` and `lineStart` as indexes of `bytes`. */
  #stop(bytes: Uint8Array, at: number, to: number, cutAt: number, lineStart: number): number {
    let stop = to;
    // The first newline that brings the file to its size.
    if (to >= cutAt) stop = pastNewline(bytes, Math.max(at, cutAt - 1), to);
    // The line under way alone, so that its length is seen.
    if (stop - lineStart > this.#lineBytesMax) stop = pastNewline(bytes, at, stop);
    return stop;
  }
}

/** Index of the last newline of `bytes[from, to)`; -1 where there is none. */
function lastNewline(bytes: Uint8Array, from: number, to: number): number {
  const nearby = Math.max(from, to - NEARBY_BYTES);
  let at = to;
  while (at > nearby) {
    at -= 1;
    if (bytes[at] === NEWLINE) return at;
  }
  const index = bytes.subarray(from, nearby).lastIndexOf(NEWLINE);
  return index < 0 ? index : from + index;
}

/** Index behind the first newline of `bytes[from, to)`; `to` where there is none. */
function pastNewline(bytes: Uint8Array, from: number, to: number): number {
  const newline = bytes.subarray(from, to).indexOf(NEWLINE);
  return newline < 0 ? to : from + newline + 1;
}
