import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { pino } from 'pino';
import type { ArchiveSinkConfig } from '../../../src/config/schema.js';
import { ArchiveSink } from '../../../src/sinks/archive/archive-sink.js';
import { blocksOf } from '../../../src/sinks/files/pool.js';
import type { SinkHost, SinkSession } from '../../../src/sinks/sink.js';
import { readAccount } from '../../../src/spool/account.js';
import { custodyOf } from '../../../src/spool/custody.js';
import { diskBlocks } from '../../../src/spool/disk-blocks.js';
import { RecordKind } from '../../../src/spool/layout.js';
import { noDamage } from '../../../src/spool/records.js';
import { segmentPath } from '../../../src/spool/segment.js';
import { BufferSource } from '../../../src/spool/segment-reader.js';
import { readIndex, segmentsOf } from '../../../src/spool/spool-recovery.js';
import { Random, seedOfRun } from '../../assembly/harness.js';
import { frameOf, sensorOf } from '../../spool/model.js';
import { tempDir } from '../files/rig.js';

const MIB = 1024 * 1024;
const MEMORY_BYTES = 4 * MIB;
const FRAME_AT = 512;

/** An archive and the host it runs in. */
class Rig {
  readonly dir: string;
  readonly sink: ArchiveSink;
  readonly delivered = new Map<string, { frames: number; bytes: number }>();
  readonly lines: string[] = [];
  drains = 0;
  readonly #memory = new Uint8Array(MEMORY_BYTES);

  constructor(
    dir: string,
    config: Partial<ArchiveSinkConfig> = {},
    place = { worker: 0, workers: 1 },
  ) {
    this.dir = dir;
    const host: SinkHost = {
      memory: this.#memory,
      copy: () => assert.fail('nothing is copied within it'),
      log: pino({ level: 'info' }, { write: (line: string) => this.lines.push(line) }),
      place: { dataDir: dir, gateway: 'this-gateway', ...place },
      blocks: blocksOf(4096, 0),
      poolBytes: 0,
      delivered: ({ id }, frames, bytes) => {
        const sum = this.delivered.get(id) ?? { frames: 0, bytes: 0 };
        this.delivered.set(id, { frames: sum.frames + frames, bytes: sum.bytes + bytes });
      },
      drain: () => {
        this.drains += 1;
      },
      keyOf: () => undefined,
      note: () => {},
      journal: { open: () => assert.fail('nothing is journaled') },
    };
    const defaults = {
      kind: 'archive',
      compress: 'lz4',
      segmentBytes: 256 * MIB,
      keepBytes: 1024 * MIB,
    } as const;
    this.sink = new ArchiveSink('old', { ...defaults, dir, ...config }, host);
  }

  write(stream: ReturnType<ArchiveSink['open']>, frame: Buffer): boolean {
    this.#memory.set(frame, FRAME_AT);
    const size = frame.length - 62;
    const taken = stream.write({ header: FRAME_AT, payload: FRAME_AT + 62, size, type: frame[1]! });
    this.#memory.fill(0xee, FRAME_AT, FRAME_AT + frame.length);
    return taken;
  }
}

function sessionOf(id: string, sensor: string, type = 3): SinkSession {
  return { id, slot: 0, sensor, type, openedAt: new Date(1e12) };
}

/** The frames of a part of an archive, by session. */
async function framesIn(dir: string): Promise<Map<string, Buffer[]>> {
  const frames = new Map<string, Buffer[]>();
  for (const firstSeq of await segmentsOf(dir)) {
    const path = segmentPath(dir, firstSeq);
    const source = new BufferSource(readFileSync(path));
    const damage = noDamage();
    for await (const block of diskBlocks(source, path, new Map(), damage, 0, firstSeq)) {
      for (const { kind, session, data } of block.records()) {
        assert.equal(session?.origin, 'this-gateway');
        if (kind !== RecordKind.FRAME) continue;
        frames.set(session.id, [...(frames.get(session.id) ?? []), Buffer.from(data)]);
      }
    }
    assert.deepEqual(damage, noDamage());
  }
  return frames;
}

test('frames are kept byte for byte, in order, and delivered when they are', async () => {
  const seed = seedOfRun();
  console.log(`seed ${seed}`);
  const random = new Random(seed);
  for (const compress of ['lz4', 'none'] as const) {
    const { path, remove } = tempDir();
    const rig = new Rig(path, { compress, segmentBytes: 200_000 });
    await rig.sink.start();
    const sent = new Map<string, Buffer[]>();
    const streams = [0, 1, 2].map((index) => {
      const session = sessionOf(`s${index}`, sensorOf(index));
      sent.set(session.id, []);
      return { session, stream: rig.sink.open(session) };
    });
    for (let round = 0; round < 600; round += 1) {
      const { session, stream } = random.pick(streams);
      const frame = frameOf(session.sensor, 3, random.bytes(random.below(2_000)));
      sent.get(session.id)!.push(frame);
      rig.write(stream, frame);
      if (round % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    for (const { session, stream } of streams) {
      await stream.end({ code: 'closed', detail: '' });
      const frames = sent.get(session.id)!;
      const bytes = frames.reduce((sum, frame) => sum + frame.length - 62, 0);
      assert.deepEqual(rig.delivered.get(session.id), { frames: frames.length, bytes });
    }
    await rig.sink.close();
    const kept = await framesIn(join(path, '0'));
    assert.deepEqual(kept, sent);
    const segments = await segmentsOf(join(path, '0'));
    assert.ok(segments.length > 1);
    for (const firstSeq of segments) {
      const index = await readIndex(segmentPath(join(path, '0'), firstSeq));
      assert.ok(index && index.streams.length > 0, 'each segment has its index');
      assert.ok(
        index.streams.every(({ frames, firstTime }) => frames === 0 || firstTime === 1_700_000_000),
      );
    }
    remove();
  }
});

test('the oldest segment makes way, which is said and counted', async () => {
  const { path, remove } = tempDir();
  const keepBytes = 2 * MIB;
  const rig = new Rig(path, { compress: 'none', segmentBytes: 300_000, keepBytes });
  await rig.sink.start();
  const stream = rig.sink.open(sessionOf('a', sensorOf(1)));
  for (let frames = 0; frames < 5_000; frames += 1) {
    rig.write(stream, frameOf(sensorOf(1), 3, Buffer.alloc(1_000, frames)));
    if (frames % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await stream.end();
  const { state, figures } = rig.sink.status();
  await rig.sink.close();
  const dir = join(path, '0');
  const kept = (await framesIn(dir)).get('a')!;
  assert.ok(
    kept.length * 1_078 <= keepBytes + 300_000 && kept.length * 1_078 > keepBytes - 600_000,
  );
  assert.deepEqual(kept.at(-1), frameOf(sensorOf(1), 3, Buffer.alloc(1_000, 4_999)));
  const { streams } = await readAccount(dir);
  const { accepted, 'dropped/expired': expired } = streams[0]!.amounts;
  assert.equal(accepted!.frames, 5_000);
  assert.equal(expired!.frames, 5_000 - kept.length);
  assert.ok(rig.lines.some((line) => line.includes('made way')));
  assert.equal(state, 'ok');
  assert.ok(figures!.expiredFrames! > 0 && figures!.expiredFrames! <= expired!.frames);
  assert.equal(rig.delivered.get('a')!.frames, 5_000);
  remove();
});

test('what workers that are no more left is taken care of, by one of those that are', async () => {
  const { path, remove } = tempDir();
  for (const worker of [0, 1, 2, 3]) {
    const rig = new Rig(path, { compress: 'none', segmentBytes: 70_000 }, { worker, workers: 4 });
    await rig.sink.start();
    const stream = rig.sink.open(sessionOf(`w${worker}`, sensorOf(worker)));
    for (let frames = 0; frames < 800; frames += 1) {
      rig.write(stream, frameOf(sensorOf(worker), 3, Buffer.alloc(1_000)));
    }
    await stream.end();
    await rig.sink.close();
  }
  const before = [0, 1, 2, 3].map((part) => readdirSync(join(path, String(part))).length);
  const rig = new Rig(path, { keepBytes: 2 * MIB, compress: 'none' }, { worker: 1, workers: 2 });
  await rig.sink.start();
  await rig.sink.close();
  const after = [0, 1, 2, 3].map((part) => readdirSync(join(path, String(part))).length);
  assert.deepEqual([after[0], after[2]], [before[0], before[2]], "another worker's");
  assert.ok(after[3]! < before[3]!, 'the eldest made way first');
  remove();
});

test('a part of an archive that another worker left open tells what it holds', async () => {
  const { path, remove } = tempDir();
  const rig = new Rig(path);
  await rig.sink.start();
  const stream = rig.sink.open(sessionOf('open', sensorOf(1)));
  for (let frames = 0; frames < 10; frames += 1) {
    rig.write(stream, frameOf(sensorOf(1), 3, Buffer.alloc(10)));
  }
  while (rig.delivered.get('open') === undefined) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  // As the primary asks while the account is behind, or not.
  const held = await custodyOf(path, ['open', 'unknown']);
  assert.deepEqual([...held], [['open', { frames: 10, bytes: 100 }]]);
  await rig.sink.close();
  mkdirSync(join(path, '7'));
  assert.deepEqual(await custodyOf(join(path, 'nowhere'), ['open']), new Map());
  remove();
});
