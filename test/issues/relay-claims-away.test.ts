import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { test } from 'node:test';
import { Claims } from '../../src/sinks/relay/claims.js';
import { tempDir } from '../support/tmp.js';

/**
 * A relay's directory that is away, as its volume may be, is the spool's to tell of. Asked for each
 * stream that is routed, and for each connection, it ended the worker.
 */
test('claims whose directory is away stop neither streams nor connections', async () => {
  const dir = tempDir('claims');
  const claims = new Claims(dir);
  rmSync(dir, { recursive: true });
  const leaving = { session: 'first', address: 'sensor' };
  assert.equal(claims.leaves('mark', leaving, 1_000), undefined);
  claims.ended('mark', 'first');
  assert.equal(claims.take('sensor/1'), true);
  claims.release('sensor/1');
  await claims.close();
});
