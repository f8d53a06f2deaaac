/** Takes the lock of a data directory again and again, and proves each time to be alone. */
import { once } from 'node:events';
import { closeSync, openSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { lockDataDir } from '../../src/config/data-dir.js';
import { GatewayError } from '../../src/errors.js';

const [, , task, dir, duration] = process.argv as string[];

function tryLock(): (() => void) | undefined {
  try {
    return lockDataDir(dir!);
  } catch (error) {
    if (error instanceof GatewayError && error.code === 'D4GW_E_LOCKED') return undefined;
    throw error;
  }
}

async function hold(): Promise<void> {
  process.send!(tryLock() !== undefined);
  await once(process, 'message');
}

async function contend(): Promise<void> {
  const inside = join(dir!, 'inside');
  let taken = 0;
  process.send!('ready');
  await once(process, 'message');
  const end = Date.now() + Number(duration);
  while (Date.now() < end) {
    const release = tryLock();
    if (!release) continue;
    // Fails where somebody else is inside.
    closeSync(openSync(inside, 'wx'));
    taken++;
    rmSync(inside);
    release();
  }
  process.send!(taken);
}

await (task === 'hold' ? hold() : contend());
process.disconnect();
