/**
 * The frames of RFC 6455, as a server reads them from a client and writes them:
 *
 *     0        1        2              4 … 10         + 4
 *     │F r3 op │M len7  │ len16/len64  │ mask         │ payload
 *
 * `F`: the message's last frame. `len7` 126: 16 bits follow, 127: 64; all big-endian. A client masks
 * (`M`), a server does not (section 5.1).
 */
export const Opcode = { CONTINUATION: 0, TEXT: 1, BINARY: 2, CLOSE: 8, PING: 9, PONG: 10 } as const;

/** Close codes of section 7.4.1 that are sent here. */
export const Close = {
  NORMAL: 1000,
  GOING_AWAY: 1001,
  PROTOCOL_ERROR: 1002,
  UNSUPPORTED_DATA: 1003,
  /** Never sent: stands for a close frame without a code. */
  NO_CODE: 1005,
  POLICY: 1008,
  TOO_BIG: 1009,
  TRY_AGAIN: 1013,
} as const;

const FINAL = 0x80;
const RESERVED = 0x70;
const OPCODE = 0x0f;
const MASKED = 0x80;
const LENGTH = 0x7f;
const LENGTH_16 = 126;
const LENGTH_64 = 127;
const CONTROL = 0x08;
const MASK_BYTES = 4;
const CLOSE_CODE_BYTES = 2;
/** What a control frame may carry (section 5.5). */
export const CONTROL_BYTES_MAX = 125;
const HEADER_BYTES_MAX = 14;
const WORD = 4;

/** A client's bytes that are no WebSocket frames, or not such as a sensor may send. */
export class WebSocketFault extends Error {
  /** @param closeCode what the client is told */
  constructor(
    message: string,
    readonly closeCode: number,
  ) {
    super(message);
    this.name = 'WebSocketFault';
  }
}

export interface FrameEvents {
  /** The next bytes of a binary message, unmasked: a view of what was fed. */
  data(bytes: Buffer): void;
  /** A binary message is whole. */
  message(): void;
  /** A whole control frame. */
  control(opcode: number, payload: Buffer): void;
}

/**
 * Reads a client's frames as their bytes come, cut anywhere, and holds none of them but the start of
 * a header and a control frame: however long a message is, it costs no memory. After a fault, or
 * once `stop` was called, nothing more is read.
 */
export class FrameDecoder {
  readonly #events: FrameEvents;
  readonly #header = Buffer.alloc(HEADER_BYTES_MAX);
  #headerFill = 0;
  /** Of the frame under way: bytes to come, and its mask, whose first byte is for the next one. */
  #left = 0;
  #mask = 0;
  #opcode = 0;
  #isFinal = false;
  /** Within a message that came in several frames. */
  #inMessage = false;
  #control: Buffer | undefined;
  #stopped = false;

  constructor(events: FrameEvents) {
    this.#events = events;
  }

  /** Nothing is under way: the peer may close here. */
  get atBoundary(): boolean {
    return this.#left === 0 && this.#headerFill === 0 && !this.#inMessage;
  }

  stop(): void {
    this.#stopped = true;
  }

  /**
   * @param bytes unmasked in place: they belong to the decoder from now on
   * @throws WebSocketFault
   */
  feed(bytes: Buffer): void {
    let at = 0;
    while (at < bytes.length && !this.#stopped) {
      if (this.#left === 0) at = this.#readHeader(bytes, at);
      else at = this.#readPayload(bytes, at);
    }
  }

  #readHeader(bytes: Buffer, from: number): number {
    let at = from;
    for (;;) {
      const need = headerBytes(this.#header, this.#headerFill);
      if (this.#headerFill === need) break;
      if (at === bytes.length) return at;
      this.#header[this.#headerFill] = bytes[at]!;
      this.#headerFill += 1;
      at += 1;
    }
    this.#begin();
    return at;
  }

  /** The header is whole. */
  #begin(): void {
    const header = this.#header;
    this.#opcode = header[0]! & OPCODE;
    this.#isFinal = (header[0]! & FINAL) !== 0;
    if ((header[0]! & RESERVED) !== 0) throw protocolFault('reserved bits are set');
    if ((header[1]! & MASKED) === 0) throw protocolFault('a frame is not masked');
    this.#left = lengthIn(header);
    this.#mask = header.readInt32BE(this.#headerFill - MASK_BYTES);
    this.#headerFill = 0;
    if ((this.#opcode & CONTROL) !== 0) this.#beginControl();
    else this.#beginData();
    if (this.#left === 0) this.#end();
  }

  #beginControl(): void {
    const opcode = this.#opcode;
    const known = opcode === Opcode.CLOSE || opcode === Opcode.PING || opcode === Opcode.PONG;
    if (!known) throw protocolFault(`opcode ${opcode} is unknown`);
    if (!this.#isFinal) throw protocolFault('a control frame is fragmented');
    if (this.#left > CONTROL_BYTES_MAX) {
      throw protocolFault(`a control frame carries over ${CONTROL_BYTES_MAX} bytes`);
    }
    this.#control = Buffer.alloc(this.#left);
  }

  #beginData(): void {
    if (this.#opcode === Opcode.TEXT) {
      const message = 'a text message; D4 frames go in binary ones';
      throw new WebSocketFault(message, Close.UNSUPPORTED_DATA);
    }
    const isContinuation = this.#opcode === Opcode.CONTINUATION;
    if (!isContinuation && this.#opcode !== Opcode.BINARY) {
      throw protocolFault(`opcode ${this.#opcode} is unknown`);
    }
    if (isContinuation !== this.#inMessage) {
      throw protocolFault(
        isContinuation ? 'a continuation of no message' : 'a message begins within another',
      );
    }
    this.#inMessage = true;
  }

  #readPayload(bytes: Buffer, from: number): number {
    const to = Math.min(bytes.length, from + this.#left);
    this.#mask = unmask(bytes, from, to, this.#mask);
    this.#left -= to - from;
    if (this.#control)
      bytes.copy(this.#control, this.#control.length - this.#left - (to - from), from, to);
    else this.#events.data(bytes.subarray(from, to));
    if (this.#left === 0) this.#end();
    return to;
  }

  /** The frame is whole. */
  #end(): void {
    const control = this.#control;
    if (control) {
      this.#control = undefined;
      this.#events.control(this.#opcode, control);
    } else if (this.#isFinal) {
      this.#inMessage = false;
      this.#events.message();
    }
  }
}

/** How long a header is, by what is known of it. */
function headerBytes(header: Buffer, fill: number): number {
  if (fill < 2) return 2;
  const length = header[1]! & LENGTH;
  const mask = (header[1]! & MASKED) === 0 ? 0 : MASK_BYTES;
  return 2 + (length === LENGTH_64 ? 8 : length === LENGTH_16 ? 2 : 0) + mask;
}

function lengthIn(header: Buffer): number {
  const short = header[1]! & LENGTH;
  if (short < LENGTH_16) return short;
  if (short === LENGTH_16) return header.readUInt16BE(2);
  const length = header.readBigUInt64BE(2);
  if (length > BigInt(Number.MAX_SAFE_INTEGER)) throw protocolFault(`a frame of ${length} bytes`);
  return Number(length);
}

/**
 * XORs `bytes[from, to)` with a mask in place, word by word.
 * @param mask big-endian; its first byte is for `bytes[from]`
 * @returns the mask whose first byte is for `bytes[to]`
 */
export function unmask(bytes: Buffer, from: number, to: number, mask: number): number {
  if (mask === 0) return 0;
  let at = from;
  let turned = mask;
  for (; at < to && (bytes.byteOffset + at) % WORD !== 0; at += 1) {
    bytes[at]! ^= turned >>> 24;
    turned = (turned << 8) | (turned >>> 24);
  }
  const words = Math.floor((to - at) / WORD);
  if (words > 0) {
    const view = new Int32Array(bytes.buffer, bytes.byteOffset + at, words);
    const native = nativeWord(turned);
    for (let index = 0; index < words; index += 1) view[index]! ^= native;
    at += words * WORD;
  }
  for (; at < to; at += 1) {
    bytes[at]! ^= turned >>> 24;
    turned = (turned << 8) | (turned >>> 24);
  }
  return turned;
}

const order = new DataView(new ArrayBuffer(WORD));

/** A big-endian word as this machine's typed arrays hold it. */
function nativeWord(word: number): number {
  order.setInt32(0, word, false);
  return new Int32Array(order.buffer)[0]!;
}

/** A server's frame header for `length` bytes of payload. */
export function encodeHeader(opcode: number, length: number): Buffer {
  if (length < LENGTH_16) return Buffer.from([FINAL | opcode, length]);
  if (length <= 0xffff) {
    const header = Buffer.from([FINAL | opcode, LENGTH_16, 0, 0]);
    header.writeUInt16BE(length, 2);
    return header;
  }
  const header = Buffer.alloc(10);
  header[0] = FINAL | opcode;
  header[1] = LENGTH_64;
  header.writeBigUInt64BE(BigInt(length), 2);
  return header;
}

/** A whole server's frame with a short payload. */
export function encodeFrame(opcode: number, payload: Buffer): Buffer {
  return Buffer.concat([encodeHeader(opcode, payload.length), payload]);
}

/** A server's close frame; a reason that is too long is cut. */
export function encodeClose(code: number, reason: string): Buffer {
  const text = Buffer.from(reason).subarray(0, CONTROL_BYTES_MAX - CLOSE_CODE_BYTES);
  const payload = Buffer.alloc(CLOSE_CODE_BYTES + text.length);
  payload.writeUInt16BE(code);
  text.copy(payload, CLOSE_CODE_BYTES);
  return encodeFrame(Opcode.CLOSE, payload);
}

/** What a peer's close frame says. */
export function decodeClose(payload: Buffer): { code: number; reason: string } {
  if (payload.length < CLOSE_CODE_BYTES) return { code: Close.NO_CODE, reason: '' };
  return { code: payload.readUInt16BE(0), reason: payload.toString('utf8', CLOSE_CODE_BYTES) };
}

function protocolFault(what: string): WebSocketFault {
  return new WebSocketFault(`no WebSocket: ${what}`, Close.PROTOCOL_ERROR);
}
