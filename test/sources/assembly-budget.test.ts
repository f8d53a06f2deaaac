import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  ASSEMBLY_GRACE_MS,
  ASSEMBLY_RATE_MIN_BYTES_PER_SECOND,
  EARLY_GRACE_MS,
  EARLY_SEGMENT_BYTES,
  EARLY_SEGMENT_FIRST_BYTES,
} from '../../src/constants.js';
import { BuddyAllocator } from '../../src/ring/buddy.js';
import { GUARD_BYTES } from '../../src/ring/layout.js';
import { AssemblyBudget } from '../../src/sources/assembly-budget.js';
import { Random, seedOfRun } from '../assembly/harness.js';

const KIB = 1024;
const BYTES = Buffer.alloc(1024 * KIB);
const MEMORY = {
  write(target: number, bytes: Uint8Array, from: number, to: number): void {
    BYTES.set(bytes.subarray(from, to), target);
  },
};
const FRAME_BYTES = 16 * KIB - GUARD_BYTES;

test('a block a frame, until the budget is used up; abandoned ones come back', () => {
  const blocks = new BuddyAllocator(4096, 64 * KIB, 256, 16 * KIB);
  const budget = new AssemblyBudget<string>(blocks, MEMORY, 64 * KIB);
  const taken = [0, 1, 2, 3].map((index) => budget.begin(`${index}`, FRAME_BYTES, 0, false));
  assert.ok(taken.every((assembly) => assembly !== undefined));
  assert.equal(new Set(taken.map((assembly) => assembly!.address)).size, 4);
  assert.equal(budget.begin('late', 1, 0, false), undefined);
  budget.abandon(taken[1]!);
  budget.abandon(taken[1]!);
  assert.equal(budget.begin('late', FRAME_BYTES, 0, false)?.address, taken[1]!.address);
  budget.finish(taken[0]!);
  assert.equal(budget.count, 3 + 1 - 1);
  budget.abandon(taken[0]!);
  assert.equal(budget.begin('later', 1, 0, false), undefined, 'a whole frame keeps its block');
  budget.free(taken[0]!.address);
  assert.equal(budget.begin('later', 1, 0, false)?.address, taken[0]!.address);
});

test('a frame may be given up once it is slower than the slowest rate served', () => {
  const blocks = new BuddyAllocator(4096, 64 * KIB, 256, 16 * KIB);
  const budget = new AssemblyBudget<string>(blocks, MEMORY, 64 * KIB);
  const rate = ASSEMBLY_RATE_MIN_BYTES_PER_SECOND;
  budget.begin('silent', FRAME_BYTES, 0, false);
  const slow = budget.begin('slow', FRAME_BYTES, 0, false)!;
  budget.take(slow, Buffer.alloc(8 * KIB), 0);
  const whole = budget.begin('whole', 100, 0, false)!;
  budget.take(whole, Buffer.alloc(100), 0);
  budget.begin('stranger', FRAME_BYTES, 0, true);
  assert.deepEqual(budget.stalled(EARLY_GRACE_MS - 1), []);
  assert.deepEqual(budget.stalled(EARLY_GRACE_MS), ['stranger']);
  assert.deepEqual(budget.stalled(ASSEMBLY_GRACE_MS), ['silent', 'stranger']);
  const slowMs = ASSEMBLY_GRACE_MS + (8 * KIB * 1000) / rate;
  assert.deepEqual(budget.stalled(slowMs), ['silent', 'slow', 'stranger']);
});

test('a frame before anything was verified costs what came of it, and gets its block when whole', () => {
  const seed = seedOfRun();
  console.log(`seed ${seed}`);
  const random = new Random(seed);
  const blocks = new BuddyAllocator(4096, 512 * KIB, 256, 512 * KIB);
  const budget = new AssemblyBudget<string>(blocks, MEMORY, 1024 * KIB);
  for (let round = 0; round < 200; round += 1) {
    const size = 62 + random.below(1 << (1 + random.below(18)));
    const bytes = random.bytes(size);
    const assembly = budget.begin('stranger', size, 0, true)!;
    for (let sent = 0; sent < size; ) {
      const chunk = bytes.subarray(sent, sent + 1 + random.below(70_000));
      assert.equal(budget.take(assembly, chunk, 0), chunk.length);
      sent += chunk.length;
      assert.ok(budget.segmentBytes <= assembly.fill + EARLY_SEGMENT_BYTES);
      const inSegments = EARLY_SEGMENT_FIRST_BYTES + EARLY_SEGMENT_BYTES;
      assert.equal(
        assembly.address !== 0,
        assembly.fill > inSegments,
        'a block when they are full',
      );
    }
    assert.ok(budget.place(assembly));
    assert.ok(BYTES.subarray(assembly.address, assembly.address + size).equals(bytes));
    assert.equal(budget.segmentBytes, 0);
    budget.finish(assembly);
    budget.free(assembly.address);
  }
});

test('early frames are bounded in segments and in blocks, and give both back', () => {
  const blocks = new BuddyAllocator(4096, 512 * KIB, 256, 128 * KIB);
  const budget = new AssemblyBudget<string>(blocks, MEMORY, 512 * KIB);
  const begin = () => budget.begin('stranger', 127 * KIB, 0, true);
  const begun = [];
  for (let assembly = begin(); assembly; assembly = begin()) begun.push(assembly);
  assert.equal(begun.length, 128 / 2, 'headers alone');
  const large = Buffer.alloc(127 * KIB, 'x');
  const taken = begun.map((assembly) => budget.take(assembly, large, 0));
  assert.deepEqual(taken.slice(0, 2), [large.length, large.length], 'half of the budget in blocks');
  assert.ok(taken.slice(2).every((count) => count < 64 * KIB));
  assert.ok(budget.begin('sensor', 127 * KIB, 0, false), 'the rest is for those with a key');
  budget.finish(begun[0]!);
  assert.ok(budget.take(begun[2]!, large, taken[2]!) > 0);
  for (const assembly of begun) budget.abandon(assembly);
  assert.equal(budget.segmentBytes, 0);
});

test('in front of a frame so many bytes are its own as its HMAC may need', () => {
  const blocks = new BuddyAllocator(4096, 64 * KIB, 256, 16 * KIB);
  const budget = new AssemblyBudget<string>(blocks, MEMORY, 64 * KIB);
  const spans: [from: number, to: number][] = [];
  for (let size = 62; ; size += 97) {
    const assembly = budget.begin('any', size, 0, false);
    if (!assembly) break;
    spans.push([assembly.address - GUARD_BYTES, assembly.address + size]);
  }
  assert.ok(spans.length > 20);
  spans.sort(([a], [b]) => a - b);
  for (const [index, [from]] of spans.entries()) {
    assert.ok(from >= (spans[index - 1]?.[1] ?? 4096), 'apart from the frame before it');
  }
});
