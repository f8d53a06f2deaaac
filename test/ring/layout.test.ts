import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  CONTROL_BASE,
  CONTROL_BYTES,
  DESCRIPTOR_BYTES,
  GUARD_BYTES,
  KEY_BYTES,
  mapMemory,
  SESSION_BYTES,
  WASM_PAGE_BYTES,
} from '../../src/ring/layout.js';

test('regions lie apart and aligned for direct I/O, with a guard before the ring', () => {
  const sizes = [1, 63, 64, 127, 128, 20_000];
  for (const sessions of sizes) {
    for (const descriptors of [1, 64, 128, 1024, 65_536]) {
      const options = {
        sessions,
        descriptors,
        ringBytes: 65_536,
        assemblyBytes: 100,
        poolBytes: 1,
      };
      const map = mapMemory(options);
      const regions: [base: number, bytes: number, before: number][] = [
        [CONTROL_BASE, CONTROL_BYTES, 0],
        [map.sessionBase, sessions * SESSION_BYTES, 0],
        [map.keyBase, sessions * KEY_BYTES, 0],
        [map.descriptorBase, descriptors * DESCRIPTOR_BYTES, 0],
        [map.ringBase, map.ringBytes, GUARD_BYTES],
        [map.arenaBase, map.assemblyBytes, 0],
        [map.poolBase, map.poolBytes, 0],
      ];
      let end = CONTROL_BASE;
      for (const [base, bytes, before] of regions) {
        assert.equal(base % 4096, 0);
        assert.ok(base - before >= end, `${sessions} sessions, ${descriptors} descriptors`);
        end = base + bytes;
      }
      assert.ok(map.pages * WASM_PAGE_BYTES >= end);
    }
  }
});
