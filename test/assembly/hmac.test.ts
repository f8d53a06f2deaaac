import assert from 'node:assert/strict';
import { createHash, createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import {
  KEY_BYTES,
  KEY_INNER,
  KEY_OUTER,
  KEY_PAD,
  SCRATCH_BYTES,
  SCRATCH_CONSUMER,
} from '../../src/ring/layout.js';
import { KEY_BYTES_MAX } from '../../src/wasm/bindings.js';
import { HEADER_BYTES, OFFSET_HMAC } from '../../src/wire/layout.js';
import { sharedPath, skipWithoutShared } from '../support/shared.js';
import { BUILDS, frame, Harness, Random } from './harness.js';

const OUT = 1 << 19; // in the ring, behind every message

/** Lengths around each block's end, to 16 KiB. */
function blockLengths(): number[] {
  const lengths = [];
  for (let blocks = 1; blocks <= 256; blocks++) {
    lengths.push(64 * blocks - 1, 64 * blocks, 64 * blocks + 1);
  }
  return lengths;
}

const upTo = (last: number) => Array.from({ length: last + 1 }, (_, index) => index);

interface VectorGroup {
  tagSize: number;
  tests: { tcId: number; key: string; msg: string; tag: string; result: 'valid' | 'invalid' }[];
}

for (const build of BUILDS) {
  describe(`hmac (${build})`, () => {
    const random = new Random(1);
    const data = random.bytes(20000);
    const harness = new Harness(build);

    const hmac = (message: Uint8Array, slot = 0, offset = 0): string => {
      const out = harness.map.ringBase + OUT;
      harness.wasm.hmac(slot, harness.put(message, offset), message.length, out);
      return harness.bytes.toString('hex', out, out + 32);
    };

    test('all cases of Wycheproof', { skip: skipWithoutShared() }, () => {
      const file = sharedPath('vectors', 'wycheproof_hmac_sha256_test.json');
      const { testGroups } = JSON.parse(readFileSync(file, 'utf8')) as {
        testGroups: VectorGroup[];
      };
      let cases = 0;
      for (const group of testGroups) {
        for (const { tcId, key, msg, tag, result } of group.tests) {
          harness.wasm.setKey(0, Buffer.from(key, 'hex'));
          const ours = hmac(Buffer.from(msg, 'hex')).slice(0, group.tagSize / 4);
          assert.equal(ours === tag, result === 'valid', `case ${tcId}`);
          cases += 1;
        }
      }
      assert.equal(cases, 174);
    });

    test('messages of every length to 300, and around each block to 16 KiB', () => {
      const key = random.bytes(32);
      harness.wasm.setKey(0, key);
      for (const length of [...upTo(300), ...blockLengths()]) {
        const message = data.subarray(0, length);
        const expected = createHmac('sha256', key).update(message).digest('hex');
        assert.equal(hmac(message, 0, length % 67), expected, `length ${length}`);
      }
    });

    test('keys of every length to 200, each in its own slot', () => {
      const message = data.subarray(0, 99);
      for (const length of [...upTo(200), KEY_BYTES_MAX]) {
        const key = data.subarray(500, 500 + length);
        const slot = length % harness.map.sessions;
        harness.wasm.setKey(slot, key);
        const expected = createHmac('sha256', key).update(message).digest('hex');
        assert.equal(hmac(message, slot), expected, `key of ${length}`);
      }
    });

    test('SHA-256 of every length to 300, and around each block to 16 KiB', () => {
      const out = harness.map.ringBase + OUT;
      for (const length of [...upTo(300), ...blockLengths()]) {
        const message = data.subarray(7, 7 + length);
        harness.wasm.sha256(harness.put(message, length % 71), length, out);
        const ours = harness.bytes.subarray(out, out + 32);
        assert.ok(createHash('sha256').update(message).digest().equals(ours), `length ${length}`);
      }
    });

    test('frames are hashed with a zero HMAC field, which stays as it is', () => {
      const key = random.bytes(20);
      harness.wasm.setKey(2, key);
      const out = harness.map.ringBase + OUT;
      for (const size of [...upTo(300), ...blockLengths()]) {
        const signed = frame({ key, payload: data.subarray(0, size) });
        const address = harness.put(signed, size % 67);
        harness.wasm.hmacFrame(2, address, size, out);
        const after = harness.bytes.subarray(address, address + HEADER_BYTES + size);
        assert.ok(harness.wasm.equal32(out, address + OFFSET_HMAC), `size ${size}`);
        assert.ok(after.equals(signed), `size ${size}`);
      }
    });

    test('equal32 sees every bit', () => {
      const a = harness.put(data.subarray(0, 32));
      const b = harness.put(data.subarray(0, 32), 101);
      assert.equal(harness.wasm.equal32(a, b), true);
      for (let bit = 0; bit < 256; bit++) {
        const at = b + (bit >> 3);
        harness.bytes[at] = (harness.bytes[at] as number) ^ (1 << (bit & 7));
        assert.equal(harness.wasm.equal32(a, b), false, `bit ${bit}`);
        harness.bytes[at] = (harness.bytes[at] as number) ^ (1 << (bit & 7));
      }
      assert.equal(harness.wasm.equal32(a, b), true);
    });

    test('equal32 sees differences that would cancel each other out', () => {
      const same = data.subarray(0, 32);
      const a = harness.put(same);
      for (let first = 0; first < 32; first++) {
        for (let second = first + 1; second < 32; second++) {
          const other = Buffer.from(same);
          for (const at of [first, second]) other[at] = (other[at] as number) ^ 0xff;
          assert.equal(harness.wasm.equal32(a, harness.put(other, 101)), false);
        }
      }
    });

    test('nothing of a key stays in the memory but its midstates and inner pad', () => {
      const fresh = new Harness(build);
      for (const key of ['a key of one block, not hashed', 'a longer key, hashed. '.repeat(9)]) {
        fresh.wasm.setKey(1, Buffer.from(key));
        assert.equal(fresh.bytes.indexOf(Buffer.from(key.slice(-8))), -1);
        const padded = Buffer.from(key.slice(0, 8)).map((byte) => byte ^ 0x5c);
        assert.equal(fresh.bytes.indexOf(padded), -1);
        const inPad = Buffer.from(key.slice(0, 8)).map((byte) => byte ^ 0x36);
        const kept = fresh.bytes.indexOf(inPad);
        const hashed = key.length > 64;
        assert.equal(kept, hashed ? -1 : fresh.map.keyBase + KEY_BYTES + KEY_PAD);
        if (!hashed) assert.equal(fresh.bytes.indexOf(inPad, kept + 1), -1);
        const midstates = fresh.map.keyBase + KEY_BYTES;
        const inner = fresh.bytes.subarray(midstates + KEY_INNER, midstates + KEY_OUTER);
        assert.notDeepEqual(inner, Buffer.alloc(32));
      }
      // The hashed form of a long key signs as well as the key does.
      const digest = createHash('sha256').update('a longer key, hashed. '.repeat(9)).digest();
      const scratch = fresh.bytes.subarray(SCRATCH_CONSUMER, SCRATCH_CONSUMER + SCRATCH_BYTES);
      assert.equal(scratch.indexOf(digest.subarray(0, 8)), -1);
      // The same as words, as a state holds it.
      assert.equal(scratch.indexOf(Buffer.from(digest.subarray(0, 8)).swap32()), -1);
    });

    test('a key too long for the scratch is refused', () => {
      assert.throws(() => harness.wasm.setKey(0, Buffer.alloc(KEY_BYTES_MAX + 1)), RangeError);
    });
  });
}
