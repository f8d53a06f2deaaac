import assert from 'node:assert/strict';
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { openRegistry } from '../../src/registry/lmdb.js';
import { d4gw } from '../support/program.js';
import { tempDir } from '../support/tmp.js';

test('token add, list and revoke, and what the audit trail says of it', async () => {
  const dataDir = tempDir('token');
  const at = ['--data-dir', dataDir];
  const add = ['token', 'add', '--role', 'reader', '--name', 'prometheus'];
  const made = await d4gw([...add, '--expires', '2d', ...at]);
  assert.deepEqual([made.code, made.stderr], [0, '']);
  const text = made.stdout.trimEnd();
  assert.match(text, /^d4gw_[0-9a-f]{12}_[\w-]{43}$/);

  const listed = await d4gw(['token', 'list', '--json', ...at]);
  const [token] = JSON.parse(listed.stdout);
  assert.deepEqual([token.name, token.role], ['prometheus', 'reader']);
  const days = (Date.parse(token.expiresAt) - Date.parse(token.createdAt)) / 86_400_000;
  assert.ok(Math.abs(days - 2) < 0.01);
  assert.equal(listed.stdout.includes(text.slice(18)), false);

  const registry = openRegistry(dataDir);
  assert.equal(registry.tokens.find(text)?.id, token.id);
  await registry.close();
  assert.equal((await d4gw(['token', 'revoke', token.id, ...at])).code, 0);
  const again = await d4gw(['token', 'revoke', token.id, ...at]);
  assert.equal(again.code, 1);
  assert.match(again.stderr, /^d4gw: no token .*`token list` shows their ids\n$/);
  assert.match((await d4gw(['token', 'list', ...at])).stdout, /no tokens/);

  const shown = await d4gw(['audit', 'show', ...at]);
  assert.match(shown.stdout, /^1 \S+ \S+: token\.add \S+\n2 \S+ \S+: token\.revoke \S+\n$/);
  assert.match((await d4gw(['audit', 'verify', ...at])).stdout, /^2 acts in 1 files: intact\n$/);
  const trail = join(dataDir, 'audit', 'audit-000001.ndjson');
  const whole = readFileSync(trail, 'utf8');
  writeFileSync(trail, whole.replace('prometheus', 'prometheuz'));
  const verified = await d4gw(['audit', 'verify', ...at]);
  assert.equal(verified.code, 1);
  assert.match(verified.stdout, /problem: audit-000001.ndjson:1 was changed\n.*TAMPERED WITH\n$/s);
  writeFileSync(trail, whole);
  appendFileSync(trail, 'half a l');
  assert.equal((await d4gw(['audit', 'verify', ...at])).code, 0);
});

test('bad words are named with their mend', async () => {
  const at = ['--data-dir', tempDir('token')];
  const cases: [string[], number, RegExp][] = [
    [['token', 'add', '--name', 'x', '--role', 'root'], 2, /Allowed choices are reader, operator/],
    [['token', 'add', '--name', 'x'], 2, /--role/],
    [['token', 'add', '--name', '', '--role', 'admin'], 1, /needs a name/],
    [['token', 'add', '--name', 'x', '--role', 'admin', '--expires', '3'], 2, /12h, 90d or 4w/],
    [['token', 'add', '--name', 'x', '--role', 'admin', '--expires', '2001-01-01'], 1, /is over/],
    [['audit', 'show', '--last', '0'], 2, /--last 0: give 1 to/],
  ];
  for (const [args, code, message] of cases) {
    const outcome = await d4gw([...args, ...at]);
    assert.equal(outcome.code, code, args.join(' '));
    assert.match(outcome.stderr, message);
    assert.equal(outcome.stdout, '');
  }
});
