import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { BLOCK_BYTES_MIN } from '../../../src/sinks/files/pool.js';
import { filesBelow, newSeed, Rig, random, SENSOR, tempDir } from './rig.js';

const MIB = 1024 * 1024;
const STREAMS = 10_000;

/** Heap in use after a collection. */
function heapBytes(): number {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
  return process.memoryUsage().heapUsed;
}

function manySessions(rig: Rig, count: number) {
  return Array.from({ length: count }, (_, index) => {
    const sensor = SENSOR.replace('3b0a4a52', index.toString(16).padStart(8, '0'));
    const session = rig.session(3, undefined, sensor);
    return { session, stream: rig.sink.open(session) };
  });
}

test('ten thousand sensors that trickle fit in little memory and few descriptors', async (context) => {
  const dir = tempDir(true);
  const poolBytes = 64 * MIB;
  const rig = new Rig(dir.path, { flushMs: 50 }, { poolBytes, openFiles: 200 });
  const heapBefore = heapBytes();
  const all = manySessions(rig, STREAMS);
  let pooled = 0;
  for (const { stream } of all) {
    rig.write(stream, Buffer.from('a line of some sensor\n'), 3);
    pooled = Math.max(pooled, rig.sink.memory.usedBytes);
  }
  assert.equal(rig.sink.memory.overflowBytes, 0);
  assert.ok(pooled <= STREAMS * BLOCK_BYTES_MIN, `${pooled} bytes`);
  const isDone = () => all.every(({ session }) => rig.delivered.get(session.id)!.frames === 1);
  let seen = 0;
  await rig.until(() => {
    seen += 1;
    return seen >= STREAMS && isDone();
  });
  assert.equal(rig.sink.memory.usedBytes, 0, 'idle streams hold no block');
  assert.ok(rig.sink.openFiles <= 200 + 64, `${rig.sink.openFiles} open`);
  const perStream = (heapBytes() - heapBefore) / STREAMS;
  context.diagnostic(`${Math.round(perStream)} bytes of heap a stream`);
  assert.ok(perStream < 8192, `${perStream} bytes of heap a stream`);
  await Promise.all(all.map(({ stream }) => stream.end()));
  assert.equal(filesBelow(dir.path).length, STREAMS);
  await rig.sink.close();
  dir.remove();
});

test('fast sensors are held back: memory stays within the pool and what still came', async (context) => {
  const seed = newSeed();
  context.diagnostic(`D4GW_SEED=${seed}`);
  const next = random(seed);
  for (const compress of ['none', 'lz4'] as const) {
    const dir = tempDir();
    const poolBytes = 2 * MIB;
    const rig = new Rig(dir.path, { compress, rotateBytes: 3 * MIB }, { poolBytes });
    const all = manySessions(rig, 20);
    let sent = 0;
    let most = 0;
    let pauses = 0;
    const payload = Buffer.alloc(60_000, 'some text\n');
    while (sent < 60 * MIB) {
      const { stream } = all[next(all.length)]!;
      const taken = rig.write(stream, payload.subarray(0, 1 + next(payload.length)), 3);
      sent += payload.length / 2;
      most = Math.max(most, rig.sink.memory.usedBytes);
      if (taken) continue;
      pauses += 1;
      const drains = rig.drains;
      await rig.until(() => rig.drains > drains);
    }
    assert.ok(pauses > 3, `${pauses} pauses`);
    assert.equal(rig.drains, pauses);
    assert.ok(most <= poolBytes + MIB, `${most} bytes`);
    await Promise.all(all.map(({ stream }) => stream.end()));
    assert.equal(rig.sink.memory.usedBytes, 0);
    await rig.sink.close();
    dir.remove();
  }
});
