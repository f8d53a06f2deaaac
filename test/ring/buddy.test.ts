import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { BuddyAllocator } from '../../src/ring/buddy.js';
import { randomOf, runSeed } from './fixture.js';

const BASE = 3 * 4096;

function blockBytesOf(size: number, min: number): number {
  let bytes = min;
  while (bytes < size) bytes *= 2;
  return bytes;
}

/** The naive view: which stretches are taken. Knows nothing of splitting and joining. */
class Model {
  readonly blocks = new Map<number, number>();

  constructor(
    readonly bytes: number,
    readonly min: number,
    readonly max: number,
  ) {}

  get used(): number {
    return [...this.blocks.values()].reduce((sum, bytes) => sum + bytes, 0);
  }

  /** Whether an aligned, wholly free stretch of `bytes` exists: then a buddy allocator has it. */
  has(bytes: number): boolean {
    if (bytes > this.max) return false;
    for (let offset = 0; offset + bytes <= this.bytes; offset += bytes) {
      if (this.isFree(offset, bytes)) return true;
    }
    return false;
  }

  isFree(offset: number, bytes: number): boolean {
    for (const [begin, size] of this.blocks) {
      if (begin < offset + bytes && offset < begin + size) return false;
    }
    return true;
  }

  get largestFree(): number {
    let bytes = this.max;
    while (bytes >= this.min && !this.has(bytes)) bytes /= 2;
    return bytes >= this.min ? bytes : 0;
  }
}

/** Region, smallest and largest block. */
const SHAPES: [bytes: number, min: number, max: number][] = [
  [65536, 256, 65536],
  [65536, 256, 16384],
  [100_000, 256, 32768],
  [7 * 4096 + 300, 64, 4096],
  [4096, 4096, 4096],
  [5000, 256, 8192],
];

describe('BuddyAllocator', () => {
  for (const [bytes, min, max] of SHAPES) {
    it(`agrees with a map of stretches: ${bytes} bytes, blocks ${min} to ${max}`, (t) => {
      const seed = runSeed();
      t.diagnostic(`seed ${seed} (D4GW_SEED)`);
      const random = randomOf(seed);
      const buddy = new BuddyAllocator(BASE, bytes, min, max);
      const twin = new BuddyAllocator(BASE, bytes, min, max);
      const model = new Model(bytes, min, max);
      const wholeFree = buddy.largestFree;
      assert.equal(wholeFree, model.largestFree);
      let refused = 0;
      for (let step = 0; step < 3000; step += 1) {
        // Phases that fill and phases that empty the region.
        const fills = random(100) < (Math.floor(step / 500) % 2 === 0 ? 65 : 35);
        if (fills || model.blocks.size === 0) {
          const top = 2 ** random(Math.log2(max) + 2);
          const size = 1 + random(top);
          const block = blockBytesOf(size, min);
          const fits = model.has(block);
          const address = buddy.allocate(size);
          assert.equal(twin.allocate(size), address, 'the same calls give the same addresses');
          assert.equal(address !== 0, fits, `${size} bytes`);
          if (!fits) {
            refused += 1;
            continue;
          }
          const offset = address - BASE;
          assert.equal(buddy.sizeOf(address), block);
          assert.equal(offset % block, 0, 'aligned to its size');
          assert.ok(offset >= 0 && offset + block <= bytes, 'within the region');
          assert.ok(model.isFree(offset, block), 'overlaps no other block');
          model.blocks.set(offset, block);
        } else {
          const offsets = [...model.blocks.keys()];
          const offset = offsets[random(offsets.length)]!;
          buddy.free(BASE + offset);
          twin.free(BASE + offset);
          model.blocks.delete(offset);
        }
        assert.equal(buddy.used, model.used);
        assert.equal(buddy.largestFree, model.largestFree);
      }
      assert.ok(refused > 0, 'the region was full');
      for (const offset of model.blocks.keys()) buddy.free(BASE + offset);
      // Joined again to the last: the same sequence of largest blocks as a new allocator's.
      const fresh = new BuddyAllocator(BASE, bytes, min, max);
      assert.equal(buddy.used, 0);
      while (fresh.largestFree > 0) {
        assert.equal(buddy.largestFree, fresh.largestFree);
        buddy.allocate(fresh.largestFree);
        fresh.allocate(fresh.largestFree);
      }
      assert.equal(buddy.largestFree, 0);
    });
  }

  it('puts the largest frame into one MiB', () => {
    const buddy = new BuddyAllocator(BASE, 3 * 2 ** 20);
    const address = buddy.allocate(1_000_062);
    assert.equal(buddy.sizeOf(address), 2 ** 20);
    assert.equal(address % 4096, 0);
  });

  it('reaches up to 4 GiB', () => {
    const base = 2 ** 32 - 2 ** 20;
    const buddy = new BuddyAllocator(base, 2 ** 20);
    const first = buddy.allocate(2 ** 19);
    const second = buddy.allocate(2 ** 19);
    assert.deepEqual([first, second], [base, base + 2 ** 19]);
    buddy.free(second);
    buddy.free(first);
    assert.equal(buddy.largestFree, 2 ** 20);
  });

  it('asserts what a caller got wrong', () => {
    const buddy = new BuddyAllocator(BASE, 65536);
    const address = buddy.allocate(1000);
    const inUse = { name: 'AssertionError', message: /block in use/ };
    for (const wrong of [0, BASE - 256, address + 256, address + 1, BASE + 65536, Number.NaN]) {
      assert.throws(() => buddy.free(wrong), inUse, `${wrong}`);
      assert.throws(() => buddy.sizeOf(wrong), inUse, `${wrong}`);
    }
    buddy.free(address);
    assert.throws(() => buddy.free(address), inUse, 'freed twice');
    assert.throws(() => buddy.allocate(0), { name: 'AssertionError' });
    assert.throws(() => buddy.allocate(Number.NaN), { name: 'AssertionError' });
    assert.throws(() => new BuddyAllocator(100, 65536), { name: 'AssertionError' });
    assert.throws(() => new BuddyAllocator(BASE, 65536, 300), { name: 'AssertionError' });
    assert.throws(() => new BuddyAllocator(BASE, 100), { name: 'AssertionError' });
  });
});
