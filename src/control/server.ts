import type { HttpRequest, HttpResponse, TemplatedApp, us_listen_socket } from 'uWebSockets.js';
import { type AddressInfo, createServer } from 'node:net';
import { listenError } from '../cluster/acceptor.js';
import { GatewayError, messageOf } from '../errors.js';

/** All that may be open at a time, WebSockets too: the process needs descriptors for its sensors. */
const CONNECTIONS_MAX = 6_000;

export interface HttpServerOptions {
  host: string;
  /** 0: any free one. */
  port: number;
  /** Paths of PEM files. */
  tls?: { certFile: string; keyFile: string } | undefined;
  connectionsMax?: number;
  serve(res: HttpResponse, req: HttpRequest): Promise<void>;
  /**
   * Adds WebSocket routes, before all others.
   * @param ended to be called when a WebSocket has closed: the library does not count it
   */
  extend?(app: TemplatedApp, ended: () => void): void;
}

/** The library has no binary for this Node on this system: those for 22 and later want glibc 2.38. */
export class NoControlBinary extends GatewayError {
  constructor(cause: unknown) {
    const [reason] = messageOf(cause).match(/version `GLIBC_[^)]*not found/) ?? [messageOf(cause)];
    const mend = 'run Node.js 20, or a system with glibc 2.38 or newer';
    const text = `uWebSockets.js does not load in Node.js ${process.version} here: ${mend}`;
    super('D4GW_E_CONTROL', `${text} (${reason})`, { cause });
  }
}

/** The control plane's listening end: uWebSockets.js, which has it to itself. */
export class HttpServer {
  readonly #app: TemplatedApp;
  readonly port: number;
  readonly #closeListener: () => void;
  #closed = false;

  /** @throws GatewayError D4GW_E_LISTEN naming the address and the mend; NoControlBinary */
  static async listen(options: HttpServerOptions): Promise<HttpServer> {
    const { host, port, tls } = options;
    const name = `control ${host.includes(':') ? `[${host}]` : host}:${port}`;
    // Not 0: uWebSockets.js then leaves SO_REUSEADDR out, and the port could not be had again for a
    // minute after its connections were closed.
    const free = await probe(name, host, port);
    // Read only where there is a control plane: it is a native module.
    const { default: uws } = await import('uWebSockets.js').catch((error: unknown) => {
      throw new NoControlBinary(error);
    });
    const app = tls
      ? uws.SSLApp({ cert_file_name: tls.certFile, key_file_name: tls.keyFile })
      : uws.App();
    const ended = limitConnections(app, options.connectionsMax ?? CONNECTIONS_MAX);
    options.extend?.(app, ended);
    app.any('/*', (res, req) => void options.serve(res, req));
    const socket = await new Promise<us_listen_socket | false>((resolve) => {
      const { LIBUS_LISTEN_EXCLUSIVE_PORT: only } = uws as unknown as ListenOptionValues;
      listenExclusively(app, host, free, only, resolve);
    });
    if (!socket) {
      throw new GatewayError('D4GW_E_LISTEN', `can't listen on ${name}: it was taken just now`);
    }
    const bound = uws.us_socket_local_port(socket as never);
    return new HttpServer(app, bound, () => uws.us_listen_socket_close(socket));
  }

  private constructor(app: TemplatedApp, port: number, closeListener: () => void) {
    this.#app = app;
    this.port = port;
    this.#closeListener = closeListener;
  }

  /** Sends to all who are subscribed to a topic. @returns whether there was any */
  publish(topic: string, message: string): boolean {
    return !this.#closed && this.#app.publish(topic, message);
  }

  /** Ends every connection. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#closeListener();
    this.#app.close();
  }
}

/**
 * Closes what is accepted beyond so many.
 * @returns what is to be called at the end of a connection that became a WebSocket
 */
function limitConnections(app: TemplatedApp, max: number): () => void {
  let open = 0;
  const count = (res: HttpResponse, change: unknown) => {
    open += Number(change);
    if (Number(change) > 0 && open > max) res.close();
  };
  app.filter(count);
  return () => {
    open -= 1;
  };
}

/** Its type declarations have them in an enumeration that is not there at run time. */
type ListenOptionValues = { LIBUS_LISTEN_EXCLUSIVE_PORT: number };

type ListenExclusively = (
  host: string,
  port: number,
  options: number,
  callback: (socket: us_listen_socket | false) => void,
) => void;

/**
 * Without SO_REUSEPORT: a second gateway would share the port without a word. The type
 * declarations know the option for `listen(port, …)` alone.
 */
function listenExclusively(
  app: TemplatedApp,
  host: string,
  port: number,
  option: number,
  callback: (socket: us_listen_socket | false) => void,
): void {
  (app.listen as unknown as ListenExclusively).call(app, host, port, option, callback);
}

/**
 * uWebSockets.js does not tell why it could not listen: Node does.
 * @returns the port, or a free one for 0
 */
async function probe(name: string, host: string, port: number): Promise<number> {
  const server = createServer();
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => reject(listenError(name, error)));
      server.listen({ host, port, exclusive: true }, resolve);
    });
    return (server.address() as AddressInfo).port;
  } finally {
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
    });
  }
}
