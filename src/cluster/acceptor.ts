import { chmod, unlink } from 'node:fs/promises';
import { connect, createServer, type ListenOptions, type Server, type Socket } from 'node:net';
import type { ListenConfig } from '../config/schema.js';
import { GatewayError, messageOf } from '../errors.js';
import { Reject, type RejectCode } from '../wire/reject.js';

/** What the limits on connections need to know; addresses are without port. */
export interface AcceptRules {
  maxConnections: number;
  /** 0: no limit. */
  maxConnectionsPerIp: number;
  addressBlocked(address: string): boolean;
}

export interface AcceptEvents {
  /** Hands a connection on; it has not been read from. */
  accepted(connection: number, source: number, address: string, socket: Socket): void;
  refused(code: RejectCode, source: number, address: string): void;
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
  readonly #rules: AcceptRules;
  readonly #events: AcceptEvents;
  readonly #servers: Server[] = [];
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
    try {
      const names: string[] = [];
      for (const [index, source] of sources.entries()) names.push(await this.#bind(source, index));
      return names;
    } catch (error) {
      await this.close();
      throw error;
    }
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
    const servers = this.#servers.splice(0);
    for (const server of servers) server.close();
  }

  async #bind(source: ListenConfig, index: number): Promise<string> {
    const options = listenOptions(source);
    if (options.path !== undefined) await removeStaleSocket(options.path);
    const server = createServer({ pauseOnConnect: true }, (socket) => this.#accept(socket, index));
    this.#servers.push(server);
    const name = sourceName(source);
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error: NodeJS.ErrnoException) => reject(listenError(name, error)));
      server.listen({ ...options, backlog: BACKLOG }, () => resolve());
    });
    server.removeAllListeners('error');
    // EMFILE and the like: that one connection is not accepted, the next may be.
    server.on('error', () => {});
    if (options.path !== undefined) {
      await chmod(options.path, 0o660);
      return name;
    }
    const bound = server.address() as { port: number };
    return name.replace(/:\d+$/, `:${bound.port}`);
  }

  #accept(socket: Socket, source: number): void {
    // A peer that is gone before it is handed on.
    socket.on('error', () => {});
    const address = plainAddress(socket.remoteAddress);
    const code = this.#refusal(address);
    if (code !== undefined) {
      socket.destroy();
      this.#events.refused(code, source, address);
      return;
    }
    const connection = this.#next;
    this.#next += 1;
    this.#open.set(connection, address);
    this.#byAddress.set(address, (this.#byAddress.get(address) ?? 0) + 1);
    this.#events.accepted(connection, source, address, socket);
  }

  #refusal(address: string): RejectCode | undefined {
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

/** IPv4 in its own form, also where an IPv6 socket took it. */
function plainAddress(address: string | undefined): string {
  if (address === undefined) return UNIX_ADDRESS;
  return address.startsWith('::ffff:') ? address.slice('::ffff:'.length) : address;
}

function listenOptions(source: ListenConfig): ListenOptions {
  if ('unix' in source) return { path: source.unix.path };
  const { host, port } = 'tls' in source ? source.tls : source.tcp;
  return { host, port };
}

/** A listener as logs and errors name it, such as `tls [::]:4443`. */
export function sourceName(source: ListenConfig): string {
  if ('unix' in source) return `unix ${source.unix.path}`;
  const [kind, { host, port }] = 'tls' in source ? ['tls', source.tls] : ['tcp', source.tcp];
  return `${kind} ${host.includes(':') ? `[${host}]` : host}:${port}`;
}

function listenError(name: string, error: NodeJS.ErrnoException): GatewayError {
  const mend: Record<string, string> = {
    EADDRINUSE: 'it is in use; stop the other program or choose another',
    EACCES: 'permission denied; ports under 1024 and foreign directories need rights',
    EADDRNOTAVAIL: 'this machine has no such address',
    ENOENT: 'the directory does not exist',
  };
  const reason = mend[error.code ?? ''] ?? messageOf(error);
  return new GatewayError('D4GW_E_LISTEN', `can't listen on ${name}: ${reason}`, { cause: error });
}

/** A socket file that nobody listens on is left from a process that died. */
async function removeStaleSocket(path: string): Promise<void> {
  const code = await new Promise<string | undefined>((resolve) => {
    const probe = connect(path);
    probe.setTimeout(PROBE_TIMEOUT_MS, () => {
      probe.destroy();
      resolve(undefined);
    });
    probe.once('connect', () => {
      probe.destroy();
      resolve(undefined);
    });
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code));
  });
  if (code === 'ECONNREFUSED') await unlink(path);
}
