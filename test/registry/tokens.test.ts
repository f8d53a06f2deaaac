import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { openRegistry } from '../../src/registry/lmdb.js';
import type { Registry } from '../../src/registry/store.js';
import { allows } from '../../src/registry/tokens.js';
import { tempDir } from '../support/tmp.js';

let registry: Registry;
const root = tempDir('tokens');
let dataDir: string;
beforeEach(() => {
  dataDir = mkdtempSync(join(root, 'data-'));
  registry = openRegistry(dataDir);
});
afterEach(() => registry.close());

test('a token is found by its whole text alone, and its text is kept nowhere', () => {
  const { record, text } = registry.tokens.add({ name: 'prometheus', role: 'reader' });
  assert.equal(registry.tokens.find(text)?.id, record.id);
  const wrong = [
    '',
    'd4gw_',
    text.slice(0, -1),
    `${text}x`,
    text.slice(0, -1) + (text.endsWith('A') ? 'B' : 'A'),
    text.toUpperCase(),
    text.replace(record.id, '000000000000'),
  ];
  for (const other of wrong) assert.equal(registry.tokens.find(other), undefined, other);
  const secret = text.split('_').slice(2).join('_');
  for (const file of ['registry/data.mdb', 'audit/audit-000001.ndjson']) {
    assert.equal(readFileSync(join(dataDir, file)).includes(secret), false, file);
  }
});

test('an expired or revoked token is none', () => {
  const soon = Date.now() + 60_000;
  const { record, text } = registry.tokens.add({ name: 'a', role: 'admin', expiresAt: soon });
  assert.equal(registry.tokens.find(text, soon - 1)?.role, 'admin');
  assert.equal(registry.tokens.find(text, soon), undefined);
  assert.equal(registry.tokens.list().length, 1, 'it is listed until it is revoked');
  registry.tokens.revoke(record.id);
  assert.equal(registry.tokens.find(text), undefined);
  assert.throws(() => registry.tokens.revoke(record.id), /no token .*`token list`/);
  assert.throws(
    () => registry.tokens.add({ name: 'b', role: 'admin', expiresAt: Date.now() - 1 }),
    /that is over/,
  );
  assert.throws(() => registry.tokens.add({ name: '', role: 'admin' }), /needs a name/);
});

test('a token that could not be kept does not exist', () => {
  const keep = () => {
    throw new Error('no space');
  };
  assert.throws(() => registry.tokens.add({ name: 'a', role: 'admin' }, keep), /no space/);
  assert.deepEqual(registry.tokens.list(), []);
});

test('each role may do what those before it may', () => {
  assert.equal(allows('reader', 'reader'), true);
  assert.equal(allows('reader', 'operator'), false);
  assert.equal(allows('operator', 'reader'), true);
  assert.equal(allows('operator', 'admin'), false);
  assert.equal(allows('admin', 'operator'), true);
});
