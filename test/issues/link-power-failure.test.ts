import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { mock, type TestContext, test } from 'node:test';
import { pino } from 'pino';
import { LedgerJournal } from '../../src/ledger/journal.js';
import { LinkKeeper } from '../../src/link/keeper.js';
import type { LinkStore } from '../../src/link/store.js';
import { Directories } from '../../src/sinks/files/directories.js';
import { Spool } from '../../src/spool/spool.js';
import { frameOf, sensorOf, within } from '../spool/model.js';
import { tempDir } from '../support/tmp.js';

const SENSOR = sensorOf(1);
const PAYLOAD_BYTES = 1_000;

async function prototypeOfHandles(): Promise<FileHandle> {
  const path = join(tempDir('handle'), 'file');
  writeFileSync(path, '');
  const handle = await open(path);
  await handle.close();
  return Object.getPrototypeOf(handle) as FileHandle;
}

/** The journal was in the page cache alone: after a power failure nothing told of what was acknowledged. */
test('nothing is acknowledged before the journal is forced to the disk', async () => {
  const steps: string[] = [];
  let forced = (_: boolean) => {};
  const store = {
    commit: async () => {
      steps.push('committed');
    },
  } as unknown as LinkStore;
  const journal = () =>
    new Promise<boolean>((resolve) => {
      steps.push('asked');
      forced = resolve;
    });
  const done = new Promise<void>((resolve) => {
    const events = { committed: () => resolve(), released: () => {} };
    const keeper = new LinkKeeper(store, ['disk'], journal, pino({ level: 'silent' }), events);
    keeper.mark({ t: 'commit', link: 'link', gateway: 'sender', position: 1, over: [] });
  });
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(steps, ['asked']);
  forced(true);
  await within(done);
  assert.deepEqual(steps, ['asked', 'committed']);
});

function journalOf(context: TestContext): LedgerJournal {
  const path = join(tempDir('data'), 'ledger', 'worker-0.journal');
  const journal = new LedgerJournal(path, { sinks: ['disk'], sessions: 4 });
  context.after(() => journal.close());
  return journal;
}

test('those who ask for the journal at a time are answered together', async (context) => {
  const journal = journalOf(context);
  const first = [journal.force(), journal.force()];
  assert.equal(first[0], first[1]);
  assert.deepEqual(await Promise.all(first), [true, true]);
  assert.equal(await journal.force(), true);
});

test('a journal that is closed while it is forced is closed once', async (context) => {
  const journal = journalOf(context);
  const forced = journal.force();
  await Promise.resolve();
  journal.close();
  assert.equal(typeof (await forced), 'boolean');
  assert.equal(await journal.force(), false);
});

/** The kernel forgets what it failed to write: the next attempt succeeds, and proves nothing. */
test('what could not be forced is written again before it is forced again', async () => {
  const spool = await Spool.open({
    dir: tempDir('spool'),
    maxBytes: 64 * 1024 * 1024,
    memoryBytes: 1024 * 1024,
    persist: 'always',
    compress: 'none',
    log: pino({ level: 'silent' }),
  });
  const ref = spool.openSession({ id: 'a', sensor: SENSOR, type: 3, openedAt: new Date() });
  const frame = frameOf(SENSOR, 3, Buffer.alloc(PAYLOAD_BYTES, 7));
  spool.append(ref, frame, 0, frame.length);
  await within(spool.flush());
  const handles = await prototypeOfHandles();
  const refusal = mock.method(handles, 'datasync', () => Promise.reject(new Error('EIO')));
  await assert.rejects(spool.sync(), /EIO/);
  refusal.mock.restore();
  const writes = mock.method(handles, 'write');
  await spool.sync();
  const written = writes.mock.calls.map(({ arguments: [bytes] }) => Buffer.from(bytes as never));
  writes.mock.restore();
  assert.ok(Buffer.concat(written).includes(frame));
  await spool.close();
});

/** Its directory was forced, those above it were not: a file of a new sensor could be gone. */
test('the names of all directories up to the root are forced', async () => {
  const root = join(tempDir('root'), 'sensors');
  const path = join(root, 'sensor', '3', 'day');
  mkdirSync(path, { recursive: true });
  const handles = await prototypeOfHandles();
  const syncs = mock.method(handles, 'sync');
  await new Directories(root, false).force(path);
  assert.equal(syncs.mock.callCount(), 5);
  syncs.mock.restore();
});
