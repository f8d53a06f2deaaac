import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SessionKey } from '../../src/verify/session-key.js';
import { frame } from '../assembly/harness.js';

const OLD = Buffer.from('old key');
const NEW = Buffer.from('new key');
const payload = Buffer.from('a payload');

/** The frame at an odd address of a larger memory. */
function placed(bytes: Buffer) {
  const memory = Buffer.alloc(bytes.length + 40);
  bytes.copy(memory, 7);
  return memory;
}

test('a frame holds under its key alone, and any flipped bit breaks it', () => {
  const bytes = frame({ payload, key: NEW });
  assert.ok(new SessionKey({ current: NEW }).verify(placed(bytes), 7, payload.length));
  assert.ok(!new SessionKey({ current: OLD }).verify(placed(bytes), 7, payload.length));
  const key = new SessionKey({ current: NEW });
  for (let bit = 0; bit < bytes.length * 8; bit += 1) {
    const memory = placed(bytes);
    memory[7 + (bit >> 3)]! ^= 1 << (bit & 7);
    assert.ok(!key.verify(memory, 7, payload.length), `bit ${bit}`);
  }
});

test('the frame in memory is not changed', () => {
  const memory = placed(frame({ payload, key: NEW }));
  const before = Buffer.from(memory);
  new SessionKey({ current: NEW }).verify(memory, 7, payload.length);
  assert.ok(memory.equals(before));
});

test('the previous key holds until its grace ends, and never as the current one', () => {
  const memory = placed(frame({ payload, key: OLD }));
  const key = new SessionKey({ current: OLD });
  assert.ok(key.update({ current: NEW, previous: { key: OLD, validUntil: 1000 } }), 'changed');
  assert.ok(!key.update({ current: NEW, previous: { key: OLD, validUntil: 1000 } }), 'the same');
  assert.ok(!key.verify(memory, 7, payload.length));
  assert.ok(key.verifyPrevious(memory, 7, payload.length, 999));
  assert.ok(!key.verifyPrevious(memory, 7, payload.length, 1000));
  key.update({ current: NEW });
  assert.ok(!key.verifyPrevious(memory, 7, payload.length, 0));
});
