import assert from 'node:assert/strict';
import { test } from 'node:test';
import { memoryCopy } from '../../src/wasm/copy.js';

const PAGE_BYTES = 65_536;

test('copies as copyWithin does, overlaps too, and never out of the memory', () => {
  const memory = new WebAssembly.Memory({ initial: 2, maximum: 2, shared: true });
  const copy = memoryCopy(memory);
  const bytes = new Uint8Array(memory.buffer);
  for (let at = 0; at < bytes.length; at += 1) bytes[at] = Math.imul(at, 0x9e3779b1) >>> 24;
  const expected = Uint8Array.from(bytes);
  for (const [target, source, length] of [
    [0, 1, 0],
    [5, 70_000, 1],
    [100, 103, 1000],
    [103, 100, 1000],
    [PAGE_BYTES, 62, PAGE_BYTES],
    [2 * PAGE_BYTES - 9, 3, 9],
  ] as const) {
    copy(target, source, length);
    expected.copyWithin(target, source, source + length);
    assert.ok(Buffer.from(bytes).equals(expected), `${target} ${source} ${length}`);
  }
  assert.throws(() => copy(2 * PAGE_BYTES - 8, 3, 9), { name: 'RuntimeError' });
  assert.throws(() => copy(0, 2 ** 32 - 1, 2), { name: 'RuntimeError' });
});
