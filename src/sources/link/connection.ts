import type { Duplex } from 'node:stream';
import {
  CONTROL_MESSAGE_BYTES_MAX,
  decodeMessage,
  LinkProtocolError,
} from '../../link/messages.js';
import type { LinkReceiver } from '../../link/receiver.js';
import { BLOCK_HEADER_BYTES, BLOCK_STORED_BYTES_MAX } from '../../spool/layout.js';
import {
  Close,
  decodeClose,
  encodeClose,
  encodeFrame,
  encodeHeader,
  FrameDecoder,
  Opcode,
  WebSocketFault,
} from '../websocket/frames.js';

/** The longest message: a BATCH of one record of the largest frame. */
const MESSAGE_BYTES_MAX = 1 + BLOCK_HEADER_BYTES + BLOCK_STORED_BYTES_MAX;
/** How long the peer may take to answer our close frame. */
const CLOSE_LINGER_MS = 1_000;
/** Pieces of a message that are kept as they came: what comes in smaller ones is put together. */
const PIECE_BYTES_MIN = 4 * 1024;
/** What a peer that does not read has waiting for it, before it is given up. */
const UNREAD_BYTES_MAX = 1024 * 1024;

/** One gateway's WebSocket: whole messages in, messages out. */
export class LinkSocket {
  readonly #socket: Duplex;
  readonly #receiver: LinkReceiver;
  readonly #decoder: FrameDecoder;
  readonly #closed: (detail: string) => void;
  #parts: Buffer[] = [];
  #bytes = 0;
  /** Of the last part, where it is memory of its own: how much of it is filled. */
  #filled: number | undefined;
  #isClosing = false;
  #isOver = false;

  /** @param closed called once, when nothing more comes */
  constructor(socket: Duplex, receiver: LinkReceiver, closed: (detail: string) => void) {
    this.#socket = socket;
    this.#receiver = receiver;
    this.#closed = closed;
    this.#decoder = new FrameDecoder({
      data: (bytes) => this.#data(bytes),
      message: () => this.#message(),
      control: (opcode, payload) => this.#control(opcode, payload),
    });
    socket.on('data', (bytes: Buffer) => this.feed(bytes));
    socket.on('end', () => this.#over('the peer ended the connection'));
    socket.on('error', (error) => this.#over(error.message));
    socket.on('close', () => this.#over('the connection broke'));
  }

  feed(bytes: Buffer): void {
    if (this.#isClosing) return;
    try {
      this.#decoder.feed(bytes);
    } catch (error) {
      const isFault = error instanceof WebSocketFault || error instanceof LinkProtocolError;
      if (!isFault) throw error;
      this.#receiver.fail('protocol', error.message);
    }
    this.settle();
  }

  send(message: Buffer): void {
    const socket = this.#socket;
    if (this.#isClosing || !socket.writable) return;
    socket.write(encodeHeader(Opcode.BINARY, message.length));
    socket.write(message);
    if (socket.writableLength > UNREAD_BYTES_MAX) this.#over('the peer does not read');
  }

  /** Reads on, or not, as the receiver demands. */
  settle(): void {
    if (this.#isClosing) return;
    if (this.#receiver.isFull) this.#socket.pause();
    else if (this.#socket.isPaused()) this.#socket.resume();
  }

  /** Ends the connection behind all that was sent. */
  close(code: number = Close.NORMAL): void {
    if (this.#isClosing) return;
    this.#isClosing = true;
    this.#decoder.stop();
    const socket = this.#socket;
    socket.resume();
    if (socket.writable) socket.end(encodeClose(code, ''));
    const timer = setTimeout(() => socket.destroy(), CLOSE_LINGER_MS);
    socket.once('close', () => clearTimeout(timer));
  }

  #data(bytes: Buffer): void {
    const isBatch = (this.#parts[0]?.[0] ?? bytes[0]) === 2;
    const limit = isBatch && this.#receiver.hello ? MESSAGE_BYTES_MAX : CONTROL_MESSAGE_BYTES_MAX;
    this.#bytes += bytes.length;
    if (this.#bytes > limit) throw new LinkProtocolError(`a message of over ${limit} bytes`);
    if (bytes.length >= PIECE_BYTES_MIN) {
      this.#trim();
      this.#parts.push(bytes);
    } else this.#gather(bytes);
  }

  /** A piece holds the memory of the whole read that it came with: small ones are copied. */
  #gather(bytes: Buffer): void {
    if (this.#filled === undefined || this.#filled + bytes.length > PIECE_BYTES_MIN) {
      this.#trim();
      this.#parts.push(Buffer.allocUnsafeSlow(PIECE_BYTES_MIN));
      this.#filled = 0;
    }
    this.#filled += bytes.copy(this.#parts.at(-1)!, this.#filled);
  }

  #trim(): void {
    if (this.#filled === undefined) return;
    this.#parts.push(this.#parts.pop()!.subarray(0, this.#filled));
    this.#filled = undefined;
  }

  #message(): void {
    this.#trim();
    const parts = this.#parts;
    const message = parts.length === 1 ? parts[0]! : Buffer.concat(parts, this.#bytes);
    this.#parts = [];
    this.#bytes = 0;
    this.#receiver.take(decodeMessage(message));
  }

  #control(opcode: number, payload: Buffer): void {
    const socket = this.#socket;
    if (opcode === Opcode.PING) {
      if (socket.writableLength > UNREAD_BYTES_MAX || !socket.writable) return;
      socket.write(encodeFrame(Opcode.PONG, payload));
    } else if (opcode === Opcode.CLOSE) {
      const { code, reason } = decodeClose(payload);
      this.close();
      this.#over(`the peer closed it (${code}${reason ? `: ${reason}` : ''})`);
    }
  }

  #over(detail: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.close();
    this.#closed(detail);
  }
}
