import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MessageChannel, Worker } from 'node:worker_threads';
import { CONTROL_BASE, CONTROL_HEAD, CONTROL_TAIL, regionBytesMax } from '../../src/ring/layout.js';
import type { EndThreadData } from './end-thread.js';
import { type RingFixture, ringFixture, runSeed } from './fixture.js';
import type { TrafficPlan } from './traffic.js';

const DEADLINE_MS = 60_000;
const MIB = 2 ** 20;

interface Case {
  name: string;
  ringBytes: number;
  descriptors: number;
  assemblyBytes: number;
  start: { sequence: number; position: number };
  plan: Omit<TrafficPlan, 'seed'>;
}

const CASES: Case[] = [
  {
    name: 'few descriptors, positions about to pass 2^32',
    ringBytes: 65536,
    descriptors: 8,
    assemblyBytes: 65536,
    start: { sequence: 2 ** 32 - 1000, position: 2 ** 32 - MIB - 12345 },
    plan: { count: 60_000, frameBytesMax: regionBytesMax(65536), largeOneIn: 20 },
  },
  {
    name: 'few bytes, many descriptors',
    ringBytes: 16384,
    descriptors: 4096,
    assemblyBytes: 16384,
    start: { sequence: 0, position: 2 ** 31 - 70_000 },
    plan: { count: 80_000, frameBytesMax: regionBytesMax(16384), largeOneIn: 4 },
  },
  {
    name: 'frames up to the limit of 1,000,000 payload bytes',
    ringBytes: 2 * MIB,
    descriptors: 256,
    assemblyBytes: 4 * MIB,
    start: { sequence: 7, position: 0 },
    plan: { count: 8_000, frameBytesMax: 1_000_062, largeOneIn: 10 },
  },
];

/** Runs both ends on threads of their own; rejects with the first error of either. */
async function runEnds(
  fixture: RingFixture,
  job: EndThreadData['job'],
): Promise<{ producer: Record<string, number>; consumer: Record<string, number> }> {
  const { port1, port2 } = new MessageChannel();
  const buffer = fixture.memory.buffer as SharedArrayBuffer;
  const workers: Worker[] = [];
  const run = (end: EndThreadData['end'], port: EndThreadData['port']) => {
    const workerData: EndThreadData = { end, buffer, map: fixture.map, port, job };
    const file = new URL('./end-thread.js', import.meta.url);
    const worker = new Worker(file, { workerData, transferList: [port] });
    workers.push(worker);
    return new Promise<Record<string, number>>((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
      worker.once('exit', () => reject(new Error(`the ${end} ended without a result`)));
    });
  };
  let deadline: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    deadline = setTimeout(() => {
      const control = new DataView(buffer, CONTROL_BASE);
      const head = control.getUint32(CONTROL_HEAD, true);
      const tail = control.getUint32(CONTROL_TAIL, true);
      reject(new Error(`both ends wait, or never end: head ${head}, tail ${tail}`));
    }, DEADLINE_MS);
  });
  try {
    const ends = Promise.all([run('producer', port1), run('consumer', port2)]);
    const [producer, consumer] = await Promise.race([ends, late]);
    return { producer, consumer };
  } finally {
    clearTimeout(deadline);
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
}

describe('the ring between two threads', () => {
  for (const { name, start, plan, ...options } of CASES) {
    it(`brings each byte over in order: ${name}`, async (t) => {
      const seed = runSeed();
      t.diagnostic(`seed ${seed} (D4GW_SEED)`);
      const traffic = { ...plan, seed };
      const result = await runEnds(ringFixture(options, start), { traffic });
      const { producer, consumer } = result;
      t.diagnostic(JSON.stringify(result));
      assert.ok(consumer.bytes! > 16 * options.ringBytes, 'the ring wrapped many times');
      assert.ok(producer.waits! > 10, 'the ring was full');
      assert.ok(producer.freed! > 10, 'frames went through the arena');
    });
  }

  it('loses no wake-up, with nothing but wake-ups to go on', async (t) => {
    const seed = runSeed();
    t.diagnostic(`seed ${seed} (D4GW_SEED)`);
    const start = { sequence: 2 ** 32 - 500, position: 0 };
    const job = { cycles: { seed, durationMs: 2_000 } };
    const result = await runEnds(ringFixture({}, start), job);
    t.diagnostic(JSON.stringify(result));
    assert.equal(result.consumer.events, result.producer.events);
    assert.ok(result.producer.cycles! > 500);
  });
});
