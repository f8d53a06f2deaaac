import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { RingConsumer } from '../../src/ring/consumer.js';
import type { MemoryMap } from '../../src/ring/layout.js';
import { RingProducer } from '../../src/ring/producer.js';
import { PortWake } from '../../src/ring/wait.js';
import { ping, pong } from './cycles.js';
import { consume, produce, type TrafficPlan } from './traffic.js';

/** Runs one end of a ring on this thread, and posts what came of it. */
export interface EndThreadData {
  end: 'producer' | 'consumer';
  buffer: SharedArrayBuffer;
  map: MemoryMap;
  port: MessagePort;
  job: { traffic: TrafficPlan } | { cycles: { seed: number; durationMs: number } };
}

const { end, buffer, map, port, job } = workerData as EndThreadData;
const memory = { buffer };
const fixture = { memory, map, bytes: new Uint8Array(buffer) };
// No poll in the time of a test: a lost wake-up must hang, to be seen.
const wake = new PortWake(memory, end, port, { keepAlive: true, pollMs: 2 ** 31 - 1 });
let result: unknown;
if (end === 'producer') {
  const producer = new RingProducer(memory, map, wake);
  const { traffic } = job as { traffic?: TrafficPlan };
  if (traffic !== undefined) result = await produce(fixture, producer, traffic);
  else if ('cycles' in job) result = await ping(producer, job.cycles.seed, job.cycles.durationMs);
} else {
  const consumer = new RingConsumer(memory, map, wake);
  const { traffic } = job as { traffic?: TrafficPlan };
  if (traffic !== undefined) result = await consume(fixture, consumer, traffic);
  else if ('cycles' in job) result = await pong(consumer, job.cycles.seed);
}
wake.close();
parentPort!.postMessage(result);
