import assert from 'node:assert/strict';
import { chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { relaySecrets, secretPaths } from '../../../src/sinks/relay/secrets.js';
import { tempDir } from '../../support/tmp.js';

describe('the secrets of a relay', () => {
  it('are made for their owner alone, and found again', () => {
    const paths = secretPaths(tempDir('secrets'), 'partner', {});
    const made = relaySecrets(paths);
    for (const file of Object.values(paths)) assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.match(paths.secretFile, /relay\/partner\/secret$/);
    const again = relaySecrets(paths);
    assert.deepEqual([again.secret, again.key], [made.secret, made.key]);
    assert.notDeepEqual(made.secret, made.key);
    assert.equal(readFileSync(paths.signingKeyFile, 'latin1'), `${made.key.toString('latin1')}\n`);
  });

  it('that are given are taken, where nobody else reads them', () => {
    const dir = tempDir('secrets');
    const secretFile = join(dir, 'own-secret');
    writeFileSync(secretFile, 'hush hush\n', { mode: 0o600 });
    const paths = secretPaths(dir, 'partner', { secretFile });
    assert.equal(relaySecrets(paths).secret.toString(), 'hush hush');
    chmodSync(secretFile, 0o640);
    assert.throws(
      () => relaySecrets(paths),
      (error: Error) => {
        assert.match(error.message, /open to other users; mend with: chmod 600/);
        assert.ok(!error.message.includes('hush'));
        return true;
      },
    );
  });

  it('must not be empty, nor the same', () => {
    const dir = tempDir('secrets');
    const paths = { secretFile: join(dir, 'a'), signingKeyFile: join(dir, 'b') };
    for (const file of Object.values(paths)) writeFileSync(file, 'same\n', { mode: 0o600 });
    assert.throws(() => relaySecrets(paths), { code: 'D4GW_E_SINK', message: /give it another/ });
    writeFileSync(paths.secretFile, '\n');
    assert.throws(() => relaySecrets(paths), { code: 'D4GW_E_SINK', message: /is empty/ });
  });
});
