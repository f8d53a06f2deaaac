import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import type { LedgerReport } from '../../src/ledger/report.js';
import { randomOf, runSeed } from '../ring/fixture.js';
import { skipUnless } from '../support/require.js';
import { tempDir } from '../support/tmp.js';
import { Gateway } from './gateway.js';
import { sharedSecret, until, untilLedger, workersOf } from './peers.js';
import {
  dataFiles,
  Feed,
  filesBySensor,
  finish,
  isAlive,
  offer,
  type Random,
  readAll,
  Source,
  sha256,
} from './traffic.js';

const MIB = 1024 * 1024;
/** More than a full sink's share of the pool, the ring and the sockets' buffers take. */
const STREAM_BYTES = 24 * MIB;
const FILLER_BYTES = 120 * MIB;
const DISK_BYTES = FILLER_BYTES + 6 * MIB;
const FULL = 'the files sink takes no more';

/** Whether this user may mount a small file system. */
function cannotMount(): string | false {
  const dir = tempDir('mount');
  const { status, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', dir]);
  if (status === 0) execFileSync('umount', [dir]);
  return skipUnless(status === 0, `no tmpfs can be mounted: ${stderr}`.trim());
}

/** A file system of a few MB, most of it taken by one file. */
class SmallDisk {
  readonly dir: string;
  readonly #filler: string;

  constructor() {
    // Hooks run in their order: this one before the directory is removed.
    after(() => execFileSync('umount', ['-l', this.dir]));
    this.dir = tempDir('disk');
    this.#filler = join(this.dir, 'filler');
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'tmpfs', this.dir]);
    writeFileSync(this.#filler, Buffer.alloc(FILLER_BYTES, 1));
  }

  makeRoom(): void {
    rmSync(this.#filler);
  }
}

/** A gateway whose types 1 and 3 go to a small disk, 6 nowhere, and 254 as its meta type says. */
function options(disk: string, limits: Record<string, number> = {}) {
  return sharedSecret({
    workers: 2,
    limits: { poolBytes: MIB, ringBytes: MIB, assemblyBytes: MIB, ...limits },
    sinks: {
      disk: { kind: 'files', dir: disk, flushMs: 50 },
      nowhere: { kind: 'blackhole' },
    },
    routes: [
      { match: { types: [1, 3] }, to: ['disk'] },
      { match: { types: [6] }, to: ['nowhere'] },
      { match: { metaTypes: ['ja3-jl'] }, to: ['nowhere'] },
      { match: { metaTypes: ['maltrail'] }, to: ['disk'] },
    ],
  });
}

/** A stream that is sent as fast as it is taken. */
class Flow {
  readonly source: Source;
  readonly done: Promise<void>;
  isDone = false;

  constructor(gateway: Gateway, kind: 'pcap' | 'lines' | 'jsonl', random: Random, bytes: number) {
    this.source = new Source(kind, random);
    this.done = this.#run(gateway, random, bytes);
  }

  async #run(gateway: Gateway, random: Random, bytes: number): Promise<void> {
    const { source } = this;
    const socket = await gateway.tcp();
    while (source.bytes < bytes) {
      const content = source.content.next(100_000);
      if (
        !(await offer(
          socket,
          source.cutIntoFrames(content, () => random(60_000)),
        ))
      )
        break;
    }
    await finish(socket);
    this.isDone = true;
  }
}

const skip = cannotMount();

describe('a full disk', { skip }, () => {
  test('holds its own sensors back, and goes on when there is room', async (context) => {
    const seed = runSeed();
    context.diagnostic(`seed ${seed} (D4GW_SEED)`);
    const random = randomOf(seed);
    const disk = new SmallDisk();
    const gateway = await Gateway.start(options(join(disk.dir, 'sensors')));
    const kinds = ['lines', 'pcap', 'lines'] as const;
    const held = kinds.map((kind) => new Flow(gateway, kind, random, STREAM_BYTES));
    const workers = new Set(workersOf(gateway));
    const isFull = () => new Set(gateway.logged(FULL).map(({ pid }) => pid)).size === workers.size;
    await gateway.until(isFull, 'each worker says that its disk is full');

    // Another route goes on, whatever type it brings, and new sensors of it are taken.
    const free = new Flow(gateway, 'jsonl', random, STREAM_BYTES);
    const meta = await gateway.tls();
    const metaSource = new Source('meta', random);
    await offer(meta, metaSource.opening());
    await untilLedger(
      gateway,
      ({ sessions }) => sessions.some((one) => one.sensor === metaSource.uuid),
      'its meta header is taken',
    );
    const content = metaSource.content.next(2 * MIB);
    await offer(
      meta,
      metaSource.cutIntoFrames(content, () => random(50_000)),
    );
    await Promise.all([finish(meta), free.done]);
    await untilLedger(
      gateway,
      ({ sensors }) =>
        [free.source, metaSource].every(({ uuid, bytes }) =>
          sensors.some(
            (one) => one.sensor === uuid && one.sinks[0]?.delivered.bytes === bytes && !one.open,
          ),
        ),
      'the other route is delivered',
    );
    assert.deepEqual(
      held.map(({ isDone }) => isDone),
      held.map(() => false),
      'the sensors of the full disk are held back',
    );
    const received = async () =>
      (await gateway.ledger()).ledger.sensors.filter((one: { sensor: string }) =>
        held.some(({ source }) => source.uuid === one.sensor),
      );
    for (const one of await received()) assert.ok(one.received.bytes < STREAM_BYTES, one.sensor);

    disk.makeRoom();
    await Promise.all(held.map(({ done }) => done));
    assert.equal(await gateway.stop(), 0);
    const { code, ledger } = await gateway.ledger();
    assert.equal(code, 0);
    const files = filesBySensor(gateway, join(disk.dir, 'sensors'));
    for (const { source } of held) {
      const { uuid, hex, frames, bytes, payload } = source;
      const data = dataFiles(files.get(hex));
      assert.equal(sha256(readAll(data)), sha256(payload), uuid);
      const entry = (ledger as LedgerReport).sensors.find(({ sensor }) => sensor === uuid)!;
      assert.deepEqual(entry.sinks[0]!.delivered, { frames, bytes });
      assert.deepEqual(entry.sinks[0]!.lost, { frames: 0, bytes: 0 });
    }
    for (const pid of workers) {
      const says = (text: string) => gateway.logged(text).filter((line) => line.pid === pid).length;
      assert.equal(says(FULL), says('the files sink goes on'), 'each outage has its end');
      assert.ok(says(FULL) <= 3, `${says(FULL)} lines on one outage`);
    }
    assert.equal(ledger.workerDeaths, 0);
  });

  test('at a stop: it ends within its time, and counts what was lost', async (context) => {
    const seed = runSeed();
    context.diagnostic(`seed ${seed} (D4GW_SEED)`);
    const random = randomOf(seed);
    const disk = new SmallDisk();
    const dir = join(disk.dir, 'sensors');
    const start = options(dir, { drainTimeoutMs: 2_000 });
    const gateway = await Gateway.start(start);
    const held = [1, 2, 3].map(() => new Flow(gateway, 'lines', random, STREAM_BYTES));
    await gateway.until(() => gateway.logged(FULL).length > 0, 'it is full');
    const workers = workersOf(gateway);
    gateway.process.kill('SIGTERM');
    // Its own deadline, and time for the books.
    await gateway.process.exit(10_000);
    await Promise.all(held.map(({ done }) => done));
    assert.deepEqual(workers.filter(isAlive), []);

    disk.makeRoom();
    const next = await Gateway.start(start);
    const { code, ledger } = await next.ledger();
    assert.equal(code, 0);
    const files = filesBySensor(next, dir);
    let lost = 0;
    for (const { source } of held) {
      const own = dataFiles(files.get(source.hex));
      const stored = readAll(own);
      assert.deepEqual(
        own.filter((path) => path.endsWith('.part')),
        [],
      );
      const { payload, uuid } = source;
      assert.ok(stored.equals(payload.subarray(0, stored.length)), 'a beginning of what was sent');
      const entry = (ledger as LedgerReport).sensors.find(({ sensor }) => sensor === uuid);
      if (!entry) continue;
      const [sink] = entry.sinks;
      assert.equal(sink?.delivered.bytes ?? 0, stored.length, 'what is counted is there');
      if (sink) assert.equal(sink.delivered.bytes + sink.lost.bytes, entry.received.bytes);
      lost += sink?.lost.bytes ?? 0;
    }
    assert.ok(lost > 0, 'something was lost, and said');
    assert.equal(await next.stop(), 0);
  });
});

test('a directory that is removed is made again, and other sinks do not notice', async (context) => {
  const seed = runSeed();
  context.diagnostic(`seed ${seed} (D4GW_SEED)`);
  const random = randomOf(seed);
  const dir = join(tempDir('gone'), 'sensors');
  const gateway = await Gateway.start(options(dir, { poolBytes: 16 * MIB }));
  const before = new Feed(await gateway.tcp(), 'lines', random);
  const other = new Feed(await gateway.tls(), 'jsonl', random);
  await until(() => filesBySensor(gateway, dir).size === 1, 'it stores');
  rmSync(dir, { recursive: true });
  const late = new Feed(await gateway.unix(), 'pcap', random);
  await gateway.until(
    () => gateway.logged('a file was removed').length > 0,
    'the loss of the file is said',
  );
  await until(() => filesBySensor(gateway, dir).size === 2, 'it stores again');
  await Promise.all([before.end(), other.end(), late.end()]);
  assert.equal(await gateway.stop(), 0);
  const { code, ledger } = await gateway.ledger();
  assert.equal(code, 0);
  const sensors = (ledger as LedgerReport).sensors;
  for (const { source } of [before, other, late]) {
    const { uuid, frames, bytes } = source;
    const entry = sensors.find(({ sensor }) => sensor === uuid)!;
    assert.deepEqual(entry.received, { frames, bytes });
    assert.deepEqual(entry.sinks[0]!.delivered, { frames, bytes });
  }
  const files = filesBySensor(gateway, dir);
  // What came after is kept: the end of the one, all of the other.
  const rest = readAll(dataFiles(files.get(before.source.hex)));
  const { payload } = before.source;
  assert.ok(rest.length > 0);
  assert.ok(rest.equals(payload.subarray(payload.length - rest.length)));
  assert.ok(readAll(dataFiles(files.get(late.source.hex))).equals(late.source.payload));
  assert.equal(ledger.workerDeaths, 0);
});
