import type { Socket } from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import type { SourceStart } from '../cluster/messages.js';
import { Reject, type RejectCode } from '../wire/reject.js';
import type { Origin } from './connection.js';

export interface TlsEvents {
  /** The handshake is done: the socket carries the sensor's bytes. */
  secure(socket: TLSSocket, origin: Origin): void;
  failed(code: RejectCode, origin: Origin, detail: string): void;
}

/**
 * The TLS side of one listener in a worker: it does not listen, it is given accepted sockets. TLS
 * 1.2 and up. A server name that is an IP address is taken: socat sends such (WIRE.md).
 */
export class TlsSource {
  readonly #server: Server;
  /** Sockets whose handshake goes on. */
  readonly #handshakes = new Map<Socket, Origin>();
  readonly #events: TlsEvents;
  /** What is known of a socket that was closed without a word of the server's. */
  readonly #closedEarly: string;

  constructor(tls: NonNullable<SourceStart['tls']>, handshakeTimeoutMs: number, events: TlsEvents) {
    this.#events = events;
    this.#closedEarly = tls.rejectUnauthorized
      ? 'closed before the handshake was done, or its certificate is not one that caFile vouches for'
      : 'closed before the handshake was done';
    this.#server = createServer({
      cert: tls.cert,
      key: tls.key,
      ...(tls.ca === undefined ? {} : { ca: tls.ca }),
      requestCert: tls.requestCert,
      rejectUnauthorized: tls.rejectUnauthorized,
      minVersion: 'TLSv1.2',
      handshakeTimeout: handshakeTimeoutMs,
      // One long connection a sensor: resumption would cost memory and save nothing.
      sessionTimeout: 1,
    });
    this.#server.on('secureConnection', (socket) => this.#secure(socket));
    this.#server.on('tlsClientError', (error, socket) => this.#failed(error, socket));
  }

  /** Begins the handshake on an accepted socket, whose end is then told by `closed`. */
  take(socket: Socket, origin: Origin): void {
    this.#handshakes.set(socket, origin);
    this.#server.emit('connection', socket);
  }

  /** A certificate that is not accepted ends the socket without an event of the server's. */
  closed(socket: Socket): void {
    this.#fail(socket, Reject.HANDSHAKE_FAILED, this.#closedEarly);
  }

  #secure(socket: TLSSocket): void {
    const parent = parentOf(socket);
    const origin = this.#handshakes.get(parent);
    if (!origin) return;
    this.#handshakes.delete(parent);
    this.#events.secure(socket, origin);
  }

  #failed(error: NodeJS.ErrnoException & { reason?: string }, socket: TLSSocket): void {
    socket.on('error', () => {});
    socket.destroy();
    const timeout = error.code === 'ERR_TLS_HANDSHAKE_TIMEOUT';
    const code = timeout ? Reject.HANDSHAKE_TIMEOUT : Reject.HANDSHAKE_FAILED;
    this.#fail(parentOf(socket), code, error.reason ?? error.code ?? error.message);
  }

  /** Reports a failure once. */
  #fail(socket: Socket, code: RejectCode, detail: string): void {
    const origin = this.#handshakes.get(socket);
    if (!origin) return;
    this.#handshakes.delete(socket);
    this.#events.failed(code, origin, detail);
  }
}

/** The accepted socket under a TLS socket: there is no public way back to it. */
function parentOf(socket: TLSSocket): Socket {
  return (socket as unknown as { _parent: Socket })._parent;
}
