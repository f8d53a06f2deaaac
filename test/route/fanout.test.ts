import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MetaCollector } from '../../src/route/fanout.js';
import { encodeFrame } from '../../src/wire/header.js';
import { Random, seedOfRun } from '../assembly/harness.js';

const SENSOR = '0f6ad2b9-8f9a-4d2e-9c2c-3a1b5c7d9e0f';

function frameOf(payload: Buffer): Buffer {
  return encodeFrame({ type: 2, uuid: SENSOR, timestamp: 1, key: Buffer.from('key'), payload });
}

test('a meta header is put together from frames of any size, empty ones too', () => {
  const seed = seedOfRun();
  console.log(`seed ${seed}`);
  const random = new Random(seed);
  for (let round = 0; round < 100; round += 1) {
    const bytes = random.bytes(random.below(5_000));
    const collector = new MetaCollector();
    const frames: Buffer[] = [];
    for (let sent = 0; sent < bytes.length; ) {
      const part = bytes.subarray(sent, sent + random.below(1 << random.below(11)));
      frames.push(frameOf(part));
      collector.add(frames.at(-1)!);
      sent += part.length;
    }
    const header = collector.header('ja3-jl');
    assert.ok(header.bytes.equals(bytes));
    assert.deepEqual([header.frames, header.type], [frames.length, 'ja3-jl']);
    assert.ok(header.wire.equals(Buffer.concat(frames)));
  }
});

test('what is kept does not change with the memory that it came from', () => {
  const frame = frameOf(Buffer.from('{"type":'));
  const collector = new MetaCollector();
  collector.add(frame);
  frame.fill(0);
  collector.add(frameOf(Buffer.from('"x"}')));
  assert.equal(collector.text().toString(), '{"type":"x"}');
});

test('what it keeps is what it says that it keeps', () => {
  const collector = new MetaCollector();
  for (let index = 0; index < 1_000; index += 1) collector.add(frameOf(Buffer.alloc(0)));
  assert.deepEqual([collector.frames, collector.bytes], [1_000, 0]);
  assert.equal(collector.wireBytes, 62_000);
  assert.equal(collector.header('x').wire.length, 62_000);
});
