import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { RingConsumer } from '../../src/ring/consumer.js';
import { FrameStatus, GUARD_BYTES } from '../../src/ring/layout.js';
import { inlineWakes } from '../../src/ring/wait.js';
import { type OneShotHash, oneShotHash } from '../../src/verify/in-place.js';
import { SessionKey } from '../../src/verify/session-key.js';
import { moduleBytesMax, Verifier } from '../../src/verify/verifier.js';
import { HEADER_BYTES } from '../../src/wire/layout.js';
import { BUILDS, frame, Harness, Random, seedOfRun } from '../assembly/harness.js';
import type { GuardThreadData } from './guard-thread.js';

const RING_BYTES = 65_536;
const BLOCK_BYTES = 4_096;
const FRAMES = 4_000;
const TURN_FRAMES = 64;

const hash: OneShotHash =
  oneShotHash ?? ((algorithm, bytes, to) => createHash(algorithm).update(bytes).digest(to));

for (const build of BUILDS) {
  // Both threads write within the same 64 bytes as soon as the ring hands them out twice.
  test(`frames are verified in place in a full ring (${build})`, { timeout: 60_000 }, async (t) => {
    const seed = seedOfRun();
    t.diagnostic(`seed ${seed} (D4GW_SEED)`);
    const random = new Random(seed);
    const key = random.bytes(20);
    const harness = new Harness(build, {
      ringBytes: RING_BYTES,
      descriptors: 64,
      assemblyBytes: 8 * BLOCK_BYTES,
    });
    const { wasm, map, bytes, memory } = harness;
    wasm.setKey(0, key);
    const sessionKey = new SessionKey({ current: key });
    const signed = (length: number) =>
      new Uint8Array(frame({ key, payload: random.bytes(length - HEADER_BYTES) }));
    const large = moduleBytesMax(1, wasm.lanes) + HEADER_BYTES + 1;
    const stop = new Int32Array(new SharedArrayBuffer(4));
    const workerData: GuardThreadData = {
      buffer: memory.buffer as SharedArrayBuffer,
      map,
      frames: Array.from({ length: 64 }, () => signed(large + random.below(12_000))),
      // With and without its guard, such a frame fills its block.
      arenaFrames: [BLOCK_BYTES - GUARD_BYTES, BLOCK_BYTES, 2 * BLOCK_BYTES].map(signed),
      seed,
      stop,
    };
    const worker = new Worker(new URL('./guard-thread.js', import.meta.url), { workerData });
    t.after(() => worker.terminate());
    await once(worker, 'message');

    const consumer = new RingConsumer(memory, map, inlineWakes().consumer);
    const verifier = new Verifier(wasm, consumer, bytes, hash);
    let verified = 0;
    const answer = once(worker, 'message');
    while (verified < FRAMES && Atomics.load(stop, 0) === 0) {
      for (let turn = 0; turn < TURN_FRAMES && consumer.available() > 0; turn += 1) {
        // One by one: each is the oldest that is not released when it is verified.
        verifier.verify(consumer.tail, 1, () => sessionKey);
        const status = consumer.status(consumer.tail);
        const at = consumer.address(consumer.tail) - map.ringBase;
        if (status !== FrameStatus.VERIFIED) Atomics.store(stop, 0, 1);
        assert.equal(status, FrameStatus.VERIFIED, `frame ${verified} at ${at}`);
        consumer.release(1);
        verified += 1;
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
    Atomics.store(stop, 0, 1);
    const [result] = (await answer) as [{ fault?: string; regions: number; arena: number }];
    t.diagnostic(JSON.stringify(result));
    assert.equal(result.fault, undefined);
    assert.ok(verified >= FRAMES);
    assert.ok(result.regions > FRAMES / 2 && result.arena > 100);
  });
}
