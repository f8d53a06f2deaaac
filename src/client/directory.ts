import type { KeyObject } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { META_HEADER_BYTES_MAX } from '../constants.js';
import { GatewayError, messageOf } from '../errors.js';
import { PROTOCOL_VERSION } from '../wire/layout.js';
import { parseMetaHeader } from '../wire/meta-header.js';
import { rejectName } from '../wire/reject.js';
import { KNOWN_TYPES, TYPE_EXTENDED, TYPE_META } from '../wire/types.js';
import { formatUuid, isSensorUuid, parseUuid } from '../wire/uuid.js';
import { readKeyFile } from './key-file.js';

/** Payload bytes that a frame of this client may have: the reference server's limit. */
export const SNAPLEN_BYTES_MAX = 1_000_000;
/** What the official clients' own directories hold. */
const SNAPLEN_BYTES_DEFAULT = 4096;
/** Of each file but `metaheader.json`. */
const FILE_BYTES_MAX = 4096;

/** A client's configuration directory (WIRE.md, "A client's configuration directory"). */
export interface ClientDirectory {
  uuid: string;
  key: KeyObject;
  /** Payload bytes of a frame at most. */
  snaplenBytes: number;
  type: number;
  /** `stdout`, or a server's address. */
  destination: string;
  /** The bytes of `metaheader.json`, checked, for type 254, and for type 2 where the file stands. */
  metaHeader?: Buffer;
  /** Facts that the operator should see, one line each. */
  warnings: string[];
}

/**
 * Reads and checks the directory with the official clients' rules: of the key one final newline is
 * dropped and blanks are kept. Where those clients sign with an empty key or send the nil UUID,
 * this refuses.
 *
 * @param typeOverride stands for the file `type`, which may then be missing
 * @throws GatewayError D4GW_E_CONFIG that names the file, what is wrong and the mend
 */
export function readClientDirectory(directory: string, typeOverride?: number): ClientDirectory {
  if (!statSync(directory, { throwIfNoEntry: false })?.isDirectory()) {
    throw configError(directory, 'is no directory; `d4gw sensor add --out DIR` writes one');
  }
  const warnings: string[] = [];
  const version = readNumber(directory, 'version') ?? PROTOCOL_VERSION;
  if (version !== PROTOCOL_VERSION) {
    throw configError(join(directory, 'version'), `is ${version}; only version 1 exists`);
  }
  const source = readText(directory, 'source') ?? 'stdin';
  if (source !== 'stdin') {
    throw configError(join(directory, 'source'), `is "${source}"; only "stdin" is supported`);
  }
  const type = typeOverride ?? readNumber(directory, 'type');
  if (type === undefined) throw configError(join(directory, 'type'), 'is missing; or give --type');
  if (!KNOWN_TYPES.includes(type)) {
    const known = KNOWN_TYPES.join(', ');
    throw configError(join(directory, 'type'), `${type} is no type; there are ${known}`);
  }
  const metaHeader = readMetaHeader(directory, type);
  return {
    uuid: readUuid(directory),
    key: readKeyFile(join(directory, 'key'), (line) => warnings.push(line)),
    snaplenBytes: readSnaplen(directory),
    type,
    destination: readText(directory, 'destination') ?? 'stdout',
    ...(metaHeader ? { metaHeader } : {}),
    warnings,
  };
}

function readUuid(directory: string): string {
  const path = join(directory, 'uuid');
  const text = readText(directory, 'uuid');
  if (!text) throw configError(path, 'is missing or empty; `uuidgen -r` makes a UUID');
  const bytes = parseUuid(text);
  const uuid = bytes && formatUuid(bytes);
  if (!uuid || !isSensorUuid(uuid)) {
    throw configError(path, `"${text.slice(0, 64)}" is no version 4 UUID, as \`uuidgen -r\` makes`);
  }
  return uuid;
}

function readSnaplen(directory: string): number {
  const snaplen = readNumber(directory, 'snaplen') ?? SNAPLEN_BYTES_DEFAULT;
  if (snaplen < 1 || snaplen > SNAPLEN_BYTES_MAX) {
    const range = `1 to ${SNAPLEN_BYTES_MAX}`;
    throw configError(join(directory, 'snaplen'), `is ${snaplen}; a frame's payload has ${range}`);
  }
  return snaplen;
}

/**
 * Type 2 without the file sends its input as the meta header itself, as the C client does; with
 * it, type 2 does what 254 does, as goclient.
 */
function readMetaHeader(directory: string, type: number): Buffer | undefined {
  if (type !== TYPE_EXTENDED && type !== TYPE_META) return undefined;
  const path = join(directory, 'metaheader.json');
  const bytes = readBytes(directory, 'metaheader.json', META_HEADER_BYTES_MAX);
  if (!bytes) {
    if (type === TYPE_META) return undefined;
    const example = '{"type":"ja3-jl"}';
    throw configError(path, `is missing; type 254 needs a meta header, such as ${example}`);
  }
  const parsed = parseMetaHeader(bytes, ['*']);
  if ('reject' in parsed) {
    throw configError(path, `${rejectName(parsed.reject)}: ${parsed.detail}`);
  }
  return bytes;
}

function readNumber(directory: string, name: string): number | undefined {
  const text = readText(directory, name);
  if (text === undefined) return undefined;
  if (!/^\d{1,9}$/.test(text)) {
    throw configError(join(directory, name), `"${text.slice(0, 64)}" is no number`);
  }
  return Number(text);
}

function readText(directory: string, name: string): string | undefined {
  return readBytes(directory, name, FILE_BYTES_MAX)?.toString('utf8').trim();
}

function readBytes(directory: string, name: string, bytesMax: number): Buffer | undefined {
  const path = join(directory, name);
  try {
    const { size } = statSync(path);
    if (size > bytesMax) throw configError(path, `has ${size} bytes, limit ${bytesMax}`);
    return readFileSync(path);
  } catch (error) {
    if (error instanceof GatewayError) throw error;
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw configError(path, `cannot be read: ${messageOf(error)}`);
  }
}

function configError(path: string, problem: string): GatewayError {
  return new GatewayError('D4GW_E_CONFIG', `${path}: ${problem}`);
}
