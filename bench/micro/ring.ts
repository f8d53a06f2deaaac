import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import {
  isMainThread,
  MessageChannel,
  type MessagePort,
  Worker,
  workerData,
} from 'node:worker_threads';
import { RingConsumer } from '../../src/ring/consumer.js';
import type { SharedMemory } from '../../src/ring/control.js';
import { DescriptorTable } from '../../src/ring/descriptors.js';
import {
  DESCRIPTOR_BYTES,
  FrameStatus,
  Kind,
  type MemoryMap,
  mapMemory,
  Place,
  WASM_PAGE_BYTES,
} from '../../src/ring/layout.js';
import { RingProducer } from '../../src/ring/producer.js';
import { inlineWakes, PortWake } from '../../src/ring/wait.js';
import { HEADER_BYTES } from '../../src/wire/layout.js';
import { type MicroFigure, type MicroTask, measure } from './measure.js';

const FRAME_BYTES = HEADER_BYTES + 128;
const CHUNK_FRAMES = [1, 16, 256];
/** Chunks a measured call: one chunk is shorter than the clock's own cost. */
const REPEATS = 64;
const HANDOVER_FRAMES = 4_000_000;
const ROUND_TRIPS = 20_000;
const HANDOVER_DEADLINE_MS = 60_000;
const map = mapMemory({
  sessions: 1,
  descriptors: 16384,
  ringBytes: 2 ** 22,
  assemblyBytes: 4096,
  poolBytes: 4096,
});

export interface RingFigures {
  /** Publishing and releasing on one thread, with as many frames a chunk as its name says. */
  inline: MicroFigure[];
  /** Frames a second from one thread to another, each descriptor written and read. */
  handoverFramesPerSecond: number;
  /** Microseconds for one frame from thread to thread and its release back, both asleep before. */
  roundTripMicroseconds: { p50: number; p99: number };
}

/** Makes the descriptors of a chunk as `scan` would; the payload is not touched. */
function publishChunk(producer: RingProducer, table: DescriptorTable, frames: number): boolean {
  const address = producer.reserve(frames * FRAME_BYTES);
  if (address === 0) return false;
  if (producer.room() < frames) {
    producer.publish(0, 0);
    return false;
  }
  for (let index = 0; index < frames; index += 1) {
    const sequence = (producer.head + index) >>> 0;
    table.write(sequence, {
      address: address + index * FRAME_BYTES,
      size: FRAME_BYTES - HEADER_BYTES,
      session: 0,
      generation: sequence,
      kind: Kind.FRAME,
      type: 1,
      status: FrameStatus.PENDING,
      place: Place.RING,
      release: (producer.releaseBase + (index + 1) * FRAME_BYTES) >>> 0,
    });
  }
  producer.publish(frames, frames * FRAME_BYTES);
  return true;
}

/** Releases what is published; returns how many, each of which came in its turn. */
function takeAll(consumer: RingConsumer, start: number): number {
  const count = consumer.available();
  for (let index = 0; index < count; index += 1) {
    const sequence = (consumer.tail + index) >>> 0;
    if (consumer.generation(sequence) !== start + index) throw new Error('out of order');
  }
  consumer.release(count);
  return count;
}

function inlineTask(frames: number): MicroTask {
  const memory = { buffer: new SharedArrayBuffer(map.pages * WASM_PAGE_BYTES) };
  const wakes = inlineWakes();
  const producer = new RingProducer(memory, map, wakes.producer);
  const consumer = new RingConsumer(memory, map, wakes.consumer);
  const table = new DescriptorTable(memory, map);
  let taken = 0;
  return {
    name: `${frames} a chunk`,
    frames: frames * REPEATS,
    bytes: frames * REPEATS * DESCRIPTOR_BYTES, // all that is touched: no payload is written
    work: () => {
      for (let repeat = 0; repeat < REPEATS; repeat += 1) {
        publishChunk(producer, table, frames);
        taken = (taken + takeAll(consumer, taken)) >>> 0;
      }
    },
    check: () => {
      assert.equal(taken, frames * REPEATS);
      assert.equal(producer.unreleased(), 0);
    },
  };
}

interface ConsumerThreadData {
  ringBench: { buffer: SharedArrayBuffer; map: MemoryMap; port: MessagePort };
}

/** The other thread: takes for ever; a frame out of order ends it with an error. */
function runConsumerThread({ ringBench }: ConsumerThreadData): void {
  const memory = { buffer: ringBench.buffer };
  const wake = new PortWake(memory, 'consumer', ringBench.port, { keepAlive: true });
  const consumer = new RingConsumer(memory, ringBench.map, wake);
  let taken = 0;
  const onWake = () => {
    taken = (taken + takeAll(consumer, taken)) >>> 0;
    consumer.sleep(onWake);
  };
  consumer.sleep(onWake);
}

function space(producer: RingProducer): Promise<void> {
  producer.wake();
  return new Promise((resolve) => producer.onSpace(resolve));
}

async function throughput(producer: RingProducer, table: DescriptorTable): Promise<number> {
  const chunk = 64;
  const start = performance.now();
  for (let sent = 0; sent < HANDOVER_FRAMES; sent += chunk) {
    while (!publishChunk(producer, table, chunk)) await space(producer);
    producer.wake();
  }
  while (producer.unreleased() > 0) await space(producer);
  return (HANDOVER_FRAMES / (performance.now() - start)) * 1000;
}

async function roundTrips(producer: RingProducer, table: DescriptorTable): Promise<Float64Array> {
  const samples = new Float64Array(ROUND_TRIPS);
  for (let index = 0; index < ROUND_TRIPS; index += 1) {
    await turn(); // The consumer goes back to sleep meanwhile, or nearly.
    const start = performance.now();
    publishChunk(producer, table, 1);
    producer.wake();
    while (producer.unreleased() > 0) await space(producer);
    samples[index] = (performance.now() - start) * 1000;
  }
  return samples.sort();
}

async function betweenThreads(): Promise<Omit<RingFigures, 'inline'>> {
  const buffer = new SharedArrayBuffer(map.pages * WASM_PAGE_BYTES);
  const memory: SharedMemory = { buffer };
  const { port1, port2 } = new MessageChannel();
  const data: ConsumerThreadData = { ringBench: { buffer, map, port: port2 } };
  const file = new URL(import.meta.url);
  const worker = new Worker(file, { workerData: data, transferList: [port2] });
  const wake = new PortWake(memory, 'producer', port1, { keepAlive: true });
  let deadline: NodeJS.Timeout | undefined;
  try {
    const failed = new Promise<never>((_, reject) => {
      worker.once('error', reject);
      deadline = setTimeout(() => reject(new Error('hand-over hangs')), HANDOVER_DEADLINE_MS);
    });
    const producer = new RingProducer(memory, map, wake);
    const table = new DescriptorTable(memory, map);
    const work = async () => {
      await throughput(producer, table); // warm-up
      const handoverFramesPerSecond = await throughput(producer, table);
      const samples = await roundTrips(producer, table);
      assert.equal(producer.head, (2 * HANDOVER_FRAMES + ROUND_TRIPS) >>> 0);
      assert.equal(producer.unreleased(), 0);
      const at = (part: number) => samples[Math.floor(part * (samples.length - 1))]!;
      return { handoverFramesPerSecond, roundTripMicroseconds: { p50: at(0.5), p99: at(0.99) } };
    };
    return await Promise.race([work(), failed]);
  } finally {
    clearTimeout(deadline);
    wake.close();
    await worker.terminate();
  }
}

/** Measures the ring, prints the figures and returns them; throws where a frame is missing. */
export async function ringBench(): Promise<RingFigures> {
  const inline = await measure('ring, publish and release', CHUNK_FRAMES.map(inlineTask));
  const figures = { inline, ...(await betweenThreads()) };
  const { p50, p99 } = figures.roundTripMicroseconds;
  const rate = (figures.handoverFramesPerSecond / 1e6).toFixed(2);
  process.stdout.write('ring, between two threads\n');
  process.stdout.write(`  hand-over   ${rate} million frames/s, ${HANDOVER_FRAMES} frames\n`);
  process.stdout.write(`  round trip  p50 ${p50.toFixed(1)}, p99 ${p99.toFixed(1)} µs\n\n`);
  return figures;
}

export { ringBench as run };

if (!isMainThread && workerData?.ringBench !== undefined) runConsumerThread(workerData);
