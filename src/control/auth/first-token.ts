import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { GatewayError, messageOf } from '../../errors.js';
import type { Registry } from '../../registry/store.js';

const FIRST_NAME = 'first-admin';

/** Where the first admin token is written. */
export function firstTokenFile(dataDir: string): string {
  return join(dataDir, 'control', 'admin-token');
}

/**
 * Makes the first admin token where there is no token at all, and writes it to a file that its user
 * alone can read.
 * @returns the file; undefined where there were tokens
 * @throws GatewayError D4GW_E_CONTROL where it can't be written: there is no token then
 */
export function ensureFirstToken(registry: Registry, dataDir: string): string | undefined {
  if (registry.tokens.list().length > 0) return undefined;
  const file = firstTokenFile(dataDir);
  registry.tokens.add({ name: FIRST_NAME, role: 'admin' }, (text) => {
    try {
      mkdirSync(join(dataDir, 'control'), { recursive: true, mode: 0o700 });
      chmodSync(join(dataDir, 'control'), 0o700);
      // Never through a link, nor with the mode of a file that stood there.
      rmSync(file, { force: true });
      writeFileSync(file, `${text}\n`, { mode: 0o600, flag: 'wx' });
    } catch (error) {
      throw new GatewayError(
        'D4GW_E_CONTROL',
        `cannot write the first admin token to ${file}: ${messageOf(error)}`,
        { cause: error },
      );
    }
  });
  return file;
}
