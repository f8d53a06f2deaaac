import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ASSEMBLY_GRACE_MS, ASSEMBLY_RATE_MIN_BYTES_PER_SECOND } from '../../src/constants.js';
import { BuddyAllocator } from '../../src/ring/buddy.js';
import { GUARD_BYTES } from '../../src/ring/layout.js';
import { AssemblyBudget } from '../../src/sources/assembly-budget.js';

const KIB = 1024;
const FRAME_BYTES = 16 * KIB - GUARD_BYTES;

test('a block a frame, until the budget is used up; abandoned ones come back', () => {
  const blocks = new BuddyAllocator(4096, 64 * KIB, 256, 16 * KIB);
  const budget = new AssemblyBudget<string>(blocks);
  const taken = [0, 1, 2, 3].map((index) => budget.begin(`${index}`, FRAME_BYTES, 0));
  assert.ok(taken.every((assembly) => assembly !== undefined));
  assert.equal(new Set(taken.map((assembly) => assembly!.address)).size, 4);
  assert.equal(budget.begin('late', 1, 0), undefined);
  budget.abandon(taken[1]!);
  budget.abandon(taken[1]!);
  assert.equal(budget.begin('late', FRAME_BYTES, 0)?.address, taken[1]!.address);
  budget.finish(taken[0]!);
  assert.equal(budget.count, 3 + 1 - 1);
  budget.abandon(taken[0]!);
  assert.equal(budget.begin('later', 1, 0), undefined, 'a whole frame keeps its block');
  budget.free(taken[0]!.address);
  assert.equal(budget.begin('later', 1, 0)?.address, taken[0]!.address);
});

test('a frame may be given up once it is slower than the slowest rate served', () => {
  const blocks = new BuddyAllocator(4096, 4096 * KIB, 256, 1024 * KIB);
  const budget = new AssemblyBudget<string>(blocks);
  budget.begin('small', 100, 0);
  budget.begin('large', 1000 * KIB, 0);
  const largeMs = ASSEMBLY_GRACE_MS + (1000 * KIB * 1000) / ASSEMBLY_RATE_MIN_BYTES_PER_SECOND;
  assert.deepEqual(budget.stalled(ASSEMBLY_GRACE_MS - 1), []);
  assert.deepEqual(budget.stalled(ASSEMBLY_GRACE_MS + 2), ['small']);
  assert.deepEqual(budget.stalled(largeMs), ['small', 'large']);
});

test('in front of a frame so many bytes are its own as its HMAC may need', () => {
  const blocks = new BuddyAllocator(4096, 64 * KIB, 256, 16 * KIB);
  const budget = new AssemblyBudget<string>(blocks);
  const spans: [from: number, to: number][] = [];
  for (let size = 62; ; size += 97) {
    const assembly = budget.begin('any', size, 0);
    if (!assembly) break;
    spans.push([assembly.address - GUARD_BYTES, assembly.address + size]);
  }
  assert.ok(spans.length > 20);
  spans.sort(([a], [b]) => a - b);
  for (const [index, [from]] of spans.entries()) {
    assert.ok(from >= (spans[index - 1]?.[1] ?? 4096), 'apart from the frame before it');
  }
});
