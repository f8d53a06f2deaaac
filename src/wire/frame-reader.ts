import { decodeHeader, type Header, type HeaderLimits, headerReject } from './header.js';
import { HEADER_BYTES } from './layout.js';
import { type RejectCode, rejectName } from './reject.js';

/** A whole frame; `bytes` and `payload` are views that hold until the next frame is asked for. */
export interface Frame {
  /** Byte offset of the header in the stream. */
  offset: number;
  header: Header;
  /** Header and payload. */
  bytes: Buffer;
  payload: Buffer;
}

/** The stream holds no frame at `offset`: a header that is refused, or an end in mid-frame. */
export class FrameError extends Error {
  readonly offset: number;
  /** Undefined where the stream was cut. */
  readonly reject: RejectCode | undefined;

  constructor(offset: number, detail: string, reject?: RejectCode) {
    super(`${detail} at offset ${offset}`);
    this.name = 'FrameError';
    this.offset = offset;
    this.reject = reject;
  }
}

/**
 * The reference framer: takes a stream in pieces of any size and gives its frames. A frame that the
 * pieces cut is copied once, into a buffer allocated when its header is whole, so memory is bounded
 * by one frame of `maxPayloadBytes`.
 *
 *     stream    ░░░░░░░░░░░░░░░▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓
 *                             ▲ #offset    ▲ received
 *               given frames  └── #held ───┘   (the bytes of one incomplete frame)
 */
export class FrameReader {
  readonly #limits: HeaderLimits;
  readonly #partialHeader = Buffer.alloc(HEADER_BYTES);
  /** The frame under assembly; the header's own buffer until the size is known. */
  #frame: Buffer = this.#partialHeader;
  #held = 0;
  #offset = 0;

  constructor(limits: HeaderLimits) {
    this.#limits = limits;
  }

  /**
   * The frames that `chunk` completes. Must be run to its end before the next chunk is given.
   * @throws FrameError at the first header that is refused, once the frames before it were given
   */
  *push(chunk: Buffer): Generator<Frame, void, undefined> {
    let position = 0;
    while (position < chunk.length) {
      if (this.#held === 0 && chunk.length - position >= HEADER_BYTES) {
        this.#check(chunk, position);
        const header = decodeHeader(chunk, position);
        const end = position + HEADER_BYTES + header.size;
        if (end <= chunk.length) {
          const bytes = chunk.subarray(position, end);
          position = end;
          yield this.#give(header, bytes);
          continue;
        }
      }
      position += this.#assemble(chunk, position);
      if (this.#frame !== this.#partialHeader && this.#held === this.#frame.length) {
        const bytes = this.#frame;
        this.#frame = this.#partialHeader;
        this.#held = 0;
        yield this.#give(decodeHeader(bytes), bytes);
      }
    }
  }

  /** @throws FrameError when the stream ends in mid-frame */
  end(): void {
    if (this.#held === 0) return;
    const missing = this.#frame.length - this.#held;
    const what = this.#held < HEADER_BYTES ? 'a header' : 'a frame';
    throw new FrameError(
      this.#offset,
      `the stream ends ${missing} bytes before the end of ${what}`,
    );
  }

  /** Copies what the frame under assembly lacks; returns the bytes taken. */
  #assemble(chunk: Buffer, position: number): number {
    const taken = chunk.copy(this.#frame, this.#held, position);
    this.#held += taken;
    if (this.#frame === this.#partialHeader && this.#held === HEADER_BYTES) {
      this.#check(this.#partialHeader, 0);
      const { size } = decodeHeader(this.#partialHeader);
      this.#frame = Buffer.allocUnsafe(HEADER_BYTES + size);
      this.#partialHeader.copy(this.#frame);
    }
    return taken;
  }

  #give(header: Header, bytes: Buffer): Frame {
    const frame = { offset: this.#offset, header, bytes, payload: bytes.subarray(HEADER_BYTES) };
    this.#offset += bytes.length;
    return frame;
  }

  #check(bytes: Buffer, position: number): void {
    const reject = headerReject(bytes, position, this.#limits);
    if (reject === undefined) return;
    const { version, type, uuid, size } = decodeHeader(bytes, position);
    const fields = `version ${version}, type ${type}, uuid ${uuid}, size ${size}`;
    throw new FrameError(this.#offset, `${rejectName(reject)}: no frame (${fields})`, reject);
  }
}
