import type { Socket } from 'node:net';
import type { Stream } from './frames.js';
import { monotonicMs, type RunParams, type SentStream } from './messages.js';

/** Large writes: the generator's cost a byte must not be what is measured. */
const WRITE_BYTES = 256 * 1024;
/**
 * A second write waits in the socket, so that no turn of the event loop passes between two; where
 * many streams are sent, others fill the gap, and what is still under way at the end stays small.
 */
const WRITES_IN_FLIGHT = 2;
const FEW_STREAMS = 64;

interface Piece {
  bytes: Buffer;
  frames: number;
}

/**
 * Writes one stream's cycle over and over until the time is up or the count is reached, then ends
 * the connection cleanly. It counts whole frames handed to the socket; the connection's own error
 * tells when not all of them can have left.
 */
export class StreamSender {
  readonly #socket: Socket;
  readonly #stream: Stream;
  readonly #pieces: Piece[];
  readonly #sent: SentStream;
  #next = 0;
  #inFlight = 0;
  #left = 0;
  #endAt = 0;
  #ending = false;
  #flushed: () => void = () => {};
  /** Resolves when the last byte was handed to the kernel, or never will be. */
  readonly flushed = new Promise<void>((resolve) => {
    this.#flushed = resolve;
  });
  #closeTimer: NodeJS.Timeout | undefined;
  #closeDeadlineMs = 0;

  readonly #inFlightMax: number;

  /** @param streams how many are sent side by side by this process */
  constructor(socket: Socket, stream: Stream, streams: number) {
    this.#socket = socket;
    this.#stream = stream;
    this.#inFlightMax = streams <= FEW_STREAMS ? WRITES_IN_FLIGHT : 1;
    this.#pieces = cut(stream);
    this.#sent = { uuid: stream.uuid, frames: 0, bytes: 0, streamBytes: 0 };
    socket.on('error', (error) => {
      this.#sent.error ??= error.message;
    });
  }

  /** Resolves when the connection has closed. */
  run({ milliseconds, framesMax, closeDeadlineMs }: RunParams): Promise<SentStream> {
    this.#left = framesMax;
    this.#closeDeadlineMs = closeDeadlineMs;
    this.#endAt = monotonicMs() + milliseconds;
    this.#socket.once('finish', this.#flushed);
    return new Promise((resolve) => {
      const closed = () => {
        clearTimeout(this.#closeTimer);
        this.#flushed();
        if (!this.#ending || !this.#socket.writableFinished) {
          this.#sent.error ??= 'closed by the server before everything was sent';
        }
        resolve(this.#sent);
      };
      if (this.#socket.closed) return closed();
      this.#socket.once('close', closed);
      this.#socket.resume();
      this.#prologue();
      this.#pump();
    });
  }

  #prologue(): void {
    const { prologue, prologuePayloadBytes } = this.#stream;
    if (prologue.length === 0) return;
    this.#socket.write(prologue);
    this.#count(1, prologuePayloadBytes, prologue.length);
  }

  #pump(): void {
    while (this.#inFlight < this.#inFlightMax && !this.#ending) {
      if (this.#left <= 0 || monotonicMs() >= this.#endAt || this.#socket.destroyed) {
        this.#end();
        return;
      }
      const piece = this.#take();
      this.#inFlight += 1;
      this.#socket.write(piece.bytes, () => {
        this.#inFlight -= 1;
        this.#pump();
      });
      const { payloadBytes } = this.#stream;
      this.#count(piece.frames, piece.frames * payloadBytes, piece.bytes.length);
    }
  }

  /** The next piece of the cycle, or as much of it as is still to be sent. */
  #take(): Piece {
    const piece = this.#pieces[this.#next]!;
    this.#next = (this.#next + 1) % this.#pieces.length;
    const frames = Math.min(piece.frames, this.#left);
    this.#left -= frames;
    if (frames === piece.frames) return piece;
    return { frames, bytes: piece.bytes.subarray(0, frames * this.#stream.frameBytes) };
  }

  #end(): void {
    this.#ending = true;
    this.#closeTimer = setTimeout(() => {
      this.#sent.error ??= `the server had not closed after ${this.#closeDeadlineMs} ms`;
      this.#socket.destroy();
    }, this.#closeDeadlineMs);
    this.#socket.end();
  }

  #count(frames: number, bytes: number, streamBytes: number): void {
    this.#sent.frames += frames;
    this.#sent.bytes += bytes;
    this.#sent.streamBytes += streamBytes;
  }
}

/** The cycle in pieces of whole frames. */
function cut({ cycle, frameBytes }: Stream): Piece[] {
  const frames = cycle.length / frameBytes;
  const each = Math.max(1, Math.ceil(WRITE_BYTES / frameBytes));
  const pieces: Piece[] = [];
  for (let from = 0; from < frames; from += each) {
    const to = Math.min(from + each, frames);
    pieces.push({ frames: to - from, bytes: cycle.subarray(from * frameBytes, to * frameBytes) });
  }
  return pieces;
}
