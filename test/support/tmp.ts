import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';

/** A new directory under the system's temporary one, removed after the surrounding suite or file. */
export function tempDir(label = 'test'): string {
  const dir = mkdtempSync(join(tmpdir(), `d4gw-${label}-`));
  after(() => rmSync(dir, { recursive: true, force: true, maxRetries: 3 }));
  return dir;
}
