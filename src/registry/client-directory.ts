import { chmodSync, mkdirSync, readdirSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { GatewayError, messageOf } from '../errors.js';
import { PROTOCOL_VERSION } from '../wire/layout.js';

const DIRECTORY_MODE = 0o700;
const FILE_MODE = 0o600;
/** What the official clients' own samples hold; the C client takes 65535 at most. */
const SNAPLEN_BYTES = 4096;
/** The Go client reads no more of any file. */
const PORTABLE_KEY_BYTES_MAX = 99;

export interface ClientSettings {
  uuid: string;
  key: Buffer;
  type: number;
  /** `stdout`, all that the C client knows, or HOST:PORT for the Go client. */
  destination: string;
  /** The bytes of `metaheader.json`, for types 2 and 254. */
  metaHeader?: Buffer | undefined;
}

/**
 * Writes a configuration directory that the C, Go and Rust clients and ours use as it is (WIRE.md,
 * "A client's configuration directory"). `uuid` has no newline, for libuuid parses 36 characters
 * and no more; the others end with one, for older C clients want `stdin` and `stdout` followed by
 * something.
 *
 * @param dir must not exist, or be empty
 * @returns takes it all away again
 * @throws GatewayError D4GW_E_SENSOR
 */
export function writeClientDirectory(dir: string, settings: ClientSettings): () => void {
  const files = clientFiles(settings);
  const created = createDirectory(dir);
  const written: string[] = [];
  const undo = () => {
    for (const path of written) rmSync(path, { force: true });
    if (created) rmdirSync(dir);
  };
  try {
    for (const [name, content] of files) {
      const path = join(dir, name);
      writeFileSync(path, content, { mode: FILE_MODE, flag: 'wx' });
      written.push(path);
    }
  } catch (error) {
    undo();
    throw directoryError(dir, error);
  }
  return undo;
}

/**
 * The files of a client's directory, by name.
 * @throws GatewayError D4GW_E_SENSOR for a key that not every client reads alike
 */
export function clientFiles(settings: ClientSettings): [name: string, content: Buffer][] {
  checkPortable(settings.key);
  const files: [string, string | Buffer][] = [
    ['uuid', settings.uuid],
    ['key', Buffer.concat([settings.key, Buffer.from('\n')])],
    ['snaplen', `${SNAPLEN_BYTES}\n`],
    ['version', `${PROTOCOL_VERSION}\n`],
    ['type', `${settings.type}\n`],
    ['source', 'stdin\n'],
    ['destination', `${settings.destination}\n`],
  ];
  if (settings.metaHeader) files.push(['metaheader.json', settings.metaHeader]);
  return files.map(([name, content]) => [name, Buffer.from(content)]);
}

/** False where it stood already, empty. */
function createDirectory(dir: string): boolean {
  try {
    mkdirSync(dir, { mode: DIRECTORY_MODE });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw directoryError(dir, error);
  }
  try {
    if (readdirSync(dir).length > 0) throw new Error('it is not empty');
    chmodSync(dir, DIRECTORY_MODE);
    return false;
  } catch (error) {
    throw directoryError(dir, error);
  }
}

/** Each client reads the key file in its own way; these keys all of them read alike. */
function checkPortable(key: Buffer): void {
  const text = key.toString('latin1');
  const flaw =
    key.length > PORTABLE_KEY_BYTES_MAX
      ? `has ${key.length} bytes, and the Go client reads ${PORTABLE_KEY_BYTES_MAX}`
      : /[\0\r\n]/.test(text)
        ? 'holds a line end or a zero byte, where some clients stop'
        : text !== text.trim()
          ? 'begins or ends with blanks, which some clients drop'
          : key.toString('utf8').includes('\ufffd')
            ? 'is not UTF-8 text, which the Rust client expects'
            : undefined;
  if (flaw) {
    throw new GatewayError(
      'D4GW_E_SENSOR',
      `the key ${flaw}: leave out --out and install it yourself, or have a key generated`,
    );
  }
}

function directoryError(dir: string, error: unknown): GatewayError {
  const { code } = error as NodeJS.ErrnoException;
  return new GatewayError(
    'D4GW_E_SENSOR',
    `cannot write a client directory to ${dir} (${code ?? messageOf(error)}): name one that does not exist yet, in a directory that does`,
    { cause: error },
  );
}
