import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { after } from 'node:test';
import { type LedgerReport, readLedger } from '../../src/ledger/report.js';
import { openRegistry } from '../../src/registry/lmdb.js';
import { FrameEncoder } from '../../src/wire/header.js';
import { run } from '../support/process.js';
import { tempDir } from '../support/tmp.js';
import type { Gateway, GatewayOptions } from './gateway.js';

/** The key that the recorded streams are signed with. */
export const RECORDED_KEY = 'private key to change';
const DEADLINE_MS = 20_000;
const POLL_MS = 25;

/** The options of a gateway that takes every sensor that has the recorded streams' key. */
export function sharedSecret(config: Record<string, unknown> = {}): GatewayOptions {
  const dir = tempDir('gateway');
  writeFileSync(join(dir, 'secret'), `${RECORDED_KEY}\n`, { mode: 0o600 });
  const admission = { mode: 'shared-secret', sharedSecretFile: './secret' };
  return { dir, config: { admission, ...config } };
}

/** Frames of one sensor, made by the reference codec. */
export class Sensor {
  readonly #encoders = new Map<number, FrameEncoder>();

  constructor(
    readonly uuid: string,
    readonly type = 3,
    readonly key: string = RECORDED_KEY,
  ) {}

  frame(payload: Uint8Array | string, type = this.type): Buffer {
    const { uuid, key } = this;
    const encoder =
      this.#encoders.get(type) ?? new FrameEncoder({ type, uuid, key: Buffer.from(key) });
    this.#encoders.set(type, encoder);
    return encoder.encode(Buffer.from(payload), Math.floor(Date.now() / 1000));
  }

  /** Its directory under the sensors'. */
  get hex(): string {
    return this.uuid.replaceAll('-', '');
  }

  /** Writes the directory that `d4gw client -c` takes. */
  clientDirectory(): string {
    const dir = tempDir('client');
    mkdirSync(dir, { recursive: true });
    const files = { uuid: this.uuid, type: this.type, version: 1, snaplen: 4096, source: 'stdin' };
    for (const [name, value] of Object.entries({ ...files, destination: 'stdout' })) {
      writeFileSync(join(dir, name), `${value}\n`);
    }
    writeFileSync(join(dir, 'key'), `${this.key}\n`, { mode: 0o600 });
    return dir;
  }
}

/** A version 4 UUID that says which sensor of a test it is. */
export function uuidOf(number: number): string {
  return `5e2f8b7d-0a13-4b7a-9c41-${number.toString(16).padStart(12, '0')}`;
}

/** The ledger as it is on disk beside the running gateway. */
export function ledgerOf(gateway: Gateway): Promise<LedgerReport> {
  return readLedger(join(gateway.dir, 'data'));
}

/** The ledger once it fulfils a condition. */
export async function untilLedger(
  gateway: Gateway,
  condition: (report: LedgerReport) => boolean,
  what: string,
  deadlineMs = DEADLINE_MS,
): Promise<LedgerReport> {
  let last: LedgerReport | undefined;
  const asked = async () => {
    last = await ledgerOf(gateway);
    return condition(last);
  };
  try {
    await until(asked, what, deadlineMs);
  } catch (error) {
    const { sensors, refusals, sessions } = last!;
    const text = JSON.stringify({ sensors, refusals, sessions }, null, 1);
    throw new Error(`${(error as Error).message}\n${text}\n${gateway.process.output()}`);
  }
  return last!;
}

/** Resolves when a condition holds that nothing announces. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
  deadlineMs = DEADLINE_MS,
): Promise<void> {
  const deadline = Date.now() + deadlineMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`${what}: not within ${deadlineMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** What the ledger says of one sensor, and of one type where it is given. */
export function sensorsOf(report: LedgerReport, uuid: string, type?: number) {
  return report.sensors.filter(
    ({ sensor, type: own }) => sensor === uuid && (type === undefined || own === type),
  );
}

/** Every stored byte of a sensor, in the order of the pieces; those with other extensions apart. */
export function storedOf(gateway: Gateway, uuid: string, ext?: string): Buffer {
  const hex = uuid.replaceAll('-', '');
  const files = gateway
    .files()
    .filter((file) => file.startsWith(`${hex}/`))
    .filter((file) => ext === undefined || file.endsWith(`.${ext}`));
  return Buffer.concat(files.map((file) => gateway.read(file)));
}

/** What the registry keeps of a sensor, as `d4gw sensor show --json` tells it. */
export async function recordOf(gateway: Gateway, uuid: string) {
  const { code, stdout, stderr } = await gateway.command('sensor', 'show', uuid, '--json');
  if (code !== 0) throw new Error(`sensor show: ${stderr}`);
  return JSON.parse(stdout) as {
    state: string;
    lastSeen: string | null;
    lastAddress: string | null;
    lastReject: { reason: string; detail: string; address: string } | null;
    notes: { text: string; count: number }[];
  };
}

export type Transport = 'tls' | 'tcp' | 'unix';
export const TRANSPORTS: readonly Transport[] = ['tls', 'tcp', 'unix'];

/** The address as socat takes it. */
export function socatAddress(gateway: Gateway, transport: Transport): string {
  if (transport === 'unix') return `UNIX-CONNECT:${gateway.unixPath}`;
  if (transport === 'tcp') return `TCP4:127.0.0.1:${gateway.tcpPort}`;
  return `OPENSSL-CONNECT:127.0.0.1:${gateway.tlsPort},verify=0`;
}

/** Sends a file as it is, as an operator would. */
export async function socatFile(gateway: Gateway, transport: Transport, path: string) {
  return run('socat', ['-u', `OPEN:${path}`, socatAddress(gateway, transport)]);
}

/** Resolves when the peer has closed the connection, in whatever way. */
export function closed(socket: Socket): Promise<void> {
  socket.resume();
  return new Promise((resolve) => {
    if (socket.closed) resolve();
    else socket.once('close', () => resolve());
  });
}

/** Writes, and resolves when the bytes have left the process; also where the peer is gone. */
export function write(socket: Socket, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve) => socket.write(bytes, () => resolve()));
}

/** Resolves when the kernel has nothing of the socket's any more that the peer has not taken. */
export function delivered(socket: Socket): Promise<void> {
  const port = socket.localPort!.toString(16).toUpperCase().padStart(4, '0');
  return until(() => {
    const rows = readFileSync('/proc/net/tcp', 'latin1').split('\n');
    const row = rows.find((line) => line.trim().split(/\s+/)[1]?.endsWith(`:${port}`));
    return row === undefined || row.trim().split(/\s+/)[4]!.startsWith('00000000:');
  }, 'the peer takes all');
}

/** The worker processes of a gateway. */
export function workersOf(gateway: Gateway): number[] {
  const { pid } = gateway.process;
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1');
  return text.trim().split(/\s+/).map(Number);
}

/**
 * The packets that tcpdump reads from a capture, as it writes them again: times, lengths and bytes,
 * whatever they mean. `error` is what it says where it does not read to the end.
 */
export function packetsOf(path: string): { packets: Buffer[]; error?: string } {
  const args = ['-n', '--nano', '-r', path, '-w', '-'];
  const { stdout, stderr, status } = spawnSync('tcpdump', args, { maxBuffer: 2 ** 28 });
  const packets: Buffer[] = [];
  for (let at = 24; at + 16 <= stdout.length; ) {
    const end = at + 16 + stdout.readUInt32LE(at + 8);
    packets.push(stdout.subarray(at, end));
    at = end;
  }
  return status === 0 ? { packets } : { packets, error: stderr.toString('latin1').trim() };
}

/** A sensor that streams lines all the while, over TLS: it must notice nothing of the others. */
export class Witness {
  readonly sensor: Sensor;
  readonly #socket: Socket;
  readonly #timer: NodeJS.Timeout;
  readonly #sent: string[] = [];
  #ended = false;

  static async begin(gateway: Gateway, sensor: Sensor): Promise<Witness> {
    return new Witness(sensor, await gateway.tls());
  }

  private constructor(sensor: Sensor, socket: Socket) {
    this.sensor = sensor;
    this.#socket = socket;
    socket.resume();
    socket.once('close', () => {
      this.#ended = true;
    });
    this.#timer = setInterval(() => {
      const line = `line ${this.#sent.length} of the witness\n`;
      this.#sent.push(line);
      socket.write(sensor.frame(line));
    }, 5);
    this.#timer.unref();
    after(() => this.#stop());
  }

  /** @throws when its connection has ended */
  check(): void {
    if (this.#ended) throw new Error("the witness's connection has ended");
  }

  /** Ends its stream, and checks that the gateway has stored what it sent. */
  async finish(gateway: Gateway): Promise<void> {
    this.check();
    this.#stop();
    await closed(this.#socket);
    const { uuid } = this.sensor;
    await untilLedger(
      gateway,
      (report) => report.sessions.every(({ sensor }) => sensor !== uuid),
      'the witness is counted',
    );
    assert.equal(storedOf(gateway, uuid).toString(), this.#sent.join(''));
    const [own] = sensorsOf(await ledgerOf(gateway), uuid);
    assert.deepEqual(own!.ends, { closed: 1 });
    assert.equal(own!.received.frames, this.#sent.length);
  }

  #stop(): void {
    clearInterval(this.#timer);
    this.#socket.end();
  }
}

/** Registers sensors without a program run for each. */
export async function register(
  gateway: Gateway,
  sensors: readonly Sensor[],
  state: 'approved' | 'pending' = 'approved',
): Promise<void> {
  const registry = openRegistry(join(gateway.dir, 'data'), {});
  try {
    await Promise.all(
      sensors.map(({ uuid, key }) => registry.add({ uuid, key: Buffer.from(key), state })),
    );
  } finally {
    await registry.close();
  }
}

/** What the registry keeps of a sensor's activity, read beside the gateway. */
export async function activityOf(gateway: Gateway, uuid: string) {
  const registry = openRegistry(join(gateway.dir, 'data'), { readOnly: true });
  try {
    return registry.activity(uuid);
  } finally {
    await registry.close();
  }
}
