import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import pino from 'pino';
import { LinkKeeper, type LinkMark, type LinkOpen } from '../../src/link/keeper.js';
import { type LinkState, LinkStore } from '../../src/link/store.js';
import { tempDir } from '../support/tmp.js';

const DEADLINE_MS = 10_000;

/** A store on a disk that may be full, and what was written to it. */
class FullStore {
  isFull = true;
  readonly written: string[] = [];

  held(): undefined {}

  begin(attempts: readonly (readonly [string, unknown])[]): void {
    this.#check();
    for (const [ours] of attempts) this.written.push(`begin ${ours}`);
  }

  async settle(ours: string): Promise<void> {
    this.#check();
    this.written.push(`settle ${ours}`);
  }

  async commit(
    link: string,
    { position }: LinkState,
    over: readonly string[],
    rests: ReadonlyMap<string, unknown>,
  ): Promise<void> {
    this.#check();
    this.written.push(`commit ${link} ${position} ${over.join()}`);
    for (const key of rests.keys()) this.written.push(`rest ${key}`);
  }

  parts(): Map<string, never> {
    return new Map<string, never>();
  }

  #check(): void {
    if (this.isFull) throw new Error('the disk is full');
  }
}

const open: LinkOpen = {
  link: 'link',
  session: 'theirs',
  base: { frames: 0, bytes: 0 },
  counted: 0,
  gateway: 'sender',
  openedAt: 0,
  hops: [],
};

const commit = (position: number, over: string[] = []): LinkMark => {
  return { t: 'commit', link: 'link', gateway: 'sender', position, over };
};

function keeperOf(store: FullStore) {
  const committed: number[] = [];
  const keeper = new LinkKeeper(
    store as unknown as LinkStore,
    ['disk'],
    () => true,
    pino({ level: 'silent' }),
    { committed: (_, position) => committed.push(position), released: () => {} },
  );
  const isCommitted = async () => {
    const until = performance.now() + DEADLINE_MS;
    while (committed.length === 0 && performance.now() < until) await sleep(10);
    return committed;
  };
  return { keeper, committed, isCommitted };
}

/** Its receiver asks for no other commit before the last is answered: the link stood for ever. */
test('a commit that the disk refused is made once there is room', async () => {
  const store = new FullStore();
  const { keeper, isCommitted } = keeperOf(store);
  keeper.mark(commit(7, ['ended']));
  await sleep(20);
  store.isFull = false;
  assert.deepEqual(await isCommitted(), [7]);
  assert.deepEqual(store.written, ['commit link 7 ended']);
  keeper.close();
});

test('a commit that the disk refused is not made for a link that was released', async () => {
  const store = new FullStore();
  const { keeper, committed } = keeperOf(store);
  keeper.mark(commit(7));
  await sleep(20);
  keeper.mark({ t: 'release', link: 'link', claim: 1 });
  store.isFull = false;
  await sleep(1_200);
  assert.deepEqual(committed, []);
  assert.deepEqual(store.written, []);
});

/** It ended the worker, with the sessions of all its sensors, again with each connection of the link. */
test('a session that begins on a full disk is noted before anything of it is acknowledged', async () => {
  const store = new FullStore();
  const { keeper, isCommitted } = keeperOf(store);
  keeper.begin('ours', open);
  keeper.begun();
  keeper.mark(commit(3));
  await sleep(20);
  store.isFull = false;
  assert.deepEqual(await isCommitted(), [3]);
  assert.deepEqual(store.written, ['begin ours', 'commit link 3 ']);
  keeper.close();
});

test('a session that was over before it could be noted is not noted afterwards', async () => {
  const store = new FullStore();
  const { keeper } = keeperOf(store);
  const link = keeper.begin('ours', open);
  keeper.begun();
  store.isFull = false;
  const totals = { received: { frames: 0, bytes: 0 }, delivered: {}, rejected: {} };
  const session = { id: 'ours', link, fanout: undefined };
  await keeper.settle(session, totals as never, 'closed');
  keeper.begun();
  assert.deepEqual(store.written, ['settle ours']);
});

/** One that was under way when the link passed to another connection may come after that one's. */
test('the position of a link never falls', async () => {
  const store = LinkStore.open(tempDir());
  const state = (position: number) => ({ position, gateway: 'sender', at: 1 });
  await store.setToken('sender', { hash: 'hash', createdAt: 1 });
  await store.bind('link', 'sender', { name: 'sender', hash: 'hash' });
  await store.commit('link', state(9), [], new Map());
  await store.commit('link', state(4), [], new Map());
  assert.equal(store.link('link')?.position, 9);
  await store.close();
});

/** It was written behind the session's own last word, and nobody would remove it. */
test('what a session has in memory is not kept where it was settled meanwhile', async () => {
  const store = new FullStore();
  store.isFull = false;
  const { keeper, isCommitted } = keeperOf(store);
  const rest = { at: 0, frames: 0, bytes: Buffer.from('under way'), known: 0 };
  const sessions = ['stays', 'ends'].map((id) => {
    let synced = () => {};
    const isSynced = new Promise<void>((resolve) => {
      synced = resolve;
    });
    const sync = () => isSynced.then(() => new Map([['disk', rest]]));
    return { id, link: keeper.begin(id, open), fanout: { sync }, synced };
  });
  keeper.begun();
  for (const session of sessions) keeper.touched(session);
  keeper.mark(commit(5));
  const totals = { received: { frames: 0, bytes: 0 }, delivered: {}, rejected: {} };
  await keeper.settle(sessions[1]!, totals as never, undefined);
  for (const { synced } of sessions) synced();
  assert.deepEqual(await isCommitted(), [5]);
  assert.deepEqual(store.written.slice(2), ['settle ends', 'commit link 5 ', 'rest stays/disk']);
});
