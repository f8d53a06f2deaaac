import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { type ClientOptions, WebSocket } from 'ws';
import { stringify } from 'yaml';
import type { Running } from '../support/process.js';
import { d4gw, startD4gw } from '../support/program.js';
import { tempDir } from '../support/tmp.js';

export interface GatewayOptions {
  /** Merged over the test's configuration, key by key at the top level. */
  config?: Record<string, unknown>;
  env?: Record<string, string>;
  dir?: string;
}

/** One line of the gateway's log. */
export interface LogLine {
  level: string | number;
  msg: string;
  [field: string]: unknown;
}

/** A gateway as a user runs it: the built program, its own directory, free ports on 127.0.0.1. */
export class Gateway {
  readonly dir: string;
  readonly configFile: string;
  readonly process: Running;
  readonly tlsPort: number;
  readonly tcpPort: number;
  readonly wssPort: number;
  readonly unixPath: string;

  static async start(options: GatewayOptions = {}): Promise<Gateway> {
    const dir = options.dir ?? tempDir('gateway');
    const configFile = join(dir, 'config.yaml');
    const config = {
      dataDir: './data',
      workers: 2,
      threads: process.env.D4GW_TEST_THREADS ?? 'pipelined',
      listen: [
        { tls: { host: '127.0.0.1', port: 0 } },
        { tcp: { host: '127.0.0.1', port: 0 } },
        { unix: { path: './d4gw.sock' } },
        { wss: { host: '127.0.0.1', port: 0 } },
      ],
      sinks: { disk: { kind: 'files', dir: './data/sensors', flushMs: 100 } },
      routes: [{ match: {}, to: ['disk'] }],
      log: { format: 'json' },
      ...options.config,
    };
    writeFileSync(configFile, stringify(config));
    const running = startD4gw(['serve', '--config', configFile], { env: options.env ?? {} });
    await running.waitFor(/"msg":"listening"/);
    return new Gateway(dir, configFile, running);
  }

  private constructor(dir: string, configFile: string, running: Running) {
    this.dir = dir;
    this.configFile = configFile;
    this.process = running;
    this.unixPath = join(dir, 'd4gw.sock');
    const { sources } = this.logged('listening')[0] as unknown as { sources: string[] };
    const port = (kind: string) =>
      Number(sources.find((name) => name.startsWith(kind))?.match(/:(\d+)$/)?.[1] ?? 0);
    this.tlsPort = port('tls');
    this.tcpPort = port('tcp');
    this.wssPort = port('wss');
  }

  get sensorsDir(): string {
    return join(this.dir, 'data', 'sensors');
  }

  get certFile(): string {
    return join(this.dir, 'data', 'tls', 'cert.pem');
  }

  /** The log's lines so far whose message begins so. */
  logged(message: string): LogLine[] {
    return this.log().filter(({ msg }) => msg.startsWith(message));
  }

  log(): LogLine[] {
    const lines = this.process.stdout.split('\n').filter((line) => line.startsWith('{'));
    return lines.flatMap((line) => {
      try {
        return [JSON.parse(line) as LogLine];
      } catch {
        return []; // The last line, still being written.
      }
    });
  }

  /** Resolves when a condition on the gateway's output holds; asked at each new output. */
  async until(condition: () => boolean, what: string, deadlineMs = 20_000): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const { child } = this.process;
      const look = () => {
        if (condition()) done();
      };
      const done = (error?: Error) => {
        clearTimeout(timer);
        clearInterval(poll);
        child.stdout?.off('data', look);
        if (error) reject(error);
        else resolve();
      };
      const timer = setTimeout(
        () => done(new Error(`${what}: not within ${deadlineMs} ms\n${this.process.output()}`)),
        deadlineMs,
      );
      const poll = setInterval(look, 100);
      child.stdout?.on('data', look);
      look();
    });
  }

  /** Runs a command of the program on this gateway's configuration. */
  async command(...args: string[]) {
    return d4gw([...args, '--config', this.configFile]);
  }

  /** Registers a sensor with a key. */
  async addSensor(uuid: string, key: string, ...more: string[]): Promise<void> {
    const args = ['sensor', 'add', '--uuid', uuid, '--key-stdin', ...more];
    const { code, stderr } = await d4gw([...args, '--config', this.configFile], { input: key });
    if (code !== 0) throw new Error(`sensor add: ${stderr}`);
  }

  tcp(): Promise<Socket> {
    return opened(connect({ host: '127.0.0.1', port: this.tcpPort, noDelay: true }), 'connect');
  }

  unix(): Promise<Socket> {
    return opened(connect(this.unixPath), 'connect');
  }

  tls(): Promise<TLSSocket> {
    const port = this.tlsPort;
    const socket = connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false });
    return opened(socket, 'secureConnect');
  }

  /** A TLS connection to the WebSocket port, on which nothing was said yet. */
  tlsToWss(): Promise<TLSSocket> {
    const port = this.wssPort;
    const socket = connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false });
    return opened(socket, 'secureConnect');
  }

  /** A WebSocket as a sensor opens it. */
  async wss(path = '/d4', options: ClientOptions = {}): Promise<WebSocket> {
    const client = new WebSocket(`wss://127.0.0.1:${this.wssPort}${path}`, {
      rejectUnauthorized: false,
      perMessageDeflate: false,
      ...options,
    });
    await new Promise<void>((resolve, reject) => {
      client.once('open', () => resolve());
      client.once('error', reject);
    });
    client.on('error', () => {});
    return client;
  }

  /** A connection to the TLS port on which nothing speaks TLS. */
  plainOnTls(): Promise<Socket> {
    return opened(connect({ host: '127.0.0.1', port: this.tlsPort, noDelay: true }), 'connect');
  }

  /** Every file under a sink's directory, as paths relative to it, in the order of names. */
  files(dir = this.sensorsDir): string[] {
    return readdirSync(dir, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
      .map((path) => path.slice(dir.length + 1))
      .sort(byPiece);
  }

  read(file: string): Buffer {
    return readFileSync(join(this.sensorsDir, file));
  }

  /** The ledger as `d4gw ledger --json` tells it. */
  async ledger() {
    const { code, stdout, stderr } = await this.command('ledger', '--json');
    return { code, stderr, ledger: stdout ? JSON.parse(stdout) : undefined };
  }

  /** Stops the gateway as an operator does; its exit code. */
  async stop(): Promise<number | null> {
    this.process.kill('SIGTERM');
    return (await this.process.exit(30_000)).code;
  }
}

/** Pieces of one second are told apart by -N: their order is that of the numbers. */
function byPiece(a: string, b: string): number {
  const parts = (path: string) => path.match(/^(.*-\d{6})(?:-(\d+))?(\.[^/]*)$/);
  const [x, y] = [parts(a), parts(b)];
  if (!x || !y || x[1] !== y[1]) return a < b ? -1 : 1;
  return Number(x[2] ?? 0) - Number(y[2] ?? 0);
}

function opened<T extends Socket>(socket: T, event: string): Promise<T> {
  return new Promise((resolve, reject) => {
    socket.once(event, () => {
      socket.off('error', reject);
      socket.on('error', () => {});
      resolve(socket);
    });
    socket.once('error', reject);
  });
}

/** Sends everything, ends, and resolves when the connection is closed. */
export function send(socket: Socket, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    socket.once('close', () => resolve());
    socket.resume();
    socket.end(bytes);
  });
}
