import assert from 'node:assert/strict';
import { test } from 'node:test';
import { planMemory } from '../../src/cluster/plan.js';
import type { Config } from '../../src/config/schema.js';
import { assemblyBlockBytes } from '../../src/ring/assembly-block.js';
import { BuddyAllocator } from '../../src/ring/buddy.js';
import { AssemblyBudget } from '../../src/sources/assembly-budget.js';
import { HEADER_BYTES } from '../../src/wire/layout.js';

const MIB = 2 ** 20;

test('several of the largest frames can be under assembly in each worker, whatever the limits', () => {
  for (const maxPayloadBytes of [1, 65_410, 65_411, 1_000_000, MIB - 126, MIB - 125, 16 * MIB]) {
    const limits = {
      maxPayloadBytes,
      maxConnections: 1,
      ringBytes: MIB,
      assemblyBytes: MIB,
      poolBytes: MIB,
    } as Config['limits'];
    const { arenaBase, assemblyBytes } = planMemory(limits, 8);
    const block = assemblyBlockBytes(maxPayloadBytes);
    const blocks = new BuddyAllocator(arenaBase, assemblyBytes, 256, block);
    const budget = new AssemblyBudget<number>(blocks, { write: () => {} }, 0);
    for (let index = 0; index < 4; index += 1) {
      const begun = budget.begin(index, HEADER_BYTES + maxPayloadBytes, 0, false);
      assert.ok(begun, `frame ${index} of ${maxPayloadBytes} bytes of payload`);
    }
  }
});

test('a frame of the default limit costs no more than a block of 1 MiB', () => {
  assert.equal(assemblyBlockBytes(1_000_000), MIB);
});
