import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  BLOCK_BYTES_MAX,
  BLOCK_BYTES_MIN,
  type Block,
  BlockPool,
  blocksOf,
} from '../../../src/sinks/files/pool.js';
import { newSeed, random } from './rig.js';

const MIB = 1024 * 1024;

test('blocks come from the pool while it has some, then from the heap, and go back', (context) => {
  const seed = newSeed();
  context.diagnostic(`D4GW_SEED=${seed}`);
  const next = random(seed);
  for (const kib of [0, 4, 20, 128, 1024, 8192]) {
    const memory = new Uint8Array(4096 + kib * 1024);
    const pool = new BlockPool(memory, blocksOf(4096, kib * 1024), kib * 1024);
    const held = new Set<Block>();
    for (let step = 0; step < 4000; step += 1) {
      const isFilling = step % 2000 < 1200;
      if (isFilling ? next(3) > 0 : next(3) === 0) {
        const needed = 1 + next(1_000_000);
        const block = pool.allocate(BLOCK_BYTES_MIN * 4 ** next(4), needed);
        assert.ok(block.bytes.length >= BLOCK_BYTES_MIN && block.bytes.length <= 256 * 1024);
        if (block.address !== 0) assert.equal(block.bytes.byteOffset % BLOCK_BYTES_MIN, 0);
        else assert.ok(block.bytes.length < needed + BLOCK_BYTES_MIN);
        held.add(block);
      } else {
        const [block] = held;
        if (block === undefined) continue;
        held.delete(block);
        pool.free(block);
      }
      let pooled = 0;
      for (const block of held) if (block.address !== 0) pooled += block.bytes.length;
      let all = 0;
      for (const block of held) all += block.bytes.length;
      assert.deepEqual([pool.usedBytes, pool.overflowBytes], [all, all - pooled]);
      assert.ok(pooled <= kib * 1024);
    }
    for (const block of held) pool.free(block);
    // All of it can be had again.
    const blocks = Array.from({ length: Math.floor(kib / 4) }, () => pool.allocate(4096, 1));
    assert.equal(pool.overflowBytes, 0, `${kib} KiB`);
    assert.equal(new Set(blocks.map(({ address }) => address)).size, blocks.length);
  }
});

test('what is being filled leaves room for what is being written', (context) => {
  const seed = newSeed();
  context.diagnostic(`D4GW_SEED=${seed}`);
  const next = random(seed);
  const bytes = 128 * MIB;
  const shared = new Uint8Array(new SharedArrayBuffer(4096 + bytes));
  for (const streams of [1, 16, 256, 10_000]) {
    const pool = new BlockPool(shared, blocksOf(4096, bytes), bytes, BLOCK_BYTES_MAX);
    const filling: Block[] = [];
    for (let step = 0; step < 5 * streams + 100; step += 1) {
      if (filling.length === streams) {
        // At random first, then each in its turn, so that all are seen to get their share.
        const [full] = filling.splice(step < 2 * streams ? next(streams) : 0, 1);
        pool.free(full!);
      }
      filling.push(pool.allocate(streams > 1000 ? BLOCK_BYTES_MIN : BLOCK_BYTES_MAX, 1));
      assert.ok(pool.usedBytes <= bytes / 2 + streams * BLOCK_BYTES_MIN, `${streams} streams`);
      assert.equal(pool.overflowBytes, 0);
    }
    const sizes = filling.map((block) => block.bytes.length);
    // All of them can be written directly where they are not too many.
    const least = { 1: 1024, 16: 1024, 256: 128, 10000: 4 }[streams]!;
    assert.ok(Math.min(...sizes) >= least * 1024, `${streams}: ${Math.min(...sizes)}`);
    assert.equal(pool.isStarved, false);
    for (const block of filling) pool.seal(block);
    for (const block of filling) pool.free(block);
    assert.equal(pool.usedBytes, 0);
  }
});
