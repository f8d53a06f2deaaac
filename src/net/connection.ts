import { connect as connectTcp, isIP, type Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls';
import { KEEPALIVE_DELAY_MS } from '../constants.js';
import type { Clock } from './clock.js';
import { CLIENT_MENDS, explainConnectionError, type Mends } from './connection-error.js';
import type { Target } from './target.js';

/** Name lookup, TCP and the TLS handshake together. */
const CONNECT_MS_MAX = 15_000;
/** After its end was sent, the server's own end is awaited this long. */
const CLOSE_MS_MAX = 5_000;

export interface ConnectionEvents {
  /** Ready for frames. */
  open(): void;
  /** `write` may be called again. */
  drain(): void;
  /**
   * The end, once, whether it ever was open or not.
   */
  closed(how: Closed): void;
}

export interface Closed {
  /** Why, where it was not asked for. */
  error?: Error;
  /** All was handed to the kernel, the end of the stream included. */
  finished: boolean;
  /** The peer then ended its side in order: it has taken all that came before. */
  answered?: boolean;
}

/** One way to a server, used until it breaks. Its socket is destroyed when `closed` is called. */
export interface Connection {
  /** False while connecting, while the peer does not keep up, and after the end. */
  readonly writable: boolean;
  /** @param flushed called when the bytes are in the kernel, never after the end */
  write(bytes: Buffer, flushed?: () => void): void;
  /** No more follows: sends the end after all that was written. */
  end(): void;
  destroy(): void;
}

export type SecureOptions = Pick<
  ConnectionOptions,
  'ca' | 'cert' | 'key' | 'servername' | 'rejectUnauthorized'
>;

/** Connects by TLS (1.2 and up) or TCP. */
export function connect(
  target: Exclude<Target, { kind: 'stdout' }>,
  secure: SecureOptions,
  clock: Clock,
  events: ConnectionEvents,
  mends: Mends = CLIENT_MENDS,
): Connection {
  const { host, port } = target;
  if (target.kind === 'tcp') {
    const socket = connectTcp({ host, port });
    return new SocketConnection(socket, 'connect', { name: host, mends }, clock, events);
  }
  // RFC 6066, section 3: no address as a server name.
  const servername = secure.servername ?? (isIP(host) ? '' : host);
  const socket = connectTls({
    host,
    port,
    minVersion: 'TLSv1.2',
    ...secure,
    servername,
  });
  const name = secure.servername ?? host;
  return new SocketConnection(socket, 'secureConnect', { name, mends }, clock, events);
}

/** A socket that is connecting; `peer.name` is what its server's certificate is checked against. */
class SocketConnection implements Connection {
  readonly #socket: Socket | TLSSocket;
  #isOpen = false;
  #isFull = false;
  #isEnding = false;
  #isFinished = false;
  #isAnswered = false;
  #isClosed = false;
  #error: Error | undefined;
  #cancelDeadline: () => void;

  constructor(
    socket: Socket | TLSSocket,
    ready: 'connect' | 'secureConnect',
    peer: { name: string; mends: Mends },
    clock: Clock,
    events: ConnectionEvents,
  ) {
    this.#socket = socket;
    this.#cancelDeadline = clock.after(CONNECT_MS_MAX, () => {
      this.#error ??= new Error(`no connection within ${CONNECT_MS_MAX / 1000} s`);
      socket.destroy();
    });
    // Each write is a whole frame: nothing is gained by waiting for more.
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEPALIVE_DELAY_MS);
    // A server sends nothing, but what it does send (TLS tickets) must be read: bytes left unread
    // would turn our close into a reset, which discards what is still on its way.
    socket.resume();
    socket.once(ready, () => {
      this.#cancelDeadline();
      this.#isOpen = true;
      events.open();
    });
    socket.on('drain', () => {
      this.#isFull = false;
      events.drain();
    });
    socket.once('end', () => {
      this.#isAnswered = this.#isFinished;
      if (this.#isEnding) return;
      this.#error ??= new Error('the server closed it');
      socket.destroy();
    });
    socket.once('finish', () => {
      if (!this.#isEnding) return;
      // All is with the kernel, which delivers it even if the server never closes.
      this.#isFinished = true;
      this.#cancelDeadline = clock.after(CLOSE_MS_MAX, () => socket.destroy());
    });
    socket.on('error', (error) => {
      this.#error ??= explainConnectionError(error, socket, peer.name, peer.mends);
      // An alert after the handshake leaves a TLSSocket as it is.
      socket.destroy();
    });
    socket.once('close', () => {
      this.#isClosed = true;
      this.#cancelDeadline();
      const error = this.#error ? { error: this.#error } : {};
      events.closed({ ...error, finished: this.#isFinished, answered: this.#isAnswered });
    });
  }

  get writable(): boolean {
    return this.#isOpen && !this.#isFull && !this.#isEnding && !this.#isClosed && !this.#error;
  }

  write(bytes: Buffer, flushed?: () => void): void {
    const more = this.#socket.write(bytes, (error) => {
      if (!error && !this.#isClosed) flushed?.();
    });
    this.#isFull = !more;
  }

  end(): void {
    this.#isEnding = true;
    this.#socket.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }
}

/** Writes to a stream that is not ours to close, such as the standard output. */
export class StreamConnection implements Connection {
  readonly #stream: Writable;
  readonly #events: ConnectionEvents;
  #isFull = false;
  #isClosed = false;

  constructor(stream: Writable, events: ConnectionEvents) {
    this.#stream = stream;
    this.#events = events;
    stream.on('drain', this.#drained);
    stream.on('error', this.#failed);
    queueMicrotask(() => events.open());
  }

  get writable(): boolean {
    return !this.#isFull && !this.#isClosed;
  }

  write(bytes: Buffer, flushed?: () => void): void {
    const more = this.#stream.write(bytes, (error) => {
      if (!error && !this.#isClosed) flushed?.();
    });
    this.#isFull = !more;
  }

  end(): void {
    // The callbacks of earlier writes come first.
    this.#stream.write('', (error) => {
      if (!error) this.#close({ finished: true });
    });
  }

  destroy(): void {
    this.#close({ finished: false });
  }

  readonly #drained = () => {
    this.#isFull = false;
    this.#events.drain();
  };

  readonly #failed = (error: Error) => {
    const isGone = (error as NodeJS.ErrnoException).code === 'EPIPE';
    const cause = isGone ? new Error('the program that reads it has ended') : error;
    this.#close({ error: cause, finished: false });
  };

  #close(how: Closed): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#stream.off('drain', this.#drained);
    // The handler of errors stays: a late EPIPE must not end the process with a stack.
    this.#events.closed(how);
  }
}
