import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import type { Actor } from '../../src/audit/entry.js';
import { readTrail, verifyTrail } from '../../src/audit/reader.js';
import { openRegistry } from '../../src/registry/lmdb.js';
import type { Registry } from '../../src/registry/store.js';
import { tempDir } from '../support/tmp.js';

const ACTOR: Actor = { kind: 'token', name: 'noc', role: 'operator', from: '192.0.2.9' };

let registry: Registry;
const root = tempDir('audited');
let dataDir: string;
beforeEach(() => {
  dataDir = mkdtempSync(join(root, 'data-'));
  registry = openRegistry(dataDir);
});
afterEach(() => registry.close());

test('each change leaves one line that says who, what, before and after, and no key', async () => {
  const uuid = randomUUID();
  const pending = randomUUID();
  const by = registry.as(ACTOR);
  const key = Buffer.from('the first secret');
  await by.add({ uuid, key, name: 'door', groups: ['b', 'a', 'b'], expectSeconds: 60 });
  await by.add({ uuid: pending, key, state: 'pending' });
  await by.approve(uuid); // It is: nothing changes, and nothing is said.
  await by.edit(uuid, { description: 'new', groups: ['a'] });
  await by.edit(uuid, { description: 'new' });
  await by.rotateKey(uuid, Buffer.from('the second secret'), 60);
  await by.block(uuid);
  await by.unblock(uuid);
  await by.reject(pending);
  await by.blockAddress('192.0.2.0/24');
  await by.unblockAddress('192.0.2.0/24');
  await by.ban(
    { sensor: uuid, type: 1, until: Date.now() + 60_000 },
    { act: 'kick', subject: uuid },
  );
  await by.record({ act: 'sink.pause', subject: 'disk' });
  await by.remove(uuid);
  const entries = (await readTrail(dataDir, { limit: 100 })).reverse();
  assert.deepEqual(
    entries.map(({ act, subject }) => [act, subject]),
    [
      ['sensor.add', uuid],
      ['sensor.add', pending],
      ['sensor.edit', uuid],
      ['sensor.rotate-key', uuid],
      ['sensor.block', uuid],
      ['sensor.unblock', uuid],
      ['sensor.reject', pending],
      ['address.block', '192.0.2.0/24'],
      ['address.unblock', '192.0.2.0/24'],
      ['kick', uuid],
      ['sink.pause', 'disk'],
      ['sensor.remove', uuid],
    ],
  );
  for (const { actor } of entries) assert.deepEqual(actor, ACTOR);
  const [, , edit] = entries as { before?: object; after?: object }[];
  assert.deepEqual(edit!.before, {
    name: 'door',
    description: '',
    contact: '',
    groups: ['a', 'b'],
    expectSeconds: 60,
    state: 'approved',
    oldKeyValidUntil: null,
  });
  assert.deepEqual(edit!.after, { ...edit!.before, description: 'new', groups: ['a'] });
  const text = readFileSync(join(dataDir, 'audit', 'audit-000001.ndjson'), 'utf8');
  assert.doesNotMatch(text, /secret|66697273|c2VjcmV0/);
  assert.equal((await verifyTrail(dataDir, registry.trailHead())).intact, true);
});

test('a change that is refused leaves no line, and an unwritable trail refuses the change', async () => {
  const uuid = randomUUID();
  const key = Buffer.from('key');
  await registry.add({ uuid, key });
  await assert.rejects(registry.add({ uuid, key }), /exists already/);
  await assert.rejects(registry.reject(uuid), /was approved before/);
  await assert.rejects(registry.edit(uuid, { name: 'x\n' }), /control characters/);
  await assert.rejects(registry.edit(uuid, { groups: ['Big'] }), /no name of a group/);
  await assert.rejects(registry.edit(uuid, { expectSeconds: 0.5 }), /cannot be expected/);
  assert.equal((await readTrail(dataDir, { limit: 10 })).length, 1);
  const huge = { act: 'x', subject: uuid, after: 'y'.repeat(100_000) };
  await assert.rejects(registry.ban({ sensor: uuid, type: 1, until: Date.now() + 60_000 }, huge));
  assert.equal(registry.bannedUntil(uuid, 1), undefined, 'the transaction was aborted');
});

test('a ban holds for its sensor and type until it is over', async () => {
  const sensor = randomUUID();
  const until = Date.now() + 60_000;
  const act = { act: 'session.kick', subject: sensor };
  await registry.ban({ sensor, type: 1, until: Date.now() - 1 }, act);
  assert.equal(registry.bannedUntil(sensor, 1), undefined);
  await registry.ban({ sensor, type: 3, until }, act);
  assert.equal(registry.bannedUntil(sensor, 3), until);
  assert.equal(registry.bannedUntil(sensor, 1), undefined);
  assert.deepEqual(registry.bans(), [{ sensor, type: 3, until }]);
});
