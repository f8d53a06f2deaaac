import { randomUUID } from 'node:crypto';
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { GatewayError, messageOf } from '../../../errors.js';
import { syncDirectory } from '../../files/directories.js';

const FILE_NAME = 'link';
const FILE_MODE = 0o600;
const FORM = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/**
 * The id of a spool's link: made once, kept beside its segments, so that the receiver knows the
 * numbers of its records again.
 * @throws GatewayError D4GW_E_SINK
 */
export async function linkId(dir: string): Promise<string> {
  const path = join(dir, FILE_NAME);
  try {
    const found = readFileSync(path, 'utf8').trim();
    if (FORM.test(found)) return found;
    throw new Error('it holds no link id; move it away, and what is in the spool is sent anew');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
      throw new GatewayError('D4GW_E_SINK', `${path}: ${messageOf(error)}`, { cause: error });
    }
  }
  return newLinkId(dir);
}

/** Gives a spool's link a new id: for its receiver it is another, of which it has nothing yet. */
export async function newLinkId(dir: string): Promise<string> {
  const id = randomUUID();
  const path = join(dir, FILE_NAME);
  const fresh = `${path}.new`;
  const descriptor = openSync(fresh, 'w', FILE_MODE);
  try {
    writeSync(descriptor, `${id}\n`);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
  renameSync(fresh, path);
  await syncDirectory(dir);
  return id;
}
