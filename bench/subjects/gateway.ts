import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { stringify } from 'yaml';
import { planMemory, planProcesses } from '../../src/cluster/plan.js';
import { loadConfig } from '../../src/config/load.js';
import { type LedgerStore, openLedger } from '../../src/ledger/store.js';
import type { Amount } from '../../src/ledger/totals.js';
import { end, own } from '../proc/owned.js';
import { LoopDelayProbe } from './loop-delay.js';
import type { ServerAccount, ServerPorts } from './messages.js';
import { checkTree } from './stored.js';
import type { SinkKind, Subject, Surroundings } from './subject.js';

export const PROGRAM = fileURLToPath(new URL('../../src/main.js', import.meta.url));
const START_DEADLINE_MS = 30_000;
const STOP_DEADLINE_MS = 30_000;
const LEDGER_DEADLINE_MS = 60_000;
const LOG_CHARS_KEPT = 16_384;
const SINK = 'bench';
const CONFIG_NAME = 'config.yaml';

export interface GatewayOptions {
  sink: SinkKind;
  workers: number | 'auto';
  threads: 'auto' | 'pipelined' | 'inline';
  cpus?: string | undefined;
  /** With `SMALL_LIMITS`. */
  small: boolean;
  /** The relay that it is, in place of a sink: a part of its configuration. */
  relay?: Record<string, unknown>;
  /** It takes links too. */
  wss?: boolean;
  /** Where it listens, in place of any free ports. */
  at?: { tls: number; wss: number };
  /** With its control plane, and so with history. */
  control?: boolean;
}

/** A full load uses them up: what a worker needs beside them is then what is over their sum. */
const SMALL_LIMITS = { ringBytes: '4MiB', assemblyBytes: '16MiB', poolBytes: '32MiB' };

/** The gateway as a user starts it: the built program, a configuration, its own data directory. */
export async function startGateway(
  options: GatewayOptions,
  around: Surroundings,
): Promise<GatewaySubject> {
  return runGateway(options, configureGateway(options, around));
}

/** Writes its configuration into a directory of its own. */
export function configureGateway(options: GatewayOptions, around: Surroundings): string {
  mkdirSync(around.dir, { recursive: true });
  const dir = mkdtempSync(join(around.dir, 'gateway-'));
  writeConfig(dir, options, around);
  return dir;
}

/** Starts a gateway in the directory that `configureGateway` made. */
export async function runGateway(options: GatewayOptions, dir: string): Promise<GatewaySubject> {
  const configFile = join(dir, CONFIG_NAME);
  const probe = new LoopDelayProbe(join(dir, 'probe'));
  const command = [process.execPath, PROGRAM, 'serve', '--config', configFile];
  if (options.cpus !== undefined) command.unshift('taskset', '-c', options.cpus);
  const child = own(
    spawn(command[0]!, command.slice(1), {
      env: { ...process.env, ...probe.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    }),
  );
  const output = new Output(child);
  try {
    const ports = await output.listening();
    const url = output.controlUrl ?? '';
    return new GatewaySubject(dir, options.sink, configFile, child, ports, output, probe, url);
  } catch (error) {
    await end(child, 1_000);
    throw error;
  }
}

function writeConfig(dir: string, options: GatewayOptions, around: Surroundings): void {
  const secretFile = join(dir, 'secret');
  writeFileSync(secretFile, around.secret, { mode: 0o600 });
  writeFileSync(join(dir, 'cert.pem'), around.cert);
  writeFileSync(join(dir, 'key.pem'), around.key, { mode: 0o600 });
  const tls = { host: '127.0.0.1', port: 0, certFile: './cert.pem', keyFile: './key.pem' };
  const { workers, threads } = options;
  const config = {
    dataDir: './data',
    workers,
    threads,
    // Connections are opened before the clock starts; ten thousand of them take their time.
    limits: {
      firstFrameTimeoutMs: 300_000,
      handshakeTimeoutMs: 60_000,
      ...(options.small ? SMALL_LIMITS : {}),
    },
    admission: { mode: 'shared-secret', sharedSecretFile: './secret' },
    listen: [
      { tls: { ...tls, port: options.at?.tls ?? 0 } },
      { tcp: { host: '127.0.0.1', port: 0 } },
      ...(options.wss ? [{ wss: { ...tls, port: options.at?.wss ?? 0 } }] : []),
    ],
    sinks: { [SINK]: sinkOf(options) },
    routes: [{ match: {}, to: [SINK] }],
    ...(options.control ? { control: { port: 0 } } : {}),
    log: { format: 'json' },
  };
  writeFileSync(join(dir, CONFIG_NAME), stringify(config));
}

function sinkOf({ sink, relay }: GatewayOptions): Record<string, unknown> {
  if (relay) return { kind: 'relay', caFile: './cert.pem', ...relay };
  if (sink === 'blackhole') return { kind: 'blackhole' };
  return { kind: 'files', dir: './sensors', compress: sink === 'lz4' ? 'lz4' : 'none' };
}

/** What a gateway prints, its last lines kept for the message of a failure. */
class Output {
  text = '';
  readonly #child: ChildProcess;

  constructor(child: ChildProcess) {
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.text = (this.text + text).slice(-LOG_CHARS_KEPT);
      });
    }
  }

  /** Where the control plane is reached, once it listens. */
  get controlUrl(): string | undefined {
    return /"url":"(http[^"]+)","msg":"the control plane listens"/.exec(this.text)?.[1];
  }

  listening(): Promise<ServerPorts> {
    return new Promise((resolve, reject) => {
      const fail = (why: string) => {
        clearTimeout(timer);
        reject(new Error(`the gateway ${why}\n${this.text}`));
      };
      const timer = setTimeout(
        () => fail(`did not listen within ${START_DEADLINE_MS} ms`),
        START_DEADLINE_MS,
      );
      this.#child.once('error', (error) => fail(error.message));
      this.#child.once('exit', (code, signal) => fail(`ended (${signal ?? code})`));
      const look = () => {
        const line = this.text.split('\n').find((each) => each.includes('"msg":"listening"'));
        if (line === undefined) return;
        clearTimeout(timer);
        this.#child.stdout?.off('data', look);
        const { sources } = JSON.parse(line) as { sources: string[] };
        const port = (kind: string) =>
          Number(sources.find((source) => source.startsWith(kind))?.match(/:(\d+)$/)?.[1]);
        resolve({ tls: port('tls'), tcp: port('tcp'), wss: port('wss') });
      };
      this.#child.stdout?.on('data', look);
    });
  }
}

export class GatewaySubject implements Subject {
  readonly host = '127.0.0.1';
  readonly ports: ServerPorts;
  readonly configFile: string;
  readonly dataDir: string;
  readonly controlUrl: string;
  readonly budgetBytes: number;
  readonly checkStored?: NonNullable<Subject['checkStored']>;
  readonly #child: ChildProcess;
  readonly #output: Output;
  readonly #probe: LoopDelayProbe;
  readonly #ledger: LedgerStore;

  constructor(
    dir: string,
    sink: SinkKind,
    configFile: string,
    child: ChildProcess,
    ports: ServerPorts,
    output: Output,
    probe: LoopDelayProbe,
    controlUrl: string,
  ) {
    this.dataDir = join(dir, 'data');
    this.controlUrl = controlUrl;
    this.configFile = configFile;
    this.#child = child;
    this.ports = ports;
    const { limits, ...rest } = loadConfig(configFile);
    const plan = planMemory(limits, planProcesses(rest).workers);
    this.budgetBytes = plan.ringBytes + plan.assemblyBytes + plan.poolBytes;
    this.#output = output;
    this.#probe = probe;
    if (sink === 'files' || sink === 'lz4') {
      const sensors = join(dir, 'sensors');
      this.checkStored = (sent, payload) => checkTree(sensors, sent, payload);
    }
    this.#ledger = openLedger(join(dir, 'data'), { readOnly: true });
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** What the ledger has on disk of sessions that have ended: delivered, so verified and stored. */
  async account(): Promise<ServerAccount> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) {
      throw new Error(`the gateway ended\n${this.#output.text}`);
    }
    const { totals, workerDeaths } = this.#ledger.read();
    const sensors: Record<string, Amount> = {};
    const problems: string[] = workerDeaths > 0 ? [`${workerDeaths} workers died`] : [];
    for (const { sensor, received, delivered, rejected, lost, truncated } of totals) {
      const amount = delivered[SINK] ?? { frames: 0, bytes: 0 };
      const known = sensors[sensor] ?? { frames: 0, bytes: 0 };
      sensors[sensor] = {
        frames: known.frames + amount.frames,
        bytes: known.bytes + amount.bytes,
      };
      for (const [what, amounts] of Object.entries({ rejected, lost })) {
        for (const [why, { frames }] of Object.entries(amounts)) {
          if (frames > 0) problems.push(`sensor ${sensor}: ${frames} frames ${what} (${why})`);
        }
      }
      if (received.frames !== amount.frames) {
        problems.push(
          `sensor ${sensor}: received ${received.frames} frames, delivered ${amount.frames}`,
        );
      }
      if (truncated.count > 0) problems.push(`sensor ${sensor}: a frame was cut`);
    }
    return { sensors, problems };
  }

  loopDelayP99Ms(): Promise<number | null> {
    return this.#probe.read(this.pid);
  }

  /** Ends it as an operator does, and asks the ledger's own command whether it balances. */
  async stop(): Promise<string[]> {
    await this.#ledger.close();
    const code = await end(this.#child, STOP_DEADLINE_MS);
    const problems = code === 0 ? [] : [`the gateway exited with ${code}\n${this.#output.text}`];
    const args = [PROGRAM, 'ledger', '--json', '--config', this.configFile];
    const options = { timeout: LEDGER_DEADLINE_MS, maxBuffer: 1024 ** 3 };
    try {
      await promisify(execFile)(process.execPath, args, options);
    } catch (error) {
      problems.push(`d4gw ledger: ${(error as Error).message.slice(0, 500)}`);
    }
    return problems;
  }
}
