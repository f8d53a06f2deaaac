import { chmod, lstat, unlink } from 'node:fs/promises';
import { connect, createServer, type ListenOptions, type Server } from 'node:net';
import { getSystemErrorName } from 'node:util';
import type { ListenConfig } from '../config/schema.js';
import { GatewayError, messageOf } from '../errors.js';
import { End, Reject } from '../wire/reject.js';

/** What the limits on connections need to know; addresses are without port. */
export interface AcceptRules {
  maxConnections: number;
  /** 0: no limit. */
  maxConnectionsPerIp: number;
  addressBlocked(address: string): boolean;
}

/**
 * An accepted connection as `node:cluster` itself passes it on: libuv's handle. A `net.Socket` around
 * it took a quarter of what the primary did for a connection (174 against 128 µs).
 */
export interface Accepted {
  close(): void;
  /** Of TCP alone: fills in `out.address`; not 0 where the peer is gone. */
  getpeername?(out: { address?: string }): number;
}

/** What of a listening `net.Server` is used, as `node:cluster` uses it. */
interface ListeningHandle {
  onconnection: (status: number, handle: Accepted | undefined) => void;
}

export interface AcceptEvents {
  /** Hands a connection on; it has not been read from. */
  accepted(connection: number, source: number, address: string, handle: Accepted): void;
  /** @param code a reject, or the end of a peer that was gone before it was accepted */
  refused(code: number, source: number, address?: string): void;
  /** The system gave no socket for a connection: out of file descriptors or memory. */
  failed(source: number, error: Error): void;
}

const BACKLOG = 4_096;
const PROBE_TIMEOUT_MS = 1_000;
/** The address that connections of a unix socket count under. */
export const UNIX_ADDRESS = 'unix';

/**
 * Listens on every source in the primary process, where the limits on connections can be exact for
 * all workers together, and hands each accepted socket on without reading from it.
 */
export class Acceptor {
  #rules: AcceptRules;
  readonly #events: AcceptEvents;
  /** By the number of their source. */
  readonly #servers = new Map<number, Server>();
  /** Open connections and their addresses. */
  readonly #open = new Map<number, string>();
  readonly #byAddress = new Map<string, number>();
  #next = 1;

  constructor(rules: AcceptRules, events: AcceptEvents) {
    this.#rules = rules;
    this.#events = events;
  }

  get connections(): number {
    return this.#open.size;
  }

  /**
   * Listens on all sources, or on none.
   * @returns the name of each, such as `tls [::]:4443`, with the port that was bound
   * @throws GatewayError D4GW_E_LISTEN naming the source that can't be had
   */
  async listen(sources: readonly ListenConfig[]): Promise<string[]> {
    return this.add(sources.map((config, number) => ({ number, config })));
  }

  /**
   * Listens on more sources, on all of them or on none.
   * @returns as `listen`
   * @throws GatewayError D4GW_E_LISTEN; those before are not touched
   */
  async add(sources: readonly { number: number; config: ListenConfig }[]): Promise<string[]> {
    const names: string[] = [];
    try {
      for (const { number, config } of sources) names.push(await this.#bind(config, number));
      return names;
    } catch (error) {
      this.remove(sources.map(({ number }) => number));
      throw error;
    }
  }

  /** Accepts nothing more on these sources; connections handed on are not touched. */
  remove(numbers: readonly number[]): void {
    for (const number of numbers) {
      this.#servers.get(number)?.close();
      this.#servers.delete(number);
    }
  }

  /** Holds for connections from now on. */
  limit(limits: Pick<AcceptRules, 'maxConnections' | 'maxConnectionsPerIp'>): void {
    this.#rules = { ...this.#rules, ...limits };
  }

  /** The connection was closed, or its worker is gone. */
  closed(connection: number): void {
    const address = this.#open.get(connection);
    if (address === undefined) return;
    this.#open.delete(connection);
    const left = this.#byAddress.get(address)! - 1;
    if (left === 0) this.#byAddress.delete(address);
    else this.#byAddress.set(address, left);
  }

  /** Accepts nothing more; connections handed on are not touched. */
  async close(): Promise<void> {
    this.remove([...this.#servers.keys()]);
  }

  async #bind(source: ListenConfig, index: number): Promise<string> {
    const options = listenOptions(source);
    const name = sourceName(source);
    if (options.path !== undefined) await removeStaleSocket(options.path, name);
    const server = createServer();
    this.#servers.set(index, server);
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error: NodeJS.ErrnoException) => reject(listenError(name, error)));
      server.listen({ ...options, backlog: BACKLOG }, () => resolve());
    });
    const { _handle: listening } = server as unknown as { _handle: ListeningHandle };
    listening.onconnection = (status, handle) => {
      // EMFILE and the like: that one connection is not accepted, the next may be.
      if (status < 0 || !handle) this.#events.failed(index, acceptError(status));
      else this.#accept(handle, index, addressOf(handle));
    };
    if (options.path !== undefined) {
      await chmod(options.path, 0o660);
      return name;
    }
    const bound = server.address() as { port: number };
    return name.replace(/:\d+$/, `:${bound.port}`);
  }

  /** @param address undefined where the peer had reset the connection already */
  #accept(handle: Accepted, source: number, address: string | undefined): void {
    if (address === undefined) {
      // What it sent can still be read, but nobody knows whether its address is a blocked one.
      handle.close();
      this.#events.refused(End.RESET, source);
      return;
    }
    const code = this.#refusal(address);
    if (code !== undefined) {
      handle.close();
      this.#events.refused(code, source, address);
      return;
    }
    const connection = this.#next;
    this.#next += 1;
    this.#open.set(connection, address);
    this.#byAddress.set(address, (this.#byAddress.get(address) ?? 0) + 1);
    this.#events.accepted(connection, source, address, handle);
  }

  #refusal(address: string): number | undefined {
    const { maxConnections, maxConnectionsPerIp } = this.#rules;
    if (this.#rules.addressBlocked(address)) return Reject.ADDRESS_BLOCKED;
    if (this.#open.size >= maxConnections) return Reject.CONNECTION_LIMIT;
    if (maxConnectionsPerIp > 0 && address !== UNIX_ADDRESS) {
      const open = this.#byAddress.get(address) ?? 0;
      if (open >= maxConnectionsPerIp) return Reject.CONNECTION_LIMIT_ADDRESS;
    }
    return undefined;
  }
}

/** IPv4 in its own form, also where an IPv6 socket took it; undefined where the peer is gone. */
function addressOf(handle: Accepted): string | undefined {
  if (!handle.getpeername) return UNIX_ADDRESS;
  const peer: { address?: string } = {};
  if (handle.getpeername(peer) !== 0) return undefined;
  const { address } = peer;
  return address?.startsWith('::ffff:') ? address.slice('::ffff:'.length) : address;
}

function acceptError(status: number): NodeJS.ErrnoException {
  const code = getSystemErrorName(status);
  return Object.assign(new Error(`accept ${code}`), { code, errno: status, syscall: 'accept' });
}

function listenOptions(source: ListenConfig): ListenOptions {
  if ('unix' in source) return { path: source.unix.path };
  const [, { host, port }] = netSource(source);
  return { host, port };
}

type NetSource = Exclude<ListenConfig, { unix: unknown }>;

function netSource(source: NetSource): [string, { host: string; port: number }] {
  if ('tls' in source) return ['tls', source.tls];
  return 'wss' in source ? ['wss', source.wss] : ['tcp', source.tcp];
}

/** A listener as logs and errors name it, such as `tls [::]:4443`. */
export function sourceName(source: ListenConfig): string {
  if ('unix' in source) return `unix ${source.unix.path}`;
  const [kind, { host, port }] = netSource(source);
  return `${kind} ${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** Names what can't be listened on, and the mend. */
export function listenError(name: string, error: NodeJS.ErrnoException): GatewayError {
  const mend: Record<string, string> = {
    EADDRINUSE: 'it is in use; stop the other program or choose another',
    EACCES: 'permission denied; ports under 1024 and foreign directories need rights',
    EADDRNOTAVAIL: 'this machine has no such address',
    ENOENT: 'the directory does not exist',
  };
  const reason = mend[error.code ?? ''] ?? messageOf(error);
  return new GatewayError('D4GW_E_LISTEN', `can't listen on ${name}: ${reason}`, { cause: error });
}

/**
 * A socket file that nobody listens on is left from a process that died.
 * @throws GatewayError D4GW_E_LISTEN where something else stands in its place: it is not touched
 */
async function removeStaleSocket(path: string, name: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (!found) return;
  if (!found.isSocket()) {
    const reason = 'something that is no socket stands there; move it away or choose another path';
    throw new GatewayError('D4GW_E_LISTEN', `can't listen on ${name}: ${reason}`);
  }
  if ((await probe(path)) === 'ECONNREFUSED') await unlink(path);
}

/** @returns the error of a connection to `path`, or undefined where it is taken or waits */
function probe(path: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const done = (code?: string) => {
      socket.destroy();
      resolve(code);
    };
    socket.setTimeout(PROBE_TIMEOUT_MS, () => done());
    socket.once('connect', () => done());
    socket.once('error', (error: NodeJS.ErrnoException) => done(error.code));
  });
}
