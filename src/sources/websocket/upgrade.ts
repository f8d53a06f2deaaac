import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { Reject, type RejectCode } from '../../wire/reject.js';
import type { Origin } from '../connection.js';

/** RFC 6455, section 1.3. */
const ACCEPT_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const PROTOCOL_VERSION = '13';
const KEY_FORM = /^[+/0-9A-Za-z]{22}==$/;
/** A request's line and headers; those of real clients are under 1 KiB. */
const HTTP_HEADER_BYTES_MAX = 8_192;
/** How long a peer that was refused may take to read why. */
const REFUSED_LINGER_MS = 1_000;
const VALUE_SHOWN_MAX = 64;

export interface UpgradeEvents {
  /**
   * A request is good: `accept` answers it, and the socket carries frames from then on. `head`: the
   * first bytes of them that came with it.
   */
  upgraded(request: UpgradeRequest): void;
  failed(code: RejectCode, origin: Origin, detail: string): void;
}

/** A request that asks for a WebSocket in the right form; whether it gets one its taker decides. */
export interface UpgradeRequest {
  readonly origin: Origin;
  readonly socket: Duplex;
  readonly head: Buffer;
  /** Without query. */
  readonly path: string;
  readonly authorization: string | undefined;
  /** Answers with 101. */
  accept(): void;
  /** Answers with an HTTP error, counts the reject and ends the connection. */
  refuse(status: number, code: RejectCode, detail: string): void;
}

interface Pending {
  origin: Origin;
  timer: NodeJS.Timeout;
}

/**
 * Reads the one HTTP request of each connection that becomes a WebSocket. `node:http` parses it; it
 * does not listen, it is given sockets whose TLS handshake is done. The deadline is a timer of our
 * own: Node's are checked only by servers that listen.
 */
export class Upgrades {
  readonly #server: Server;
  readonly #timeoutMs: number;
  readonly #events: UpgradeEvents;
  readonly #pending = new Map<Duplex, Pending>();

  constructor(timeoutMs: number, events: UpgradeEvents) {
    this.#timeoutMs = timeoutMs;
    this.#events = events;
    this.#server = createServer({ maxHeaderSize: HTTP_HEADER_BYTES_MAX });
    this.#server.on('request', (request, response) => this.#plain(request, response));
    this.#server.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head));
    this.#server.on('clientError', (error, socket) => this.#malformed(error, socket));
  }

  /** Takes a connection whose client is to send its request. */
  take(socket: Duplex, origin: Origin): void {
    const timer = setTimeout(() => {
      const detail = `no upgrade request within ${this.#timeoutMs} ms`;
      this.#refuse(socket, 408, Reject.HANDSHAKE_TIMEOUT, detail);
    }, this.#timeoutMs);
    this.#pending.set(socket, { origin, timer });
    socket.on('error', () => {});
    socket.once('close', () => {
      this.#fail(socket, Reject.BAD_UPGRADE, 'closed before its upgrade request was whole');
    });
    this.#server.emit('connection', socket);
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const wrong = wrongIn(request);
    if (wrong) {
      this.#refuse(socket, wrong.status, Reject.BAD_UPGRADE, wrong.detail);
      return;
    }
    const origin = this.#pending.get(socket)?.origin;
    if (!origin) return;
    const { authorization } = request.headers;
    const key = request.headers['sec-websocket-key']!;
    const path = pathOf(request);
    const accept = () => {
      this.#settle(socket);
      socket.write(acceptance(key));
    };
    const refuse = (status: number, code: RejectCode, detail: string) =>
      this.#refuse(socket, status, code, detail);
    this.#events.upgraded({ origin, socket, head, path, authorization, accept, refuse });
  }

  /** A request that asks for no upgrade. */
  #plain(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request;
    // Others may come with it: the first answer ends the connection.
    if (!this.#pending.has(socket)) return;
    const detail = `${request.method} ${shown(request.url)} asks for no WebSocket`;
    this.#fail(socket, Reject.BAD_UPGRADE, detail);
    response.writeHead(426, {
      Connection: 'close',
      Upgrade: 'websocket',
      'Content-Type': 'text/plain',
    });
    response.end('This is a D4 gateway: it takes WebSockets alone.\n');
    linger(socket);
  }

  #malformed(error: NodeJS.ErrnoException, socket: Duplex): void {
    const isLong = error.code === 'HPE_HEADER_OVERFLOW';
    const detail = isLong
      ? `the request's headers are over ${HTTP_HEADER_BYTES_MAX} bytes`
      : `no HTTP request: ${error.code ?? error.message}`;
    this.#refuse(socket, isLong ? 431 : 400, Reject.BAD_UPGRADE, detail);
  }

  #refuse(socket: Duplex, status: number, code: RejectCode, detail: string): void {
    this.#fail(socket, code, detail);
    const version = status === 426 ? `Sec-WebSocket-Version: ${PROTOCOL_VERSION}\r\n` : '';
    if (socket.writable) {
      socket.end(
        `HTTP/1.1 ${status} ${STATUS_TEXT[status] ?? 'Refused'}\r\n${version}` +
          `Connection: close\r\nContent-Length: 0\r\n\r\n`,
      );
    }
    linger(socket);
  }

  /** Reports a failure once. */
  #fail(socket: Duplex, code: RejectCode, detail: string): void {
    const pending = this.#settle(socket);
    if (pending) this.#events.failed(code, pending.origin, detail);
  }

  #settle(socket: Duplex): Pending | undefined {
    const pending = this.#pending.get(socket);
    clearTimeout(pending?.timer);
    this.#pending.delete(socket);
    return pending;
  }
}

const STATUS_TEXT: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  408: 'Request Timeout',
  426: 'Upgrade Required',
  431: 'Request Header Fields Too Large',
  503: 'Service Unavailable',
};

function wrongIn(request: IncomingMessage): { status: number; detail: string } | undefined {
  const { headers, method, httpVersion } = request;
  if (method !== 'GET') return { status: 400, detail: `an upgrade by ${method}, not GET` };
  if (httpVersion !== '1.1') return { status: 400, detail: `an upgrade by HTTP ${httpVersion}` };
  if (headers.upgrade?.toLowerCase() !== 'websocket') {
    return { status: 400, detail: `an upgrade to ${shown(headers.upgrade)}, not to websocket` };
  }
  const version = headers['sec-websocket-version'];
  if (version !== PROTOCOL_VERSION) {
    return { status: 426, detail: `WebSocket version ${shown(version)}, not ${PROTOCOL_VERSION}` };
  }
  if (!KEY_FORM.test(headers['sec-websocket-key'] ?? '')) {
    return { status: 400, detail: 'Sec-WebSocket-Key is missing or no 16 bytes in base64' };
  }
  return undefined;
}

function acceptance(key: string): string {
  const accept = createHash('sha1')
    .update(key + ACCEPT_GUID)
    .digest('base64');
  return (
    'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
    `Sec-WebSocket-Accept: ${accept}\r\n\r\n`
  );
}

function pathOf({ url = '/' }: IncomingMessage): string {
  const query = url.indexOf('?');
  return query < 0 ? url : url.slice(0, query);
}

/** A peer's text as a log line may hold it. */
export function shown(text: string | undefined): string {
  if (text === undefined) return 'none';
  return JSON.stringify(
    text.length > VALUE_SHOWN_MAX ? `${text.slice(0, VALUE_SHOWN_MAX)}…` : text,
  );
}

/** Gives a refused peer a moment to read the answer; what it still sends is thrown away. */
function linger(socket: Duplex): void {
  socket.resume();
  const timer = setTimeout(() => socket.destroy(), REFUSED_LINGER_MS);
  socket.once('close', () => clearTimeout(timer));
}
