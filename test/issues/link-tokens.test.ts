import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { LINKS_PER_TOKEN_MAX, LinkStore } from '../../src/link/store.js';
import { addToken, hashOf, rebind, removeToken } from '../../src/link/tokens.js';
import { gatewayDir, giveToken, startReceiver, startSender } from '../integration/linked.js';
import { freePort } from '../support/ports.js';
import { tempDir } from '../support/tmp.js';

const AMOUNT = { frames: 1, bytes: 1 };
const HELD = { counted: AMOUNT, sinks: {} };
const ATTEMPT = { session: 'theirs', base: AMOUNT, counted: 0, owner: '' };

async function storeWith(context: TestContext, ...names: string[]) {
  const store = LinkStore.open(tempDir());
  context.after(() => store.close());
  const tokens = [];
  for (const name of names) tokens.push({ name, hash: hashOf(await addToken(store, name)) });
  return { store, tokens };
}

/** Whoever had any token and learned a link's id had its positions too. */
test('a link is opened by the token that first opened it alone, until it is given over', async (context) => {
  const { store, tokens } = await storeWith(context, 'near', 'stranger', 'renewed');
  const [near, stranger, renewed] = tokens;
  assert.equal(await store.bind('link', 'a', near!), undefined);
  await store.commit('link', { position: 7, gateway: 'a', at: 1 }, [], new Map());
  assert.equal(await store.bind('link', 'b', stranger!), 'owner');
  assert.equal(await store.bind('link', 'a', near!), undefined);
  assert.equal(await rebind(store, 'near', 'renewed'), 1);
  assert.equal(await store.bind('link', 'a', near!), 'owner');
  assert.equal(await store.bind('link', 'a', renewed!), undefined);
  assert.equal(store.link('link')?.position, 7);
  await assert.rejects(rebind(store, 'near', 'nobody'), /no link token "nobody"/);
});

/** They grew with each id that anybody made up, and nothing removed them. */
test('a token has so many links at most, and takes them with it', async (context) => {
  const { store, tokens } = await storeWith(context, 'near', 'other');
  const [near, other] = tokens;
  for (let index = 0; index < LINKS_PER_TOKEN_MAX; index += 1) {
    assert.equal(await store.bind(`link-${index}`, 'a', near!), undefined);
  }
  assert.equal(await store.bind('one-more', 'a', near!), 'links');
  assert.equal(await store.bind('one-more', 'b', other!), undefined);
  await store.settle('ours', { link: 'link-0', ...ATTEMPT }, HELD, []);
  assert.equal(store.heldOf('link-0').size, 1);
  assert.equal(await removeToken(store, 'near'), LINKS_PER_TOKEN_MAX);
  assert.deepEqual(
    store.links().map(({ link }) => link),
    ['one-more'],
  );
  assert.equal(store.heldOf('link-0').size, 0);
  // A connection of it may have a word left.
  await store.settle('ours', { link: 'link-0', ...ATTEMPT }, HELD, []);
  await store.commit('link-0', { position: 1, gateway: 'a', at: 1 }, [], new Map());
  assert.equal(store.heldOf('link-0').size, 0);
  assert.equal(store.link('link-0'), undefined);
  assert.equal(await store.bind('link-0', 'a', near!), 'token');
});

test('a gateway that uses the id of another one does not get its link, nor end it', async () => {
  const receiverDir = gatewayDir();
  const port = await freePort();
  const receiver = await startReceiver(receiverDir, port);
  const start = async (name: string, id: string) => {
    const dir = gatewayDir();
    await giveToken(receiver, dir, name);
    const spool = join(dir, 'data', 'spool', 'partner', '0');
    mkdirSync(spool, { recursive: true });
    writeFileSync(join(spool, 'link'), `${id}\n`);
    return await startSender(dir, { port, certFile: receiver.certFile }, { workers: 1 });
  };
  const id = randomUUID();
  const near = await start('near', id);
  await near.until(() => near.logged('link opened').length === 1, 'its link is open');
  const thief = await start('thief', id);
  const isTold = () => thief.logged('link cannot be opened').length === 1;
  await thief.until(isTold, 'it is told');
  assert.match(`${thief.logged('link cannot be opened')[0]!.reason}`, /belongs to another token/);
  assert.equal(receiver.logged('link refused').length, 1);
  assert.equal(
    receiver.logged('link closed').filter(({ gateway }) => gateway !== undefined).length,
    1,
  );
  assert.equal(near.logged('link lost').length, 0);
  assert.equal(thief.logged('link opened').length, 0);
  for (const gateway of [near, thief, receiver]) await gateway.stop();
});
