import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  FrameStatus,
  Kind,
  SCRATCH_BYTES,
  SCRATCH_CONSUMER,
  ScanStatus,
} from '../../src/ring/layout.js';
import { HEADER_BYTES, OFFSET_HMAC, OFFSET_SIZE } from '../../src/wire/layout.js';
import { Reject } from '../../src/wire/reject.js';
import { BUILDS, frame, Harness, Random, seedOfRun, TIME } from './harness.js';

const TIME_BUDGET_MS = 2500;
const NO_LIMIT = 2 ** 32 - 1;
const SESSIONS = 16;

interface Expected {
  seq: number;
  status: number;
}

/** Sizes of very different lengths, more of the small ones and of those around a block's end. */
function sizeOf(random: Random): number {
  switch (random.below(5)) {
    case 0:
      return random.below(4);
    case 1:
      return Math.max(0, 64 * random.below(20) - 62 + random.below(17) - 8);
    case 2:
      return random.below(200);
    case 3:
      return random.below(2000);
    default:
      return random.below(40) === 0 ? random.below(100_000) : random.below(9000);
  }
}

/** Flips one bit anywhere but in the size, by which the descriptor was made. */
function flip(random: Random, bytes: Buffer): void {
  let at = random.below(random.below(2) === 0 ? HEADER_BYTES : bytes.length);
  if (at >= OFFSET_SIZE && at < HEADER_BYTES) at = OFFSET_HMAC + random.below(32);
  bytes[at] = (bytes[at] as number) ^ (1 << random.below(8));
}

/** Fills the ring with frames of all sessions; returns what verify must make of them. */
function fillBatch(harness: Harness, random: Random, keys: Buffer[], seq: number, maxSize: number) {
  const expected: Expected[] = [];
  let count = 0;
  let tooLarge = 0;
  let offset = random.below(64);
  const wanted = random.pick([0, 1, 2, 3, 4, 5, random.below(40), random.below(300)]);
  for (; count < wanted; count++) {
    const at = { seq: seq + count, status: 0 };
    expected.push(at);
    if (random.below(12) === 0) {
      // Something verify must leave alone: an event, or a frame that is settled already.
      const event = random.below(2) === 0;
      at.status = event ? random.below(256) : random.pick([FrameStatus.VERIFIED, Reject.BAD_HMAC]);
      const kind = event ? random.pick([Kind.OPEN, Kind.END]) : Kind.FRAME;
      harness.describe(at.seq, { kind, status: at.status, address: harness.map.ringBase });
      continue;
    }
    const session = random.below(SESSIONS);
    const payload = Buffer.alloc(sizeOf(random), random.bytes(1 + random.below(90)));
    const bytes = frame({ key: keys[session] as Buffer, payload, type: 1 + random.below(8) });
    const bad = random.below(4) === 0;
    if (bad) flip(random, bytes);
    if (offset + bytes.length > harness.map.ringBytes) break;
    const address = harness.put(bytes, offset);
    offset += bytes.length + random.below(3);
    harness.describe(at.seq, { address, size: payload.length, session });
    if (payload.length > maxSize) tooLarge += 1;
    else at.status = bad ? Reject.BAD_HMAC : FrameStatus.VERIFIED;
  }
  return { expected: expected.slice(0, count), count, tooLarge };
}

for (const build of BUILDS) {
  describe(`verify (${build})`, () => {
    test('settles random batches as node:crypto signs them, and writes nothing else', (t) => {
      const seed = seedOfRun();
      t.diagnostic(`seed ${seed} (D4GW_SEED)`);
      const random = new Random(seed);
      const harness = new Harness(build, { sessions: SESSIONS, descriptors: 512 });
      const keys = Array.from({ length: SESSIONS }, () => random.bytes(1 + random.below(100)));
      for (const [slot, key] of keys.entries()) harness.wasm.setKey(slot, key);
      const deadline = performance.now() + TIME_BUDGET_MS;
      let frames = 0;
      for (let batches = 0; batches < 20 || performance.now() < deadline; batches++) {
        const slot = random.below(SESSIONS);
        keys[slot] = random.bytes(random.below(100));
        harness.wasm.setKey(slot, keys[slot] as Buffer);
        const seq = random.below(2 ** 32);
        const maxSize = random.pick([NO_LIMIT, NO_LIMIT, 0, 1000, 4000]);
        const batch = fillBatch(harness, random, keys, seq, maxSize);
        const before = Buffer.from(harness.bytes);
        const left = harness.wasm.verify(seq, batch.count, maxSize);
        assert.equal(left, batch.tooLarge);
        for (const { seq: at, status } of batch.expected) {
          assert.equal(harness.descriptor(at).status, status);
          before[harness.statusAddress(at)] = status;
        }
        harness.bytes.copy(
          before,
          SCRATCH_CONSUMER,
          SCRATCH_CONSUMER,
          SCRATCH_CONSUMER + SCRATCH_BYTES,
        );
        assert.ok(before.equals(harness.bytes), 'nothing else has changed');
        frames += batch.count;
      }
      t.diagnostic(`${frames} frames`);
    });

    test('verifies every size at every alignment, alone and in fours', () => {
      const harness = new Harness(build);
      const key = Buffer.from('a key');
      harness.wasm.setKey(0, key);
      for (let size = 0; size < 200; size++) {
        const bytes = frame({ key, payload: Buffer.alloc(size, size) });
        const address = harness.put(bytes, size % 64);
        harness.describe(0, { address, size });
        assert.equal(harness.wasm.verify(0, 1, NO_LIMIT), 0);
        assert.equal(harness.descriptor(0).status, FrameStatus.VERIFIED, `size ${size}`);
      }
      for (let alignment = 0; alignment < 64; alignment++) {
        const sizes = [alignment, 128 + alignment, 1000 + 17 * alignment, 2, 66];
        let offset = alignment;
        for (const [seq, size] of sizes.entries()) {
          const bytes = frame({ key, payload: Buffer.alloc(size, seq) });
          harness.describe(seq, { address: harness.put(bytes, offset), size });
          offset += bytes.length;
        }
        harness.wasm.verify(0, sizes.length, NO_LIMIT);
        for (const seq of sizes.keys()) {
          assert.equal(harness.descriptor(seq).status, FrameStatus.VERIFIED);
        }
      }
    });

    test('sees each single flipped bit of a frame', () => {
      const harness = new Harness(build);
      const key = Buffer.from('a key');
      harness.wasm.setKey(0, key);
      const good = frame({ key, payload: Buffer.alloc(70, 0x77) });
      const bits = good.length * 8;
      const address = harness.put(good);
      // Five copies, so that lanes and the frame left over both see them.
      const copies = [0, 1, 2, 3, 4].map((copy) => harness.put(good, 4096 * (copy + 1)));
      for (let bit = 0; bit < bits; bit++) {
        const bad = bit % 5;
        for (const [seq, copy] of copies.entries())
          harness.describe(seq, { address: copy, size: 70 });
        const at = (copies[bad] as number) + (bit >> 3);
        harness.bytes[at] = (harness.bytes[at] as number) ^ (1 << (bit & 7));
        harness.wasm.verify(0, 5, NO_LIMIT);
        harness.bytes[at] = (harness.bytes[at] as number) ^ (1 << (bit & 7));
        for (const seq of copies.keys()) {
          const expected = seq === bad ? Reject.BAD_HMAC : FrameStatus.VERIFIED;
          assert.equal(harness.descriptor(seq).status, expected, `bit ${bit}`);
        }
      }
      assert.ok(harness.bytes.subarray(address, address + good.length).equals(good));
    });

    test('a frame of one session does not verify with the key of another', () => {
      const harness = new Harness(build);
      for (const slot of [0, 1, 2]) harness.wasm.setKey(slot, Buffer.from(`key ${slot}`));
      const address = harness.put(frame({ key: Buffer.from('key 1') }));
      for (const session of [0, 1, 2]) harness.describe(session, { address, session });
      harness.wasm.verify(0, 3, NO_LIMIT);
      const statuses = [0, 1, 2].map((seq) => harness.descriptor(seq).status);
      assert.deepEqual(statuses, [Reject.BAD_HMAC, FrameStatus.VERIFIED, Reject.BAD_HMAC]);
    });

    test('what scan has described, verify settles', () => {
      const harness = new Harness(build);
      const key = Buffer.from('a key');
      harness.open(5, 3);
      harness.wasm.setKey(5, key);
      const frames = [0, 5, 500, 5000, 50].map((size) =>
        frame({ key, type: 3, payload: Buffer.alloc(size, 1) }),
      );
      const [, , third] = frames;
      (third as Buffer)[300] = 9;
      const stream = Buffer.concat(frames);
      const address = harness.put(stream, 11);
      const status = harness.wasm.scan(address, stream.length, 5, 900, 200, 0, TIME, 0);
      assert.equal(status, ScanStatus.DONE);
      assert.equal(harness.wasm.verify(900, harness.wasm.count, 1000), 1);
      const statuses = frames.map((_, index) => harness.descriptor(900 + index).status);
      const { PENDING, VERIFIED } = FrameStatus;
      assert.deepEqual(statuses, [VERIFIED, VERIFIED, Reject.BAD_HMAC, PENDING, VERIFIED]);
    });

    test('works above 2 GiB, where an address is negative as an i32', () => {
      const harness = new Harness(build, { ringBytes: 2 ** 31 });
      const key = Buffer.from('a key');
      harness.open(0, 1);
      harness.wasm.setKey(0, key);
      const stream = Buffer.concat(
        [0, 100, 900, 3].map((size) => frame({ key, payload: Buffer.alloc(size) })),
      );
      const address = harness.put(stream, 2 ** 31 - 4096);
      assert.ok(address > 2 ** 31);
      assert.equal(harness.wasm.scan(address, stream.length, 0, 0, 10, 0, TIME, 0), 0);
      assert.equal(harness.wasm.verify(0, harness.wasm.count, NO_LIMIT), 0);
      for (const seq of [0, 1, 2, 3]) {
        assert.ok(harness.descriptor(seq).address >= address);
        assert.equal(harness.descriptor(seq).status, FrameStatus.VERIFIED);
      }
    });

    test('works at the end of the memory, where nothing more can be read', () => {
      const harness = new Harness(build);
      const key = Buffer.from('a key');
      harness.wasm.setKey(0, key);
      const end = harness.bytes.length;
      for (const size of [0, 1, 2, 3, 63, 64, 65, 66, 130, 1000]) {
        const bytes = frame({ key, payload: Buffer.alloc(size, 3) });
        harness.bytes.set(bytes, end - bytes.length);
        for (const seq of [0, 1, 2, 3])
          harness.describe(seq, { address: end - bytes.length, size });
        harness.wasm.verify(0, 4, NO_LIMIT);
        for (const seq of [0, 1, 2, 3]) {
          assert.equal(harness.descriptor(seq).status, FrameStatus.VERIFIED, `size ${size}`);
        }
      }
    });
  });
}
