import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { skipUnless } from './require.js';

/** The path of a program on PATH, or undefined. */
export function findTool(name: string): string | undefined {
  for (const dir of (process.env.PATH ?? '').split(delimiter)) {
    const path = join(dir, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not in this directory.
    }
  }
  return undefined;
}

/**
 * `skip` option of a test that runs other programs: false when all are on PATH, else the text that
 * says which is missing. Throws in CI.
 */
export function requireTool(...names: string[]): string | false {
  const missing = names.filter((name) => findTool(name) === undefined);
  return skipUnless(missing.length === 0, `not installed: ${missing.join(', ')}`);
}
