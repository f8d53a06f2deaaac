import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import pino from 'pino';
import { SinkSet } from '../../src/cluster/sink-set.js';
import { relaySink } from '../../src/config/relay-schema.js';
import type { Config } from '../../src/config/schema.js';
import { createRelay } from '../../src/sinks/relay/create.js';
import type { Sink, SinkHost } from '../../src/sinks/sink.js';
import { tempDir } from '../support/tmp.js';

const log = pino({ level: 'silent' });

/** What a sink of a test did, and how it is made to fail. */
class TestSink {
  readonly kind = 'test';
  readonly acts: string[] = [];

  constructor(
    readonly name: string,
    readonly ready: Promise<void>,
    readonly closed: Promise<void> = Promise.resolve(),
  ) {}

  async start(): Promise<void> {
    await this.ready;
    this.acts.push('started');
  }

  async close(): Promise<void> {
    this.acts.push('closed');
    await this.closed;
  }
}

function setOf(make: (name: string) => TestSink): SinkSet {
  return new SinkSet(log, {
    make: (_, name) => make(name) as unknown as Sink,
    named: () => {},
    isUsed: () => false,
    memory: new Uint8Array(0),
    drain: () => {},
    gone: () => {},
  });
}

const none = {} as Config['sinks'];

/** The next reload took it for one that was ready: its first stream ended each worker. */
test('a new sink that could neither start nor be closed is made anew by the next reload', async () => {
  let failing = true;
  const fail = (text: string) => (failing ? Promise.reject(new Error(text)) : Promise.resolve());
  const made: TestSink[] = [];
  const set = setOf((name) => {
    const sink = new TestSink(name, fail('no directory'), fail('never opened'));
    sink.closed.catch(() => {});
    made.push(sink);
    return sink;
  });
  await assert.rejects(set.prepare(['fresh'], none), /no directory/);
  assert.equal(set.sinks[0], undefined);
  failing = false;
  await set.prepare(['fresh'], none);
  assert.equal(made.length, 2);
  assert.deepEqual(made[1]!.acts, ['started']);
});

/** What it opened after it was closed nobody closed any more. */
test('a new sink that is still starting is not closed before it has', async () => {
  let start = () => {};
  const ready = new Promise<void>((resolve) => {
    start = resolve;
  });
  const slow = new TestSink('slow', ready);
  const set = setOf((name) =>
    name === 'slow' ? slow : new TestSink(name, Promise.reject(new Error('no directory'))),
  );
  const prepared = set.prepare(['broken', 'slow'], none);
  prepared.catch(() => {});
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(slow.acts, []);
  start();
  await assert.rejects(prepared, /no directory/);
  assert.deepEqual(slow.acts, ['started', 'closed']);
});

test('a relay whose spool could not be opened can be closed', async () => {
  const dir = join(tempDir(), 'spool');
  writeFileSync(dir, 'no directory');
  const config = relaySink.parse({ kind: 'relay', to: 'tcp://127.0.0.1:1', spool: { dir } });
  const place = { dataDir: dir, gateway: 'own', worker: 0, workers: 1 };
  const relay = createRelay('partner', config, { place, log } as unknown as SinkHost);
  await assert.rejects(relay.start(), { code: 'D4GW_E_SPOOL' });
  await relay.close();
  assert.equal(relay.status().state, 'ok');
});
