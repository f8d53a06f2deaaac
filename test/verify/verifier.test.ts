import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import { RingConsumer } from '../../src/ring/consumer.js';
import {
  FrameStatus,
  GUARD_BYTES,
  Kind,
  Place,
  SCRATCH_BYTES,
  SCRATCH_CONSUMER,
} from '../../src/ring/layout.js';
import { inlineWakes } from '../../src/ring/wait.js';
import { holdsInPlace, type OneShotHash, oneShotHash } from '../../src/verify/in-place.js';
import { SessionKey } from '../../src/verify/session-key.js';
import {
  HMAC_WASM_PAYLOAD_BYTES_MAX,
  HMAC_WASM_PAYLOAD_BYTES_MAX_FEW,
  HMAC_WASM_PAYLOAD_BYTES_MAX_SINGLE,
  moduleBytesMax,
  Verifier,
} from '../../src/verify/verifier.js';
import { HEADER_BYTES, OFFSET_HMAC, OFFSET_SIZE } from '../../src/wire/layout.js';
import { Reject } from '../../src/wire/reject.js';
import { BUILDS, frame, Harness, Random, seedOfRun } from '../assembly/harness.js';

const TIME_BUDGET_MS = 2_000;
const SESSIONS = 8;
const RING_BYTES = 1 << 20;
const ARENA_BYTES = 1 << 20;

/** On a Node without `crypto.hash` the path is tested all the same. */
const hash: OneShotHash =
  oneShotHash ?? ((algorithm, bytes, to) => createHash(algorithm).update(bytes).digest(to));

/** A verifier over one build, with a key in every slot. */
class Rig {
  readonly harness: Harness;
  readonly consumer: RingConsumer;
  readonly keys: SessionKey[] = [];
  readonly keyOf = (slot: number) => this.keys[slot];

  constructor(build: (typeof BUILDS)[number], random: Random) {
    this.harness = new Harness(build, {
      sessions: SESSIONS,
      ringBytes: RING_BYTES,
      assemblyBytes: ARENA_BYTES,
    });
    const { memory, map } = this.harness;
    this.consumer = new RingConsumer(memory, map, inlineWakes().consumer);
    for (let slot = 0; slot < SESSIONS; slot += 1)
      this.setKey(slot, random.bytes(random.below(100)));
  }

  setKey(slot: number, key: Buffer): void {
    this.harness.wasm.setKey(slot, key);
    this.keys[slot] = new SessionKey({ current: key });
  }

  verifier(by: OneShotHash | null): Verifier {
    const { wasm, bytes } = this.harness;
    return new Verifier(wasm, this.consumer, bytes, by);
  }

  /** The memory but for the scratch, which is the module's own. */
  snapshot(): Buffer {
    const copy = Buffer.from(this.harness.bytes);
    copy.fill(0, SCRATCH_CONSUMER, SCRATCH_CONSUMER + SCRATCH_BYTES);
    return copy;
  }
}

/** Around the sizes at which the path changes, around block ends, and large. */
function sizeOf(random: Random): number {
  const bounds = [
    HMAC_WASM_PAYLOAD_BYTES_MAX,
    HMAC_WASM_PAYLOAD_BYTES_MAX_FEW,
    HMAC_WASM_PAYLOAD_BYTES_MAX_SINGLE,
  ];
  switch (random.below(5)) {
    case 0:
      return random.pick(bounds) + random.below(3) - 1;
    case 1:
      return 64 * (1 + random.below(40)) - 62 + random.below(5) - 2;
    case 2:
      return random.below(400);
    case 3:
      return random.below(20_000);
    default:
      return random.below(8) === 0 ? random.below(200_000) : random.below(5_000);
  }
}

interface Batch {
  count: number;
  statuses: number[];
}

/**
 * Frames side by side from the ring's first byte or from anywhere, the last up to the ring's last
 * byte; some in the arena, each at the start of its block but for the guard.
 */
function fill(rig: Rig, random: Random, seq: number): Batch {
  const { harness, keys } = rig;
  const { map } = harness;
  const wanted = random.pick([1, 1, 2, 3, 5, 7, 8, 9, 1 + random.below(60)]);
  const statuses: number[] = [];
  let offset = random.below(3) === 0 ? 0 : random.below(RING_BYTES / 2);
  let block = map.arenaBase;
  for (let index = 0; index < wanted; index += 1) {
    const session = random.below(SESSIONS);
    const payload = Buffer.alloc(sizeOf(random), random.bytes(1 + random.below(90)));
    const bytes = frame({ key: keys[session]!.bytes, payload, type: 3 });
    const bad = random.below(4) === 0;
    if (bad) {
      let at = random.below(random.below(2) === 0 ? HEADER_BYTES : bytes.length);
      if (at >= OFFSET_SIZE && at < HEADER_BYTES) at = OFFSET_HMAC;
      bytes[at]! ^= 1 << random.below(8);
    }
    const inArena = random.below(4) === 0;
    let address: number;
    if (inArena) {
      address = block + GUARD_BYTES;
      const end = address + bytes.length;
      if (end > map.arenaBase + ARENA_BYTES) break;
      block = Math.ceil(end / 256) * 256;
    } else {
      if (offset + bytes.length > RING_BYTES) break;
      if (index === wanted - 1 && random.below(2) === 0) offset = RING_BYTES - bytes.length;
      address = map.ringBase + offset;
      offset += bytes.length;
    }
    harness.bytes.set(bytes, address);
    const place = inArena ? Place.ARENA : Place.RING;
    harness.describe(seq + index, { address, size: payload.length, session, place });
    statuses.push(bad ? Reject.BAD_HMAC : FrameStatus.VERIFIED);
  }
  return { count: statuses.length, statuses };
}

for (const build of BUILDS) {
  describe(`the verifier (${build})`, () => {
    test('settles random batches as they were signed, and writes nothing but statuses', (t) => {
      const seed = seedOfRun();
      t.diagnostic(`seed ${seed} (D4GW_SEED)`);
      const random = new Random(seed);
      const rig = new Rig(build, random);
      const { harness } = rig;
      const verifiers = [rig.verifier(hash), rig.verifier(hash), rig.verifier(null)];
      harness.bytes.set(random.bytes(4096), harness.map.ringBase - GUARD_BYTES);
      const deadline = performance.now() + TIME_BUDGET_MS;
      let frames = 0;
      for (let batches = 0; batches < 20 || performance.now() < deadline; batches += 1) {
        rig.setKey(random.below(SESSIONS), random.bytes(random.below(100)));
        const seq = random.below(2 ** 32);
        const { count, statuses } = fill(rig, random, seq);
        const before = rig.snapshot();
        random.pick(verifiers).verify(seq, count, rig.keyOf);
        for (const [index, status] of statuses.entries()) {
          const at = harness.statusAddress(seq + index);
          assert.equal(harness.bytes[at], status, `frame ${index} of ${count}`);
          before[at] = status;
        }
        assert.ok(before.equals(rig.snapshot()), 'nothing else has changed');
        frames += count;
      }
      t.diagnostic(`${frames} frames`);
    });

    test('in place: every size at every alignment, good and bad', () => {
      const random = new Random(1);
      const rig = new Rig(build, random);
      const { wasm, bytes, map } = rig.harness;
      bytes.set(random.bytes(2048), map.ringBase - GUARD_BYTES);
      for (let size = 0; size < 400; size += 1) {
        const slot = size % SESSIONS;
        const key = rig.keys[slot]!;
        const address = map.ringBase + (size % 67);
        bytes.set(frame({ key: key.bytes, payload: random.bytes(size) }), address);
        const before = rig.snapshot();
        assert.ok(holdsInPlace(wasm, bytes, slot, address, size, hash), `size ${size}`);
        const wrong = (slot + 1) % SESSIONS;
        assert.ok(!holdsInPlace(wasm, bytes, wrong, address, size, hash), `size ${size}`);
        assert.ok(before.equals(rig.snapshot()), `size ${size}`);
      }
    });

    test('in place: sees each single flipped bit of a frame', () => {
      const rig = new Rig(build, new Random(2));
      const { wasm, bytes, map } = rig.harness;
      const address = map.ringBase + 5;
      const good = frame({ key: rig.keys[0]!.bytes, payload: Buffer.alloc(70, 0x77) });
      bytes.set(good, address);
      for (let bit = 0; bit < good.length * 8; bit += 1) {
        const at = address + (bit >> 3);
        bytes[at]! ^= 1 << (bit & 7);
        assert.ok(!holdsInPlace(wasm, bytes, 0, address, 70, hash), `bit ${bit}`);
        bytes[at]! ^= 1 << (bit & 7);
      }
      assert.ok(holdsInPlace(wasm, bytes, 0, address, 70, hash));
      // What is in front of the frame has no say.
      bytes.fill(0xa5, address - GUARD_BYTES, address);
      assert.ok(holdsInPlace(wasm, bytes, 0, address, 70, hash));
    });

    test('what was laid is put back when the hash throws', () => {
      const random = new Random(3);
      const rig = new Rig(build, random);
      const { harness } = rig;
      const { map } = harness;
      harness.bytes.set(random.bytes(GUARD_BYTES), map.ringBase - GUARD_BYTES);
      const payload = random.bytes(5000);
      const address = harness.put(frame({ key: rig.keys[0]!.bytes, payload }));
      harness.describe(0, { address, size: payload.length });
      const before = rig.snapshot();
      const failing = rig.verifier(() => {
        assert.ok(!before.equals(rig.snapshot()), 'the pad lies in front of the frame');
        throw new Error('no memory');
      });
      assert.throws(() => failing.verify(0, 1, rig.keyOf), /no memory/);
      assert.ok(before.equals(rig.snapshot()));
      assert.equal(harness.descriptor(0).status, FrameStatus.PENDING);
      rig.verifier(hash).verify(0, 1, rig.keyOf);
      assert.equal(harness.descriptor(0).status, FrameStatus.VERIFIED);
    });

    test('a large frame of a session without a key is never trusted', () => {
      const rig = new Rig(build, new Random(4));
      const { harness } = rig;
      const payload = Buffer.alloc(5000);
      const address = harness.put(frame({ key: rig.keys[0]!.bytes, payload }));
      for (const by of [hash, null]) {
        harness.describe(0, { address, size: payload.length });
        rig.verifier(by).verify(0, 1, () => undefined);
        assert.equal(harness.descriptor(0).status, Reject.BAD_HMAC);
      }
    });

    test('the key before a rotation holds where the current one was tried in place', () => {
      const rig = new Rig(build, new Random(5));
      const { harness, keys } = rig;
      const old = Buffer.from('the old key');
      rig.setKey(0, Buffer.from('the new key'));
      keys[0]!.update({ current: keys[0]!.bytes, previous: { key: old, validUntil: 1000 } });
      const payload = Buffer.alloc(5000, 'x');
      const address = harness.put(frame({ key: old, payload }), 99);
      harness.describe(0, { address, size: payload.length });
      rig.verifier(hash).verify(0, 1, rig.keyOf);
      assert.equal(harness.descriptor(0).status, Reject.BAD_HMAC);
      assert.ok(keys[0]!.verifyPrevious(harness.bytes, address, payload.length, 999));
    });

    test('frames over the limit of their batch are hashed by the host, the others are not', () => {
      const rig = new Rig(build, new Random(6));
      const { harness, keys } = rig;
      const hashed: number[] = [];
      const verifier = rig.verifier((algorithm, bytes, to) => {
        hashed.push(bytes.length - GUARD_BYTES - HEADER_BYTES);
        return hash(algorithm, bytes, to);
      });
      for (const count of [1, 2, 3, 4, 7, 8, 9, 40]) {
        const max = moduleBytesMax(count, build === 'simd' ? 4 : 1);
        let offset = 0;
        for (let index = 0; index < count; index += 1) {
          const size = max + (index % 2);
          const bytes = frame({ key: keys[0]!.bytes, payload: Buffer.alloc(size) });
          harness.describe(index, { address: harness.put(bytes, offset), size, kind: Kind.FRAME });
          offset += bytes.length;
        }
        hashed.length = 0;
        verifier.verify(0, count, rig.keyOf);
        assert.deepEqual(hashed, Array(count >> 1).fill(max + 1), `${count} frames`);
        for (let index = 0; index < count; index += 1) {
          const at = harness.statusAddress(index);
          assert.equal(harness.bytes[at], FrameStatus.VERIFIED);
        }
      }
    });
  });
}
