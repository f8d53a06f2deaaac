import { createSecretKey, type KeyObject } from 'node:crypto';
import { closeSync, fsyncSync, mkdirSync, openSync, statSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { readSharedSecret } from '../../config/secret.js';
import { GatewayError, messageOf } from '../../errors.js';
import { generateKey } from '../../registry/limits.js';

const DIRECTORY_MODE = 0o700;
const FILE_MODE = 0o600;
const OTHERS = 0o077;

/** Where the secrets of a relay with `mode: resign` are, unless the configuration says so. */
export function secretPaths(
  dataDir: string,
  sink: string,
  given: { secretFile?: string | undefined; signingKeyFile?: string | undefined },
): { secretFile: string; signingKeyFile: string } {
  const dir = join(dataDir, 'relay', sink);
  return {
    secretFile: given.secretFile ?? join(dir, 'secret'),
    signingKeyFile: given.signingKeyFile ?? join(dir, 'key'),
  };
}

export interface RelaySecrets {
  /** Pseudonyms follow from it. */
  secret: Buffer;
  /** Signs every frame of every pseudonym. */
  key: Buffer;
  keyObject: KeyObject;
}

/**
 * Reads a relay's secrets; those that are missing are made, for their owner alone.
 * @throws GatewayError D4GW_E_SINK, without a word of what they hold
 */
export function relaySecrets(paths: { secretFile: string; signingKeyFile: string }): RelaySecrets {
  const secret = readOrMake(paths.secretFile);
  const key = readOrMake(paths.signingKeyFile);
  if (secret.equals(key)) {
    throw problem(paths.secretFile, `holds the same as ${paths.signingKeyFile}; give it another`);
  }
  return { secret, key, keyObject: createSecretKey(key) };
}

function readOrMake(file: string): Buffer {
  try {
    make(file);
    const read = readSharedSecret(file);
    if ('problem' in read) throw new Error(read.problem);
    if ((statSync(file).mode & OTHERS) !== 0) {
      throw new Error(`is open to other users; mend with: chmod 600 ${file}`);
    }
    return Buffer.from(read.secret);
  } catch (error) {
    throw problem(file, messageOf(error), error);
  }
}

/** Of several processes that find it missing, one makes it. */
function make(file: string): void {
  mkdirSync(dirname(file), { recursive: true, mode: DIRECTORY_MODE });
  let descriptor: number;
  try {
    descriptor = openSync(file, 'wx', FILE_MODE);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return;
    throw error;
  }
  try {
    writeSync(descriptor, `${generateKey().toString('latin1')}\n`);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function problem(file: string, text: string, cause?: unknown): GatewayError {
  return new GatewayError('D4GW_E_SINK', `${file}: ${text}`, { cause });
}
