import { createHash, createSecretKey, type KeyObject } from 'node:crypto';
import type { Readable, Writable } from 'node:stream';
import { Command, InvalidArgumentError } from 'commander';
import { readKeyFile } from '../client/key-file.js';
import { GatewayError, messageOf } from '../errors.js';
import type { Registry } from '../registry/store.js';
import { NewerFormatError } from '../spool/scan.js';
import { type Frame, FrameError } from '../wire/frame-reader.js';
import { verifyFrame } from '../wire/header.js';
import { TYPE_NAMES } from '../wire/types.js';
import {
  damageText,
  metaFrames,
  noDamage,
  openStream,
  type StoredFrame,
  segmentItems,
  storedFiles,
  streamFrames,
} from './frame-source.js';

/** The reference server's limit. */
const PAYLOAD_BYTES_MAX = 1_000_000;
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
      'Reads D4 frames, from streams of them or from the segments of an archive or a spool, and ' +
        'prints one JSON line for each header. With a key, or the keys of a ' +
        'registry, each line says whether its HMAC holds (verified: true, false, or null for a ' +
        'sensor without a key). Exits 1 for a frame that does not hold, a header that is none, ' +
        'an input cut in mid-frame, or a damaged segment.',
    )
    .argument(
      '[files...]',
      'files of frames, segments or their directories (default: standard input)',
    )
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
    .action((files: string[], options: Options) => run(files, options));
}

async function run(files: string[], options: Options): Promise<void> {
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
  const decoding = new Decoding(process.stdout, { ...options, lookup });
  try {
    if (files.length === 0 || (files.length === 1 && files[0] === '-')) {
      await decoding.stream(process.stdin, 'standard input');
    } else {
      for (const { path, isSegment } of await storedFiles(files)) {
        if (isSegment) await decoding.segment(path);
        else await decoding.stream(openStream(path), path);
      }
    }
    await decoding.end();
  } finally {
    await close();
  }
}

/** Decodes one input after the other, to their ends. */
class Decoding {
  readonly #options: Options & { lookup: KeyLookup | undefined };
  readonly #writer: Writer;
  readonly #summary: Summary | undefined;
  readonly #bad = { failed: 0, unknown: 0, first: '' };

  constructor(output: Writable, options: Options & { lookup: KeyLookup | undefined }) {
    this.#options = options;
    this.#writer = new Writer(output);
    this.#summary = options.summary ? new Summary() : undefined;
  }

  /** @throws GatewayError D4GW_E_DECODE once everything before the fault is written */
  async stream(input: Readable, name: string): Promise<void> {
    try {
      for await (const frames of streamFrames(input, this.#options.maxPayload)) {
        for (const frame of frames) await this.#take(frame, name);
        if (this.#writer.isGone) return;
      }
    } catch (error) {
      await this.#fail(error, name);
    } finally {
      input.destroy();
    }
  }

  /** @throws GatewayError D4GW_E_DECODE once all that could be read is written */
  async segment(path: string): Promise<void> {
    const damage = noDamage();
    try {
      for await (const items of segmentItems(path, damage)) {
        for (const item of items) {
          if (item.kind === 'frame') await this.#take(item.frame, path);
          else if (item.kind === 'open' && !item.isContinued) {
            const { session } = item;
            for (const frame of metaFrames(session)) await this.#take({ ...frame, session }, path);
          }
        }
        if (this.#writer.isGone) return;
      }
    } catch (error) {
      await this.#fail(error, path);
    }
    const text = damageText(damage);
    if (text !== undefined) await this.#fail(new GatewayError('D4GW_E_DECODE', text), path);
  }

  /** @throws GatewayError D4GW_E_DECODE where frames did not hold */
  async end(): Promise<void> {
    await this.#finish();
    const { failed, unknown, first } = this.#bad;
    if (failed + unknown === 0) return;
    throw new GatewayError(
      'D4GW_E_DECODE',
      `${failed} frames whose HMAC does not hold, ${unknown} of sensors without a key, the ` +
        `first at ${first}`,
    );
  }

  async #take(frame: StoredFrame, name: string): Promise<void> {
    const { lookup, type, payload } = this.#options;
    if (type !== undefined && frame.header.type !== type) return;
    const verified = lookup && verify(frame, lookup(frame.header.uuid));
    if (lookup && !verified) this.#noteBad(frame, name, verified === null);
    if (this.#summary) this.#summary.add(frame, verified);
    else if (!payload) this.#writer.add(`${JSON.stringify(describe(frame, verified))}\n`);
    else if (!lookup || verified) this.#writer.add(frame.payload);
    if (this.#writer.isFull) await this.#writer.flush();
  }

  #noteBad({ offset, seq }: StoredFrame, name: string, isUnknown: boolean): void {
    const bad = this.#bad;
    const where = seq === undefined ? `offset ${offset}` : `record ${seq}`;
    if (bad.failed + bad.unknown === 0) bad.first = `${where} of ${name}`;
    if (isUnknown) bad.unknown++;
    else bad.failed++;
  }

  async #finish(): Promise<void> {
    if (this.#summary) this.#writer.add(`${JSON.stringify(this.#summary)}\n`);
    await this.#writer.flush();
  }

  async #fail(error: unknown, name: string): Promise<never> {
    await this.#finish();
    const isOurs = error instanceof FrameError || error instanceof GatewayError;
    if (!isOurs && !(error instanceof NewerFormatError) && !isSystemError(error)) throw error;
    const text = error instanceof NewerFormatError ? error.message : `${name}: ${messageOf(error)}`;
    throw new GatewayError('D4GW_E_DECODE', text, { cause: error });
  }
}

/** Null where there is no key to verify with. */
function verify(frame: Frame, keys: readonly KeyObject[]): boolean | null {
  if (keys.length === 0) return null;
  return keys.some((key) => verifyFrame(frame.bytes, frame.payload, key));
}

function describe(frame: StoredFrame, verified: boolean | null | undefined): object {
  const { version, type, uuid, timestamp, hmac, size } = frame.header;
  const { seq, session, offset } = frame;
  return {
    // Of a segment: the offset of its block, which may be compressed.
    offset,
    ...(seq === undefined ? {} : { seq }),
    ...(session === undefined ? {} : { session: session.id }),
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
