import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { SCRATCH_CONSUMER, SCRATCH_PRODUCER } from '../../src/ring/layout.js';
import { instantiate, loadModule } from '../../src/wasm/loader.js';
import { BUILDS, frame, Harness, Random } from './harness.js';
import { checkRound, type Share } from './threads-round.js';

const TIME_BUDGET_MS = 700;
const FRAMES = 64;

/** A stream of frames with a session, a key and descriptors of its own. */
function prepare(harness: Harness, session: number, scratch: number, random: Random): Share {
  const key = random.bytes(30);
  const uuid = random.bytes(16);
  uuid[6] = 0x40;
  uuid[8] = 0x80;
  harness.open(session, 3, uuid);
  harness.wasm.setKey(session, key);
  const bad: number[] = [];
  const frames = Array.from({ length: FRAMES }, (_, index) => {
    const bytes = frame({ key, uuid, type: 3, payload: random.bytes(random.below(1000)) });
    if (random.below(5) === 0) {
      bad.push(index);
      bytes[30] = (bytes[30] as number) ^ 1;
    }
    return bytes;
  });
  const stream = Buffer.concat(frames);
  const address = harness.put(stream, session * 200_000);
  const seq = session * FRAMES;
  return { scratch, session, address, length: stream.length, frames: FRAMES, bad, seq };
}

for (const build of BUILDS) {
  test(`two threads work on one memory at once (${build})`, { timeout: 20_000 }, async (t) => {
    const harness = new Harness(build);
    const random = new Random(42);
    const mine = prepare(harness, 0, SCRATCH_PRODUCER, random);
    const share = prepare(harness, 1, SCRATCH_CONSUMER, random);
    const { module } = loadModule(build);
    const { memory, map } = harness;
    const stop = new Int32Array(new SharedArrayBuffer(4));
    const worker = new Worker(new URL('./threads-worker.js', import.meta.url), {
      workerData: { module, memory, map, share, stop },
    });
    t.after(() => worker.terminate());
    await once(worker, 'message');

    const deadline = performance.now() + TIME_BUDGET_MS;
    let rounds = 0;
    for (; performance.now() < deadline; rounds++) {
      // Each instantiation writes the module's data again, under the other thread's feet.
      const wasm = instantiate(module, memory, SCRATCH_PRODUCER, map, 1_000_000);
      for (let again = 0; again < 20; again++) {
        assert.equal(checkRound(wasm, map, mine), undefined);
      }
    }
    const answer = once(worker, 'message');
    Atomics.store(stop, 0, 1);
    const [other] = (await answer) as [{ rounds: number; fault: string | undefined }];
    assert.equal(other.fault, undefined);
    assert.ok(other.rounds > 1 && rounds > 1);
    assert.equal(harness.sessionFrames(1), other.rounds * FRAMES);
    t.diagnostic(`${rounds * 20} rounds here, ${other.rounds} there`);
  });
}
