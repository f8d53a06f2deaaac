import assert from 'node:assert/strict';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import pino from 'pino';
import { LinkStore } from '../../src/link/store.js';
import { SYSTEM_CLOCK } from '../../src/sinks/files/clock.js';
import { Outage } from '../../src/sinks/files/outage.js';
import { tempDir } from '../support/tmp.js';

const { statfsSync } = fs;

/** Has every file system look as if it had no room, or as it is. */
function fill(isFull: boolean): void {
  const full = (...args: Parameters<typeof statfsSync>) => ({ ...statfsSync(...args), bavail: 0 });
  fs.statfsSync = (isFull ? full : statfsSync) as typeof statfsSync;
  syncBuiltinESMExports();
}

after(() => fill(false));

/**
 * A stream of a link that ends with a record under way is kept in the links' store. That it has no
 * room was taken for a fault of the program, and ended the worker.
 */
test('the end of a stream is kept once there is room', async () => {
  const store = LinkStore.open(tempDir());
  const outage = new Outage(pino({ level: 'silent' }), 'dir', SYSTEM_CLOCK, () => {});
  const nothing = new Uint8Array(0);
  const part = { at: 5, preamble: nothing, tail: Buffer.from('under way'), raw: false };
  fill(true);
  const kept = outage.run(() => store.keepPart('ours', 'disk', part));
  kept.catch(() => {});
  await sleep(20);
  assert.equal(outage.active, true);
  assert.equal(store.parts('ours').size, 0);
  fill(false);
  await kept;
  assert.equal(store.parts('ours').get('disk')?.at, 5);
  await store.close();
});
