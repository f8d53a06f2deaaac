import { randomUUID } from 'node:crypto';
import { linkSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { GatewayError, messageOf } from '../errors.js';

const FILE = 'gateway-id';
const FILE_MODE = 0o600;
const FORM = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/**
 * The gateway's own id, a random UUID made once for a data directory. Streams that it passes on
 * carry it, so that they are known when they come back.
 * @throws GatewayError D4GW_E_DATA_DIR
 */
export function gatewayId(dataDir: string): string {
  const path = join(dataDir, FILE);
  try {
    return readId(path) ?? makeId(path);
  } catch (error) {
    if (error instanceof GatewayError) throw error;
    throw new GatewayError('D4GW_E_DATA_DIR', `${path}: ${messageOf(error)}`, { cause: error });
  }
}

function readId(path: string): string | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8').trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  if (FORM.test(text)) return text;
  throw new GatewayError(
    'D4GW_E_DATA_DIR',
    `${path} holds no UUID: restore it, or remove it to become another gateway to its partners`,
  );
}

/** Appears at once with its content; of two that make it, the first counts. */
function makeId(path: string): string {
  const id = randomUUID();
  const draft = `${path}.${process.pid}`;
  writeFileSync(draft, `${id}\n`, { mode: FILE_MODE, flush: true });
  try {
    linkSync(draft, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    rmSync(draft, { force: true });
  }
  return readId(path) ?? id;
}
