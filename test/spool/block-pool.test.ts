import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pino } from 'pino';
import { BlockPool, HEADROOM_BYTES } from '../../src/spool/block-pool.js';
import { BLOCK_BYTES, PADDING_BYTES } from '../../src/spool/layout.js';
import { Spool } from '../../src/spool/spool.js';
import { tempDir } from '../sinks/files/rig.js';
import { frameOf, sensorOf, within } from './model.js';

const MIB = 1024 * 1024;
const SENSOR = sensorOf(1);
const log = pino({ level: 'silent' });

test('memory is given out again, up to what a pool keeps; what is longer is used once', () => {
  const pool = new BlockPool(8 * BLOCK_BYTES);
  const take = (bytes: readonly number[]) => bytes.map((each) => pool.take(each));
  const taken = take([100, BLOCK_BYTES, 1]);
  for (const memory of taken) {
    assert.equal(memory.length, BLOCK_BYTES);
    assert.ok(memory.byteOffset >= HEADROOM_BYTES && pool.isPaged(memory));
    assert.equal(memory.byteOffset % PADDING_BYTES, 0);
    pool.give(memory);
  }
  assert.deepEqual(new Set(take([1, 1, 1])), new Set(taken));
  const long = pool.take(BLOCK_BYTES + 1);
  assert.ok(long.length > BLOCK_BYTES && !pool.isPaged(long));
  pool.give(long);
  pool.limit(2 * BLOCK_BYTES);
  for (const memory of taken) pool.give(memory);
  const again = take([1, 1, 1, 1]);
  assert.ok(again.filter((memory) => taken.includes(memory)).length <= 2);
  assert.ok(!again.includes(long));
});

for (const persist of ['always', 'behind'] as const) {
  test(`a block that a reader holds keeps its bytes, whatever follows: ${persist}`, async () => {
    const { path: dir, remove } = tempDir();
    const spool = await Spool.open({
      ...{ dir, persist, log, compress: 'none', memoryBytes: 2 * MIB, maxBytes: 64 * MIB },
    });
    const ref = spool.openSession({ id: 'a', sensor: SENSOR, type: 3, openedAt: new Date() });
    const reader = spool.blocks(1);
    const memories = new Set<ArrayBufferLike>();
    const held: { bytes: Buffer; before: Buffer; letGo(): void }[] = [];
    for (let number = 0; number < 40; number += 1) {
      const frame = frameOf(SENSOR, 3, Buffer.alloc(250_000, number));
      spool.append(ref, frame, 0, frame.length);
      await spool.flush();
      const block = (await within(reader.next()))!;
      memories.add(block.bytes.buffer);
      if (number % 10 === 3) {
        block.hold();
        const { bytes } = block;
        held.push({ bytes, before: Buffer.from(bytes), letGo: () => block.letGo() });
      }
      spool.release(block.lastSeq);
    }
    assert.ok(memories.size <= held.length + 6, `memory of ${memories.size} blocks was used`);
    for (const { bytes, before, letGo } of held) {
      assert.ok(bytes.equals(before));
      letGo();
    }
    reader.close();
    await spool.close();
    remove();
  });
}
