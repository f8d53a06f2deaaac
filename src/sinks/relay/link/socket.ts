import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls';
import { type ClientOptions, WebSocket } from 'ws';
import { LINK_PATH } from '../../../config/schema.js';
import { KEEPALIVE_DELAY_MS } from '../../../constants.js';
import { CONTROL_MESSAGE_BYTES_MAX, MessageKind } from '../../../link/messages.js';
import type { SecureOptions } from '../../../net/connection.js';
import { explainConnectionError, type Mends } from '../../../net/connection-error.js';
import type { Batch } from './sender.js';

/** Name lookup, TCP, TLS and the upgrade together. */
const CONNECT_MS_MAX = 15_000;
/** Of a final binary message, masked, with a length of 64 bits, and the kind of a BATCH. */
const BATCH_HEAD = Buffer.from([0x82, 0xff, ...new Array(12).fill(0), MessageKind.BATCH]);
const BATCH_HEAD_LENGTH = 2;
const CLOSE_MS_MAX = 2_000;

export interface LinkSocketEvents {
  open(): void;
  message(bytes: Buffer): void;
  /** It can be written to again. */
  ready(): void;
  /** The end, once. `reason`: what an operator is told. */
  closed(reason: string): void;
}

/** Where and how a link connects. The token is in no message and no log. */
export interface LinkTarget {
  host: string;
  port: number;
  secure: SecureOptions;
  token: string;
  mends: Mends;
}

/** One WebSocket to another gateway. */
export class LinkClientSocket {
  readonly #socket: WebSocket;
  readonly #events: LinkSocketEvents;
  #raw: TLSSocket | undefined;
  #isOpen = false;
  #isOver = false;
  /** Batches that the kernel has not taken. */
  #unwritten = 0;
  #error: string | undefined;

  constructor({ host, port, secure, token, mends }: LinkTarget, events: LinkSocketEvents) {
    this.#events = events;
    const shown = host.includes(':') ? `[${host}]` : host;
    const name = secure.servername ?? host;
    const options: ClientOptions & SecureOptions = {
      ...secure,
      // RFC 6066, section 3: no address as a server name.
      servername: secure.servername ?? (isIP(host) ? '' : host),
      minVersion: 'TLSv1.2',
      headers: { Authorization: `Bearer ${token}` },
      perMessageDeflate: false,
      followRedirects: false,
      maxPayload: CONTROL_MESSAGE_BYTES_MAX,
      // TLS protects the bytes; a mask of zeros is none, and spares a pass over them.
      generateMask: (mask) => mask.fill(0),
      // As the library does it, but that we keep the socket: it knows why a certificate was refused.
      createConnection: ((given: ConnectionOptions) => {
        this.#raw = connectTls({ ...given, path: undefined });
        return this.#raw;
      }) as never,
    };
    const late = setTimeout(() => {
      this.destroy(`it is not open within ${CONNECT_MS_MAX / 1000} s`);
    }, CONNECT_MS_MAX);
    this.#socket = new WebSocket(`wss://${shown}:${port}${LINK_PATH}`, options);
    const socket = this.#socket;
    socket.on('upgrade', (response: IncomingMessage) => {
      response.socket.setKeepAlive(true, KEEPALIVE_DELAY_MS);
    });
    socket.on('open', () => {
      clearTimeout(late);
      this.#isOpen = true;
      events.open();
    });
    socket.on('message', (data: Buffer) => {
      if (!this.#isOver) events.message(data);
    });
    socket.on('unexpected-response', (request, response) => {
      this.#error ??= refusalOf(response);
      request.destroy();
      response.destroy();
      socket.terminate();
    });
    socket.on('error', (error) => {
      const raw = this.#raw;
      this.#error ??= (raw ? explainConnectionError(error, raw, name, mends) : error).message;
    });
    socket.on('close', (code, reason) => {
      if (this.#isOver) return;
      this.#isOver = true;
      clearTimeout(late);
      const text = reason.length > 0 ? `: ${reason.toString()}` : '';
      events.closed(this.#error ?? `it was closed (${code}${text})`);
    });
  }

  get writable(): boolean {
    return this.#isOpen && !this.#isOver && this.#unwritten === 0;
  }

  send(message: Buffer): void {
    if (this.#isOpen && !this.#isOver) this.#socket.send(message, { binary: true }, () => {});
  }

  /**
   * Sends a BATCH in one piece, past the library: it would hand over a header and the rest, and TLS
   * puts the pieces of a write together in fresh memory first. One at a time, so that the stream
   * does not gather them either.
   */
  sendBatch({ bytes, headroom }: Batch, sent: () => void): void {
    const raw = this.#raw;
    if (!this.#isOpen || this.#isOver || !raw?.writable) return;
    const head = BATCH_HEAD.length;
    const message =
      headroom >= head
        ? Buffer.from(bytes.buffer, bytes.byteOffset - head, head + bytes.length)
        : Buffer.concat([BATCH_HEAD, bytes]);
    BATCH_HEAD.copy(message);
    message.writeBigUInt64BE(BigInt(1 + bytes.length), BATCH_HEAD_LENGTH);
    this.#unwritten += 1;
    raw.write(message, (error) => {
      this.#unwritten -= 1;
      if (!error) sent();
      if (this.writable) this.#events.ready();
    });
  }

  /** Ends it behind all that was sent. */
  close(): void {
    this.#socket.close(1000);
    const timer = setTimeout(() => this.#socket.terminate(), CLOSE_MS_MAX);
    this.#socket.once('close', () => clearTimeout(timer));
  }

  destroy(reason: string): void {
    this.#error ??= reason;
    this.#socket.terminate();
  }
}

function refusalOf({ statusCode }: IncomingMessage): string {
  switch (statusCode) {
    case 401:
      return 'it does not take our link token: d4gw link add makes one there, for tokenFile here';
    case 404:
      return `it has no ${LINK_PATH}: is that a d4gw gateway with listen: wss?`;
    case 503:
      return 'it is stopping';
    default:
      return `it answered ${statusCode} to the upgrade request`;
  }
}
