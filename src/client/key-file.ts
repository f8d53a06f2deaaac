import { createSecretKey, type KeyObject } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { GatewayError, messageOf } from '../errors.js';

const KEY_FILE_BYTES_MAX = 4096;
const NEWLINE = 0x0a;
const CARRIAGE_RETURN = 0x0d;

/**
 * Reads an HMAC key as the official clients do: one final newline is dropped, blanks are kept. An
 * empty key, with which they would sign, is refused.
 *
 * @param warn takes what the operator should know, a line each
 * @throws GatewayError D4GW_E_CONFIG, without a word of the key
 */
export function readKeyFile(path: string, warn: (line: string) => void): KeyObject {
  let bytes: Buffer;
  let mode: number;
  try {
    const stats = statSync(path);
    if (stats.size > KEY_FILE_BYTES_MAX) {
      throw new Error(`has ${stats.size} bytes, limit ${KEY_FILE_BYTES_MAX}`);
    }
    mode = stats.mode;
    bytes = readFileSync(path);
  } catch (cause) {
    const isMissing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
    const problem = isMissing ? "is missing; it must hold the sensor's HMAC key" : messageOf(cause);
    throw new GatewayError('D4GW_E_CONFIG', `${path}: ${problem}`, { cause });
  }
  const key = bytes.at(-1) === NEWLINE ? bytes.subarray(0, -1) : bytes;
  if (key.length === 0) {
    const problem = "is empty; it must hold the sensor's HMAC key";
    throw new GatewayError('D4GW_E_CONFIG', `${path}: ${problem}`);
  }
  if ((mode & 0o077) !== 0) {
    warn(`${path} is open to other users; mend with: chmod 600 ${path}`);
  }
  if (key.at(-1) === CARRIAGE_RETURN) {
    warn(`${path} ends with a carriage return, which is taken as part of the key`);
  }
  return createSecretKey(key);
}
