import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { d4gw } from '../support/program.js';
import { tempDir } from '../support/tmp.js';

test('d4gw link makes, lists and removes tokens, and keeps none of their texts', async () => {
  const dataDir = tempDir('data');
  const link = (...args: string[]) => d4gw(['link', ...args, '--data-dir', dataDir]);
  const added = await link('add', 'partner.example');
  assert.equal(added.code, 0, added.stderr);
  const token = added.stdout.trim();
  assert.match(token, /^[A-Za-z0-9_-]{43}$/);
  const again = await link('add', 'partner.example');
  assert.deepEqual([again.code, again.stdout], [1, '']);
  assert.match(again.stderr, /partner.example has a token already: d4gw link remove/);
  assert.match((await link('add', '../up')).stderr, /is no name/);
  const other = (await link('add', 'other')).stdout.trim();
  assert.notEqual(other, token);
  const list = await link('list', '--json');
  const { tokens, links } = JSON.parse(list.stdout);
  assert.deepEqual(
    tokens.map(({ name }: { name: string }) => name),
    ['other', 'partner.example'],
  );
  assert.deepEqual(links, []);
  assert.equal((await link('remove', 'other')).code, 0);
  assert.match((await link('remove', 'other')).stderr, /no link token "other"/);
  assert.match((await link('list')).stdout, /^TOKEN +CREATED\npartner.example +\d{4}-/);
  const dir = join(dataDir, 'links');
  for (const file of readdirSync(dir)) {
    assert.ok(!readFileSync(join(dir, file)).includes(token), `${file} holds the token`);
  }
});
