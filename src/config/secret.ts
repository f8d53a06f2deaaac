import { closeSync, openSync, readSync } from 'node:fs';
import { KEY_BYTES_MAX } from '../registry/limits.js';

/** One more than a secret and its newline may have, so that a longer one shows. */
const READ_BYTES_MAX = KEY_BYTES_MAX + 2;

/**
 * Reads a shared secret. One final newline is dropped, as the official clients do with their key.
 * It is held to what a sensor's own key may have.
 * @returns the secret, or what is wrong with it: `problem` does not hold any of it
 * @throws Error of the file system
 */
export function readSharedSecret(file: string): { secret: Buffer } | { problem: string } {
  const buffer = Buffer.alloc(READ_BYTES_MAX);
  const fd = openSync(file, 'r');
  let length = 0;
  try {
    for (let read = -1; read !== 0 && length < READ_BYTES_MAX; length += read) {
      read = readSync(fd, buffer, length, READ_BYTES_MAX - length, null);
    }
  } finally {
    closeSync(fd);
  }
  if (length > 0 && buffer[length - 1] === 0x0a) length -= 1;
  if (length === 0) return { problem: 'is empty' };
  if (length > KEY_BYTES_MAX) return { problem: `holds over ${KEY_BYTES_MAX} bytes` };
  return { secret: buffer.subarray(0, length) };
}
