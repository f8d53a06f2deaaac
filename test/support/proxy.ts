import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { after } from 'node:test';

interface Pair {
  client: Socket;
  server: Socket;
}

/**
 * A TCP proxy on 127.0.0.1 that breaks connections when it is told to. What it has passed on is with
 * the kernel of the server's side.
 */
export class TcpProxy {
  readonly #server: Server;
  readonly #pairs = new Set<Pair>();
  #target: () => number;
  #port = 0;
  #isStalled = false;
  #cutAfter: number | undefined;
  #corruptAt: number | undefined;
  /** Connections taken so far, and bytes passed on towards the server. */
  connections = 0;
  bytes = 0;

  /** @param target port on 127.0.0.1; asked at each connection, for servers may come back elsewhere */
  static async start(target: () => number): Promise<TcpProxy> {
    const proxy = new TcpProxy(target);
    await proxy.listen();
    after(() => proxy.stop());
    return proxy;
  }

  private constructor(target: () => number) {
    this.#target = target;
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (client) =>
      this.#take(client),
    );
  }

  get port(): number {
    return this.#port;
  }

  get open(): number {
    return this.#pairs.size;
  }

  /** Takes connections, again on the same port after `refuse`. */
  async listen(): Promise<void> {
    this.#server.listen(this.#port, '127.0.0.1');
    await once(this.#server, 'listening');
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  /** Takes no connections: they are refused. Those that are open stay. */
  async refuse(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    // `close` waits for connections, which are kept; the port is free at once.
    void closed;
    await new Promise((resolve) => setImmediate(resolve));
  }

  /** Resets every connection, both ways. */
  cut(): void {
    for (const pair of [...this.#pairs]) this.#reset(pair);
  }

  /** Passes nothing on towards the server until `resume`. */
  stall(): void {
    this.#isStalled = true;
    for (const { client } of this.#pairs) client.pause();
  }

  resume(): void {
    this.#isStalled = false;
    for (const { client } of this.#pairs) client.resume();
  }

  /** Resets each connection once so many more bytes of it were passed on; undefined: none. */
  cutAfter(bytes: number | undefined): void {
    this.#cutAfter = bytes;
  }

  /** Flips a bit of the byte at this offset of the next connection. */
  corrupt(offset: number): void {
    this.#corruptAt = offset;
  }

  stop(): void {
    this.cut();
    this.#server.close();
  }

  #take(client: Socket): void {
    this.connections += 1;
    const server = connect({
      port: this.#target(),
      host: '127.0.0.1',
      allowHalfOpen: true,
      noDelay: true,
    });
    const pair = { client, server };
    this.#pairs.add(pair);
    const corruptAt = this.#corruptAt;
    this.#corruptAt = undefined;
    let passed = 0;
    client.on('data', (chunk: Buffer) => {
      let bytes = chunk;
      if (corruptAt !== undefined && corruptAt >= passed && corruptAt < passed + bytes.length) {
        bytes = Buffer.from(bytes);
        bytes[corruptAt - passed]! ^= 1;
      }
      passed += bytes.length;
      this.bytes += bytes.length;
      if (!server.write(bytes)) client.pause();
      if (this.#cutAfter !== undefined && passed >= this.#cutAfter) this.#reset(pair);
    });
    server.on('drain', () => {
      if (!this.#isStalled) client.resume();
    });
    client.on('end', () => server.end());
    server.on('data', (chunk: Buffer) => client.write(chunk));
    server.on('end', () => client.end());
    for (const socket of [client, server]) {
      socket.on('error', () => this.#reset(pair));
      socket.on('close', () => {
        if (client.closed && server.closed) this.#pairs.delete(pair);
      });
    }
    if (this.#isStalled) client.pause();
  }

  #reset(pair: Pair): void {
    this.#pairs.delete(pair);
    pair.client.resetAndDestroy();
    pair.server.resetAndDestroy();
  }
}
