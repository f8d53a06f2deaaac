import assert from 'node:assert/strict';
import { type ChildProcess, fork, spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { on, once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { GatewayError } from '../../src/errors.js';
import { BLOCKED_ADDRESSES_MAX, generateKey, NOTES_MAX } from '../../src/registry/limits.js';
import { openRegistry } from '../../src/registry/lmdb.js';
import type { Registry, SensorRecord } from '../../src/registry/store.js';

const CHILD = new URL('./child.js', import.meta.url);
const CHILD_TIMEOUT_MS = 20_000;

let dataDir: string;
let registry: Registry;
const children: ChildProcess[] = [];

beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'd4gw-registry-'));
  registry = openRegistry(dataDir);
});

afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await registry.close();
  rmSync(dataDir, { recursive: true });
});

function start(task: string, argument = ''): ChildProcess {
  const child = fork(CHILD, [task, dataDir, argument], { timeout: CHILD_TIMEOUT_MS });
  children.push(child);
  return child;
}

async function addOne(over: Partial<SensorRecord> = {}): Promise<SensorRecord> {
  return registry.add({ uuid: randomUUID(), key: Buffer.from('secret'), ...over });
}

const sensorError = (message: RegExp) => (error: unknown) =>
  error instanceof GatewayError && error.code === 'D4GW_E_SENSOR' && message.test(error.message);

describe('sensors', () => {
  test('a record is kept as it was given, across a close and an open', async () => {
    const key = Buffer.from([0, 255, 10, 32, 128]);
    const given = {
      uuid: randomUUID(),
      key,
      name: 'porte 7',
      description: 'darknet /24, Zürich',
      contact: 'noc@example.org',
      state: 'pending' as const,
    };
    const added = await registry.add(given);
    assert.deepEqual(registry.sensor(given.uuid), {
      ...given,
      blocked: false,
      createdAt: added.createdAt,
    });
    key.fill(1);
    await registry.close();
    registry = openRegistry(dataDir);
    const found = registry.sensor(given.uuid)!;
    assert.deepEqual([...found.key], [0, 255, 10, 32, 128]);
    registry.version();
    for (let i = 0; i < 100; i++) await addOne();
    assert.deepEqual([...found.key], [0, 255, 10, 32, 128], 'the key is no view of the store');
    assert.equal(registry.list().length, 101);
  });

  test('block hides the state and unblock restores it', async () => {
    const { uuid } = await addOne({ state: 'pending' });
    await registry.block(uuid);
    assert.deepEqual(pick(registry.sensor(uuid)!), { state: 'pending', blocked: true });
    await registry.approve(uuid);
    assert.deepEqual(pick(registry.sensor(uuid)!), { state: 'approved', blocked: true });
    await registry.unblock(uuid);
    assert.deepEqual(pick(registry.sensor(uuid)!), { state: 'approved', blocked: false });
  });

  test('a rotation keeps the old key for its grace, and no key before it', async () => {
    const { uuid } = await addOne({ key: Buffer.from('one') });
    const before = Date.now();
    const { key, previousKey } = await registry.rotateKey(uuid, Buffer.from('two'), 60);
    assert.equal(key.toString(), 'two');
    assert.equal(previousKey!.key.toString(), 'one');
    assert.ok(previousKey!.validUntil >= before + 60_000);
    assert.ok(previousKey!.validUntil <= Date.now() + 60_000);

    await registry.rotateKey(uuid, Buffer.from('three'), 60);
    assert.equal(registry.sensor(uuid)!.previousKey!.key.toString(), 'two');
    await registry.rotateKey(uuid, Buffer.from('four'), 0);
    assert.equal('previousKey' in registry.sensor(uuid)!, false);
    await assert.rejects(registry.rotateKey(uuid, Buffer.from('four'), 60), sensorError(/already/));
    for (const grace of [-1, 1.5, Number.NaN, 1e12]) {
      await assert.rejects(registry.rotateKey(uuid, Buffer.from('five'), grace), GatewayError);
    }
    assert.equal(registry.sensor(uuid)!.key.toString(), 'four');
  });

  test('remove forgets the sensor and its activity', async () => {
    const { uuid } = await addOne();
    await registry.recordNote(uuid, 'noted', 1);
    await registry.remove(uuid);
    assert.equal(registry.sensor(uuid), undefined);
    assert.equal(registry.activity(uuid), undefined);
    await assert.rejects(registry.remove(uuid), sensorError(/no sensor/));
    await registry.recordNote(uuid, 'late', 2);
    assert.equal(registry.activity(uuid), undefined, 'a late fact does not bring it back');
  });

  test('what is not acceptable is refused and changes nothing', async () => {
    const { uuid } = await addOne();
    const version = registry.version();
    const bad: [Partial<SensorRecord>, RegExp][] = [
      [{ uuid }, /exists already/],
      [{ uuid: randomUUID().toUpperCase() }, /version 4/],
      [{ uuid: '00000000-0000-0000-0000-000000000000' }, /version 4/],
      [{ key: Buffer.alloc(0) }, /empty/],
      [{ key: Buffer.alloc(1025) }, /1025 bytes/],
      [{ name: 'a\u001b[2Jb' }, /control/],
      [{ name: 'x'.repeat(65) }, /65 characters/],
      [{ name: '10.0.0.1' }, /address/],
      [{ name: '10.0.0.1/8' }, /address/],
      [{ name: randomUUID() }, /UUID/],
      [{ description: 'two\nlines' }, /control/],
      [{ contact: ' blank' }, /blanks/],
    ];
    for (const [over, message] of bad) await assert.rejects(addOne(over), sensorError(message));
    for (const change of ['approve', 'block', 'unblock', 'remove'] as const) {
      await assert.rejects(registry[change](randomUUID()), sensorError(/no sensor/));
    }
    assert.equal(registry.version(), version);
    assert.equal(registry.list().length, 1);
  });
});

describe('version', () => {
  test('grows with each change, and not with what changes nothing', async () => {
    let version = registry.version();
    const grows = (by: number, why: string) => {
      assert.equal(registry.version() - version, by, why);
      version += by;
    };
    const { uuid } = await addOne({ state: 'pending' });
    grows(1, 'add');
    await registry.approve(uuid);
    grows(1, 'approve');
    await registry.approve(uuid);
    grows(0, 'approve again');
    await registry.rotateKey(uuid, generateKey(), 1);
    grows(1, 'rotate');
    await registry.block(uuid);
    await registry.block(uuid);
    grows(1, 'block twice');
    await registry.unblock(uuid);
    await registry.unblock(uuid);
    grows(1, 'unblock twice');
    await registry.blockAddress('192.0.2.0/24');
    await registry.blockAddress('192.0.2.0/24');
    grows(1, 'block an address twice');
    await registry.unblockAddress('192.0.2.0/24');
    grows(1, 'unblock an address');
    await registry.recordActivity([{ kind: 'seen', uuid, at: 1, address: '192.0.2.1' }]);
    await registry.recordReject(uuid, { reason: 'bad-hmac', detail: '', at: 1, address: '' });
    grows(0, 'activity');
    await registry.remove(uuid);
    grows(1, 'remove');
  });
});

describe('activity', () => {
  test('facts of one batch are put together, whatever their order', async () => {
    const { uuid } = await addOne();
    const other = await addOne();
    const reject = { reason: 'bad-hmac', detail: 'frame 3', at: 40, address: '192.0.2.4' };
    await registry.recordActivity([
      { kind: 'seen', uuid, at: 30, address: '192.0.2.3' },
      { kind: 'seen', uuid, at: 10, address: '192.0.2.1' },
      { kind: 'reject', uuid, ...reject },
      { kind: 'reject', uuid, ...reject, at: 39, reason: 'too-large' },
      { kind: 'seen', uuid: randomUUID(), at: 5, address: '192.0.2.5' },
      { kind: 'note', uuid, at: 7, text: 'stream kept as raw' },
    ]);
    await registry.recordActivity([{ kind: 'seen', uuid, at: 20, address: '192.0.2.2' }]);
    assert.deepEqual(registry.activity(uuid), {
      firstSeen: 10,
      lastSeen: 30,
      lastAddress: '192.0.2.3',
      lastReject: reject,
      notes: [{ text: 'stream kept as raw', at: 7, count: 1 }],
    });
    assert.equal(registry.activity(other.uuid), undefined);
  });

  test('a batch may be of any size', async () => {
    const sensors: string[] = [];
    for (let i = 0; i < 300; i++) sensors.push((await addOne()).uuid);
    await registry.recordActivity(
      [1, 2].flatMap((at) => sensors.map((uuid) => ({ kind: 'seen', uuid, at, address: 'a' }))),
    );
    for (const uuid of sensors) {
      const { firstSeen, lastSeen } = registry.activity(uuid)!;
      assert.deepEqual([firstSeen, lastSeen], [1, 2]);
    }
  });

  test('notes are bounded, the newest kept, and repeats counted', async () => {
    const { uuid } = await addOne();
    await registry.recordNote(uuid, 'repeated', 0);
    for (let i = 1; i <= NOTES_MAX + 5; i++) {
      await registry.recordNote(uuid, `note ${i} ${'x'.repeat(1000)}`, i);
      await registry.recordNote(uuid, 'repeated', i);
    }
    const { notes } = registry.activity(uuid)!;
    assert.equal(notes.length, NOTES_MAX);
    assert.deepEqual(notes.at(-1), { text: 'repeated', at: NOTES_MAX + 5, count: NOTES_MAX + 6 });
    assert.ok(notes.every((note) => note.text.length <= 200));
    assert.match(notes[0]!.text, /^note 7 /);
  });

  test('changes and batches in any order lose nothing', async () => {
    const { uuid } = await addOne();
    const pending: Promise<void>[] = [];
    const version = registry.version();
    for (let i = 1; i <= 50; i++) {
      pending.push(registry.recordNote(uuid, 'again', i));
      await (i % 2 ? registry.block(uuid) : registry.unblock(uuid));
    }
    await Promise.all(pending);
    assert.equal(registry.activity(uuid)!.notes[0]!.count, 50);
    assert.equal(registry.version(), version + 50);
  });
});

describe('addresses', () => {
  test('blocked ranges take effect at once and end with unblock', async () => {
    assert.equal(registry.addressBlocked('192.0.2.77'), false);
    assert.equal(await registry.blockAddress('::ffff:192.0.2.0/120'), '192.0.2.0/24');
    assert.equal(registry.addressBlocked('::ffff:192.0.2.77'), true);
    assert.equal(registry.addressBlocked('192.0.3.77'), false);
    assert.deepEqual(
      registry.blockedAddresses().map(({ address }) => address),
      ['192.0.2.0/24'],
    );
    await assert.rejects(registry.unblockAddress('192.0.2.77'), sensorError(/not blocked/));
    assert.equal(await registry.unblockAddress('192.0.2.0/24'), '192.0.2.0/24');
    assert.equal(registry.addressBlocked('192.0.2.77'), false);
    assert.equal(registry.addressBlocked(''), false, 'a unix socket has no address');
    await assert.rejects(registry.blockAddress('example.org'), /no address/);
  });

  test('there is a limit', async () => {
    const first = Array.from(
      { length: BLOCKED_ADDRESSES_MAX },
      (_, i) => `10.${i >> 8}.${i & 255}.9`,
    );
    // One by one each is a transaction of its own on disk: fill in the rest from one.
    const { open } = await import('lmdb');
    const db = open({ path: join(dataDir, 'registry'), overlappingSync: false });
    db.transactionSync(() => {
      for (const address of first) db.put(`address/${address}`, { address, at: 0 });
    });
    await db.close();
    await assert.rejects(registry.blockAddress('192.0.2.1'), /blocked already/);
    await registry.unblockAddress(first[0]!);
    await registry.blockAddress('192.0.2.1');
    assert.equal(registry.addressBlocked('192.0.2.1'), true);
  });
});

describe('files', () => {
  test('are readable by their owner alone', () => {
    const directory = join(dataDir, 'registry');
    assert.equal(statSync(directory).mode & 0o777, 0o700);
    const names = readdirSync(directory).sort();
    assert.deepEqual(names, ['data.mdb', 'lock.mdb']);
    for (const name of names) assert.equal(statSync(join(directory, name)).mode & 0o777, 0o600);
  });

  test('a reader refuses a directory without a registry, and a file that is none', () => {
    const error = (message: RegExp) => (thrown: unknown) =>
      thrown instanceof GatewayError &&
      thrown.code === 'D4GW_E_REGISTRY' &&
      message.test(thrown.message);
    const empty = join(dataDir, 'empty');
    assert.throws(() => openRegistry(empty, { readOnly: true }), error(/no registry/));
    const broken = join(dataDir, 'broken', 'registry');
    mkdirSync(broken, { recursive: true });
    for (const content of ['x', 'this is no database'.repeat(1000), Buffer.alloc(8192)]) {
      writeFileSync(join(broken, 'data.mdb'), content);
      assert.throws(() => openRegistry(join(dataDir, 'broken')), error(/damaged/));
    }
    const file = join(dataDir, 'file');
    writeFileSync(file, '');
    assert.throws(() => openRegistry(file), error(/cannot open/));
  });
});

describe('a full disk', () => {
  test('refuses changes and activity, keeps what is there, and goes on when there is room', async (context) => {
    const small = join(dataDir, 'small');
    mkdirSync(small);
    const mount = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', small]);
    if (mount.status !== 0) return context.skip('cannot mount a tmpfs');
    try {
      const full = openRegistry(small);
      const { uuid } = await full.add({ uuid: randomUUID(), key: Buffer.from('first') });
      const filler = join(small, 'filler');
      assert.throws(() => writeFileSync(filler, Buffer.alloc(3 << 20)), /ENOSPC/);
      const refused = (error: unknown) =>
        error instanceof GatewayError &&
        error.code === 'D4GW_E_REGISTRY' &&
        /make room/.test(error.message);
      const version = full.version();
      await assert.rejects(full.add({ uuid: randomUUID(), key: Buffer.from('x') }), refused);
      await assert.rejects(full.block(uuid), refused);
      await assert.rejects(full.recordNote(uuid, 'note', 1), refused);
      assert.equal(full.version(), version);
      assert.equal(full.list().length, 1);
      rmSync(filler);
      await full.recordNote(uuid, 'room', 2);
      assert.equal((await full.block(uuid)).blocked, true);
      assert.deepEqual(full.activity(uuid)!.notes, [{ text: 'room', at: 2, count: 1 }]);
      await full.close();
    } finally {
      spawnSync('umount', ['-l', small]);
    }
  });
});

describe('several processes', () => {
  test('two that add at once lose nothing', async () => {
    const count = 60;
    const version = registry.version();
    const writers = [start('add', String(count)), start('add', String(count))];
    const gone = writers.map((writer) => once(writer, 'exit'));
    await Promise.all(writers.map((writer) => once(writer, 'message')));
    const done = writers.map((writer) => once(writer, 'message'));
    for (const writer of writers) writer.send('go');
    for (let i = 0; i < count; i++) await addOne();
    const added = (await Promise.all(done)).flatMap(([uuids]) => uuids as string[]);
    for (const [code] of await Promise.all(gone)) assert.equal(code, 0);
    assert.equal(registry.version(), version + 3 * count);
    assert.equal(registry.list().length, 3 * count);
    for (const uuid of added) assert.ok(registry.sensor(uuid));
  });

  test('the version is that of now, within one turn of the event loop too', () => {
    const version = registry.version();
    spawnSync(process.execPath, [fileURLToPath(CHILD), 'addOne', dataDir]);
    assert.equal(registry.version(), version + 1);
    assert.equal(registry.list().length, 1);
  });

  test('readers on two threads of another process see each change', async () => {
    const { uuid } = await addOne();
    const reader = start('poll');
    const messages = on(reader, 'message', { close: ['exit'] });
    const seen = async (version: number) => {
      const threads = new Map<string, Seen>();
      while (threads.size < 2) {
        const { value, done } = await messages.next();
        if (done) assert.fail('the reader ended');
        const [message] = value as [Seen];
        if (message.version === version) threads.set(message.thread, message);
      }
      return [...threads.values()];
    };
    let waiting = seen(registry.version());
    await waiting;
    waiting = seen(registry.version() + 1);
    await registry.block(uuid);
    for (const { sensors } of await waiting) assert.deepEqual(sensors, [{ uuid, blocked: true }]);
    waiting = seen(registry.version() + 1);
    await registry.blockAddress('192.0.2.0/24');
    for (const { blocked } of await waiting) assert.equal(blocked, true);
    const gone = once(reader, 'exit');
    reader.send('end');
    assert.deepEqual(await gone, [0, null]);
  });

  test('a writer killed in its transaction leaves nothing of it and blocks nobody', async () => {
    const { uuid } = await addOne();
    for (let i = 0; i < 3; i++) {
      const version = registry.version();
      const [, signal] = (await once(start('dieWriting'), 'exit')) as [number, string];
      assert.equal(signal, 'SIGKILL');
      assert.equal(registry.version(), version);
      await registry.rotateKey(uuid, generateKey(), 0);
      await registry.recordNote(uuid, 'alive', i);
      assert.equal(registry.version(), version + 1);
    }
  });

  test('writers killed at random moments leave whole records', async () => {
    for (let i = 0; i < 4; i++) {
      const writer = start('churn');
      await once(writer, 'message');
      const gone = once(writer, 'exit');
      // Our own writes contend for the lock while the other dies.
      const until = registry.version() + 20 + 13 * i;
      while (registry.version() < until) await addOne();
      writer.kill('SIGKILL');
      await addOne();
      await gone;
      await addOne();
      assert.equal(registry.list().length, registry.version(), 'each change is one sensor here');
    }
  });
});

interface Seen {
  version: number;
  sensors: { uuid: string; blocked: boolean }[];
  blocked: boolean;
  thread: string;
}

function pick({ state, blocked }: SensorRecord) {
  return { state, blocked };
}
