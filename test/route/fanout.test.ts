import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MetaCollector } from '../../src/route/fanout.js';
import { Random, seedOfRun } from '../assembly/harness.js';

test('a meta header is put together from frames of any size, empty ones too', () => {
  const seed = seedOfRun();
  console.log(`seed ${seed}`);
  const random = new Random(seed);
  for (let round = 0; round < 100; round += 1) {
    const bytes = random.bytes(random.below(5_000));
    const collector = new MetaCollector();
    let frames = 0;
    for (let sent = 0; sent < bytes.length; frames += 1) {
      const part = bytes.subarray(sent, sent + random.below(1 << random.below(11)));
      collector.add(part);
      sent += part.length;
    }
    const header = collector.header('ja3-jl');
    assert.ok(header.bytes.equals(bytes));
    assert.deepEqual([header.frames, header.type], [frames, 'ja3-jl']);
  }
});

test('what is kept does not change with the memory that it came from', () => {
  const frame = Buffer.from('{"type":');
  const collector = new MetaCollector();
  collector.add(frame);
  frame.fill(0);
  collector.add(Buffer.from('"x"}'));
  assert.equal(collector.text().toString(), '{"type":"x"}');
});

test('a million empty frames cost no memory', () => {
  const collector = new MetaCollector();
  const empty = Buffer.alloc(0);
  const before = process.memoryUsage();
  for (let index = 0; index < 1_000_000; index += 1) collector.add(empty);
  const after = process.memoryUsage();
  const grown = after.heapUsed + after.external - before.heapUsed - before.external;
  assert.equal(collector.frames, 1_000_000);
  assert.ok(grown < 20 * 1024 * 1024, `${grown} bytes`);
});
