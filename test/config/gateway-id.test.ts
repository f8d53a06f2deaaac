import assert from 'node:assert/strict';
import { readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { gatewayId } from '../../src/config/gateway-id.js';
import { tempDir } from '../sinks/files/rig.js';

test('a data directory has one id for good, readable by its user alone', () => {
  const { path, remove } = tempDir();
  try {
    const id = gatewayId(path);
    assert.match(id, /^[0-9a-f-]{36}$/);
    assert.equal(gatewayId(path), id);
    assert.deepEqual(readdirSync(path), ['gateway-id']);
    assert.equal(statSync(join(path, 'gateway-id')).mode & 0o777, 0o600);
  } finally {
    remove();
  }
});

test('an id that is none is refused with its mend', () => {
  const { path, remove } = tempDir();
  try {
    writeFileSync(join(path, 'gateway-id'), 'me\n');
    assert.throws(() => gatewayId(path), /holds no UUID: restore it, or remove it/);
    assert.throws(() => gatewayId(join(path, 'absent')), { code: 'D4GW_E_DATA_DIR' });
  } finally {
    remove();
  }
});
