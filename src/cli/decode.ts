import { createHash, createSecretKey, type KeyObject } from 'node:crypto';
import { createReadStream } from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import { Command, InvalidArgumentError } from 'commander';
import { readKeyFile } from '../client/key-file.js';
import { GatewayError, messageOf } from '../errors.js';
import type { Registry } from '../registry/store.js';
import { type Frame, FrameError, FrameReader } from '../wire/frame-reader.js';
import { verifyFrame } from '../wire/header.js';
import { TYPE_NAMES } from '../wire/types.js';

/** The reference server's limit. */
const PAYLOAD_BYTES_MAX = 1_000_000;
const READ_BYTES = 256 * 1024;
/** Output is gathered up to this before it is written. */
const WRITE_BYTES = 64 * 1024;
/** Sensors that a summary names one by one. */
const SUMMARY_SENSORS_MAX = 1_000;
/** The last instant that a Date can hold. */
const DATE_SECONDS_MAX = 8_640_000_000_000n;

interface Options {
  payload?: boolean;
  summary?: boolean;
  type?: number;
  keyFile?: string;
  config?: string;
  dataDir?: string;
  maxPayload: number;
}

/** The keys that a sensor's frames may be signed with; none for a sensor that is not known. */
type KeyLookup = (uuid: string) => readonly KeyObject[];

/** `d4gw decode`: looks into a stream of frames. */
export function decodeCommand(): Command {
  return new Command('decode')
    .description(
      'Reads D4 frames and prints one JSON line for each header. With a key, or the keys of a ' +
        'registry, each line says whether its HMAC holds (verified: true, false, or null for a ' +
        'sensor without a key). Exits 1 for a frame that does not hold, a header that is none, or ' +
        'an input cut in mid-frame.',
    )
    .argument('[file]', 'file of frames (default: standard input)')
    .option('--payload', 'write payload bytes instead; with keys, only of frames that hold')
    .option('--summary', 'print one JSON object about the whole instead')
    .option('--type <number>', 'only frames of this D4 type', parseCount)
    .option('--key-file <file>', 'verify with the key in this file (one final newline is dropped)')
    .option(
      '--config <file>',
      "verify with the registry (or shared secret) of this gateway's config",
    )
    .option('--data-dir <dir>', 'verify with the registry in this data directory')
    .option('--max-payload <bytes>', 'largest payload of a frame', parseCount, PAYLOAD_BYTES_MAX)
    .action((file: string | undefined, options: Options) => run(file, options));
}

async function run(file: string | undefined, options: Options): Promise<void> {
  if (options.payload && options.summary) {
    throw new GatewayError('D4GW_E_USAGE', '--payload contradicts --summary: give one of them');
  }
  if ([options.keyFile, options.config, options.dataDir].filter(Boolean).length > 1) {
    const message = 'give one of --key-file, --config and --data-dir';
    throw new GatewayError('D4GW_E_USAGE', message);
  }
  if (options.payload && process.stdout.isTTY) {
    const message = 'payload is binary: redirect the output to a file or a program';
    throw new GatewayError('D4GW_E_USAGE', message);
  }
  const { lookup, close } = await openKeys(options);
  const name = file === undefined || file === '-' ? 'standard input' : file;
  const input =
    name === file ? createReadStream(file, { highWaterMark: READ_BYTES }) : process.stdin;
  try {
    await decode(input, name, process.stdout, { ...options, lookup });
  } finally {
    input.destroy();
    await close();
  }
}

/**
 * Decodes `input` to its end.
 * @throws GatewayError D4GW_E_DECODE once everything before the fault is written
 */
async function decode(
  input: Readable,
  name: string,
  output: Writable,
  options: Options & { lookup: KeyLookup | undefined },
): Promise<void> {
  const reader = new FrameReader({ maxPayloadBytes: options.maxPayload });
  const writer = new Writer(output);
  const summary = options.summary ? new Summary() : undefined;
  const bad = { failed: 0, unknown: 0, firstOffset: 0 };
  let fault: unknown;
  try {
    for await (const chunk of input) {
      for (const frame of reader.push(chunk as Buffer)) {
        if (options.type !== undefined && frame.header.type !== options.type) continue;
        const verified = options.lookup && verify(frame, options.lookup(frame.header.uuid));
        if (options.lookup && !verified) {
          if (bad.failed + bad.unknown === 0) bad.firstOffset = frame.offset;
          if (verified === null) bad.unknown++;
          else bad.failed++;
        }
        if (summary) summary.add(frame, verified);
        else if (!options.payload) writer.add(`${JSON.stringify(describe(frame, verified))}\n`);
        else if (!options.lookup || verified) writer.add(frame.payload);
        if (writer.isFull) await writer.flush();
      }
      if (writer.isGone) return;
    }
    reader.end();
  } catch (error) {
    fault = error;
  }
  if (summary) writer.add(`${JSON.stringify(summary)}\n`);
  await writer.flush();
  if (fault instanceof FrameError || isSystemError(fault)) {
    throw new GatewayError('D4GW_E_DECODE', `${name}: ${messageOf(fault)}`, { cause: fault });
  }
  if (fault) throw fault;
  if (bad.failed + bad.unknown > 0) {
    throw new GatewayError(
      'D4GW_E_DECODE',
      `${name}: ${bad.failed} frames whose HMAC does not hold, ${bad.unknown} of sensors without ` +
        `a key, the first at offset ${bad.firstOffset}`,
    );
  }
}

/** Null where there is no key to verify with. */
function verify(frame: Frame, keys: readonly KeyObject[]): boolean | null {
  if (keys.length === 0) return null;
  return keys.some((key) => verifyFrame(frame.bytes, frame.payload, key));
}

function describe(frame: Frame, verified: boolean | null | undefined): object {
  const { version, type, uuid, timestamp, hmac, size } = frame.header;
  return {
    offset: frame.offset,
    version,
    type,
    typeName: TYPE_NAMES[type],
    uuid,
    timestamp: isoOf(timestamp),
    seconds: exact(timestamp),
    hmac: hmac.toString('hex'),
    size,
    ...(verified === undefined ? {} : { verified }),
  };
}

/** Null for a time that no calendar here reaches. */
function isoOf(seconds: bigint): string | null {
  if (seconds > DATE_SECONDS_MAX) return null;
  return new Date(Number(seconds) * 1000).toISOString().replace('.000Z', 'Z');
}

/** A number, or its digits as text where a JSON reader would round it. */
function exact(value: bigint): number | string {
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value.toString();
}

interface Count {
  frames: number;
  bytes: number;
}

/** What `--summary` prints; bytes are payload bytes. */
class Summary {
  readonly #all: Count = { frames: 0, bytes: 0 };
  readonly #types = new Map<string, Count>();
  readonly #sensors = new Map<string, Count>();
  readonly #sha256 = createHash('sha256');
  #first: bigint | undefined;
  #last: bigint | undefined;
  #hmac: { verified: number; failed: number; unknown: number } | undefined;

  add(frame: Frame, verified: boolean | null | undefined): void {
    const { type, uuid, timestamp, size } = frame.header;
    count(this.#all, size);
    countIn(this.#types, String(type), size);
    const isNamed = this.#sensors.has(uuid) || this.#sensors.size < SUMMARY_SENSORS_MAX;
    countIn(this.#sensors, isNamed ? uuid : 'others', size);
    this.#sha256.update(frame.payload);
    if (this.#first === undefined || timestamp < this.#first) this.#first = timestamp;
    if (this.#last === undefined || timestamp > this.#last) this.#last = timestamp;
    if (verified === undefined) return;
    this.#hmac ??= { verified: 0, failed: 0, unknown: 0 };
    this.#hmac[verified === null ? 'unknown' : verified ? 'verified' : 'failed']++;
  }

  toJSON(): object {
    return {
      ...this.#all,
      types: Object.fromEntries(this.#types),
      sensors: Object.fromEntries(this.#sensors),
      firstTimestamp: this.#first === undefined ? null : isoOf(this.#first),
      lastTimestamp: this.#last === undefined ? null : isoOf(this.#last),
      payloadSha256: this.#sha256.copy().digest('hex'),
      ...(this.#hmac ? { hmac: this.#hmac } : {}),
    };
  }
}

function count(total: Count, size: number): void {
  total.frames++;
  total.bytes += size;
}

function countIn(totals: Map<string, Count>, name: string, size: number): void {
  const total = totals.get(name) ?? { frames: 0, bytes: 0 };
  totals.set(name, total);
  count(total, size);
}

/** Gathers output and waits for each write, so that nothing is cut off when the program exits. */
class Writer {
  readonly #output: Writable;
  #parts: Buffer[] = [];
  #bytes = 0;
  /** The reader of the output has ended, as `head` does: quietly stop. */
  isGone = false;

  constructor(output: Writable) {
    this.#output = output;
    output.on('error', (error: NodeJS.ErrnoException) => {
      this.isGone ||= error.code === 'EPIPE';
    });
  }

  get isFull(): boolean {
    return this.#bytes >= WRITE_BYTES;
  }

  /** Copies what it takes. */
  add(part: Buffer | string): void {
    const copy = Buffer.from(part as Buffer);
    this.#parts.push(copy);
    this.#bytes += copy.length;
  }

  flush(): Promise<void> {
    const bytes = Buffer.concat(this.#parts);
    this.#parts = [];
    this.#bytes = 0;
    if (bytes.length === 0 || this.isGone) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#output.write(bytes, (error) => {
        if (error && (error as NodeJS.ErrnoException).code !== 'EPIPE') reject(error);
        else resolve();
      });
    });
  }
}

async function openKeys(
  options: Options,
): Promise<{ lookup: KeyLookup | undefined; close: () => Promise<void> }> {
  const nothing = async () => {};
  if (options.keyFile) {
    const warn = (line: string) => process.stderr.write(`d4gw decode: ${line}\n`);
    const keys = [readKeyFile(options.keyFile, warn)];
    return { lookup: () => keys, close: nothing };
  }
  let dataDir = options.dataDir;
  const shared: KeyObject[] = [];
  if (options.config) {
    const { loadConfig } = await import('../config/load.js');
    const config = loadConfig(options.config);
    dataDir = config.dataDir;
    const { mode, sharedSecretFile } = config.admission;
    if (mode === 'shared-secret' && sharedSecretFile) {
      shared.push(readKeyFile(sharedSecretFile, () => {}));
    }
  }
  if (dataDir === undefined) return { lookup: undefined, close: nothing };
  const { openRegistry } = await import('../registry/lmdb.js');
  let registry: Registry;
  try {
    registry = openRegistry(dataDir, { readOnly: true });
  } catch (error) {
    // With a shared secret no sensor need be registered.
    if (shared.length > 0) return { lookup: () => shared, close: nothing };
    throw error;
  }
  // One sensor after another is what streams hold: the last one's keys are enough to remember.
  let last: { uuid: string; keys: readonly KeyObject[] } | undefined;
  const lookup: KeyLookup = (uuid) => {
    if (last?.uuid === uuid) return last.keys;
    const sensor = registry.sensor(uuid);
    const own = sensor ? [sensor.key, ...(sensor.previousKey ? [sensor.previousKey.key] : [])] : [];
    const keys = own.length > 0 ? own.map((key) => createSecretKey(key)) : shared;
    last = { uuid, keys };
    return keys;
  };
  return { lookup, close: () => registry.close() };
}

function isSystemError(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error;
}

function parseCount(text: string): number {
  if (!/^\d{1,10}$/.test(text)) throw new InvalidArgumentError('Give a number.');
  return Number(text);
}
