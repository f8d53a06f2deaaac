import { Duplex } from 'node:stream';
import {
  Close,
  decodeClose,
  encodeClose,
  encodeFrame,
  FrameDecoder,
  Opcode,
  WebSocketFault,
} from './frames.js';

/** How long the peer may take to answer our close frame, and the socket to end. */
const CLOSE_LINGER_MS = 1_000;
/** Pongs that a peer does not read are not gathered beyond this. */
const UNREAD_PONG_BYTES_MAX = 16 * 1024;

export interface StreamEnding {
  code: number;
  reason: string;
}

/**
 * The bytes in a client's binary messages as a stream, cut as the reads cut them: where messages and
 * frames begin and end means nothing to D4. Paused, it stops reading from its socket, so TCP holds
 * the sensor back. Nothing is ever written to a sensor but pongs and the close frame.
 */
export class SensorStream extends Duplex {
  readonly #socket: Duplex;
  readonly #decoder: FrameDecoder;
  readonly #ending: () => StreamEnding;
  #closeSent = false;
  #ended = false;
  #fault: WebSocketFault | undefined;

  /**
   * @param socket that was upgraded
   * @param faulted told of the first bytes that are wrong, once all before them was taken
   * @param ending asked when the stream is destroyed from this side: what the client is told
   */
  constructor(
    socket: Duplex,
    faulted: (fault: WebSocketFault) => void,
    ending: () => StreamEnding,
  ) {
    super({ allowHalfOpen: false });
    this.#socket = socket;
    this.#ending = ending;
    this.#decoder = new FrameDecoder({
      data: (bytes) => {
        if (!this.push(bytes)) socket.pause();
      },
      message: () => {},
      control: (opcode, payload) => this.#control(opcode, payload),
    });
    this.once('end', () => {
      if (this.#fault) faulted(this.#fault);
    });
    socket.on('data', (bytes: Buffer) => this.feed(bytes));
    socket.on('end', () => this.#end());
    socket.on('error', (error) => this.#error(error));
    socket.on('close', () => {
      if (!this.#ended) this.destroy();
    });
  }

  /** Takes bytes that came with the request. */
  feed(bytes: Buffer): void {
    if (this.#ended) return;
    try {
      this.#decoder.feed(bytes);
    } catch (error) {
      if (!(error instanceof WebSocketFault)) throw error;
      this.#fault = error;
      this.#end();
    }
  }

  override _read(): void {
    this.#socket.resume();
  }

  override _write(_chunk: unknown, _encoding: unknown, done: (error?: Error) => void): void {
    done(new Error('nothing is written to a sensor'));
  }

  /** The client's own end was passed on: it is answered. */
  override _final(done: () => void): void {
    this.#close({ code: Close.NORMAL, reason: '' });
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#ended = true;
    this.#decoder.stop();
    this.#close(this.#ending());
    done(error);
  }

  #control(opcode: number, payload: Buffer): void {
    const socket = this.#socket;
    if (opcode === Opcode.PING) {
      if (socket.writableLength > UNREAD_PONG_BYTES_MAX || !socket.writable) return;
      socket.write(encodeFrame(Opcode.PONG, payload));
    } else if (opcode === Opcode.CLOSE) {
      this.#decoder.stop();
      const { code } = decodeClose(payload);
      this.#close({ code: code === Close.NO_CODE ? Close.NORMAL : code, reason: '' });
      this.#end();
    }
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.push(null);
  }

  /** The socket broke: what it had read before is passed on first, as a socket of its own would. */
  #error(error: Error): void {
    const socket = this.#socket;
    for (let part = socket.read(); part !== null; part = socket.read()) this.feed(part);
    this.#ended = true;
    this.destroy(error);
  }

  /** Says goodbye once, and ends the socket: in order, or after a moment without. */
  #close({ code, reason }: StreamEnding): void {
    const socket = this.#socket;
    if (this.#closeSent) return;
    this.#closeSent = true;
    socket.resume();
    if (socket.writable) socket.end(encodeClose(code, reason));
    const timer = setTimeout(() => socket.destroy(), CLOSE_LINGER_MS);
    socket.once('close', () => clearTimeout(timer));
  }
}
