import { readFileSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { loadConfig } from '../config/load.js';
import { META_HEADER_BYTES_MAX } from '../constants.js';
import { GatewayError, messageOf } from '../errors.js';
import { parseTarget } from '../net/target.js';
import { checkKey, generateKey, KEY_BYTES_MAX } from '../registry/limits.js';
import { parseMetaHeader } from '../wire/meta-header.js';
import { rejectName } from '../wire/reject.js';
import { KNOWN_TYPES, TYPE_EXTENDED, TYPE_META, TYPE_PCAP } from '../wire/types.js';
import { formatUuid, isSensorUuid, parseUuid } from '../wire/uuid.js';

const NEWLINE = 0x0a;

export interface PlaceOptions {
  config?: string;
  dataDir?: string;
}

/** Where the registry is: `--data-dir`, or the configuration's. */
export function dataDirOf({ config, dataDir }: PlaceOptions): string {
  return dataDir === undefined ? loadConfig(config).dataDir : resolve(dataDir);
}

export interface KeyOptions {
  keyFile?: string;
  keyStdin?: true;
}

export interface KeyInput {
  key: Buffer;
  generated: boolean;
}

/** The key from a file or a stream, less one final newline; a new one where neither is named. */
export async function readKey(
  { keyFile, keyStdin }: KeyOptions,
  stdin: AsyncIterable<Buffer | string>,
): Promise<KeyInput> {
  if (keyFile === undefined && !keyStdin) return { key: generateKey(), generated: true };
  const bytes =
    keyFile === undefined
      ? await readBounded(stdin, KEY_BYTES_MAX + 1)
      : readFile('--key-file', keyFile, KEY_BYTES_MAX + 1);
  return {
    key: checkKey(bytes.at(-1) === NEWLINE ? bytes.subarray(0, -1) : bytes),
    generated: false,
  };
}

/** One byte over the limit is enough to tell: the rest is left unread. */
async function readBounded(
  stream: AsyncIterable<Buffer | string>,
  bytesMax: number,
): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream) {
    chunks.push(Buffer.from(chunk));
    size += chunk.length;
    if (size > bytesMax) break;
  }
  return Buffer.concat(chunks);
}

export interface ClientOptions {
  out?: string;
  type?: string;
  destination?: string;
  metaHeader?: string;
}

/** What `--out` writes beside the UUID and the key. */
export function readClientOptions(options: ClientOptions) {
  const { out, type: typeText, destination, metaHeader } = options;
  if (out === undefined && (typeText ?? destination ?? metaHeader) !== undefined) {
    throw usage(
      '--type, --destination and --meta-header say what --out writes, and limit no sensor: give --out too, or leave them out',
    );
  }
  const type = typeText === undefined ? TYPE_PCAP : parseWhole('--type', typeText);
  if (!KNOWN_TYPES.includes(type)) {
    throw usage(`--type ${type} is no D4 type: give one of ${KNOWN_TYPES.join(', ')}`);
  }
  return {
    type,
    destination: checkDestination(destination ?? 'stdout'),
    metaHeader: readMetaHeader(type, options),
  };
}

function readMetaHeader(type: number, { metaHeader, out }: ClientOptions): Buffer | undefined {
  if (metaHeader === undefined) {
    if (type !== TYPE_EXTENDED || out === undefined) return undefined;
    throw usage('--type 254 with --out needs --meta-header FILE: what the frames hold, as JSON');
  }
  if (type !== TYPE_EXTENDED && type !== TYPE_META) {
    throw usage(`--meta-header is for types 2 and 254, not for ${type}: leave it out`);
  }
  const bytes = readFile('--meta-header', metaHeader, META_HEADER_BYTES_MAX);
  const parsed = parseMetaHeader(bytes, ['*']);
  if ('reject' in parsed) {
    const problem = `${rejectName(parsed.reject)}: ${parsed.detail}`;
    throw usage(`--meta-header ${metaHeader}: ${problem}: give a JSON object with a "type"`);
  }
  return bytes;
}

function checkDestination(text: string): string {
  const target = parseTarget(text);
  if (text === '-' || text.includes('://')) {
    throw usage(`--destination ${text}: the official clients take stdout or HOST:PORT alone`);
  }
  return target.kind === 'stdout' ? 'stdout' : text;
}

/** A version 4 UUID in canonical form, from one with or without hyphens, in either case. */
export function parseSensorUuid(text: string): string {
  const bytes = parseUuid(text);
  const uuid = bytes && formatUuid(bytes);
  if (!uuid || !isSensorUuid(uuid)) {
    throw usage(
      `--uuid ${JSON.stringify(text)} is no version 4 UUID: give one as \`uuidgen -r\` makes, or none`,
    );
  }
  return uuid;
}

export function parseWhole(option: string, text: string): number {
  if (!/^\d{1,10}$/.test(text)) {
    throw usage(`${option} ${JSON.stringify(text)} is no whole number: give digits alone`);
  }
  return Number(text);
}

function readFile(option: string, path: string, bytesMax: number): Buffer {
  try {
    const { size } = statSync(path);
    if (size > bytesMax) throw new Error(`has ${size} bytes, at most ${bytesMax} are read`);
    return readFileSync(path);
  } catch (error) {
    throw usage(`${option} ${path}: cannot be used (${messageOf(error)})`);
  }
}

function usage(message: string): GatewayError {
  return new GatewayError('D4GW_E_USAGE', message);
}
