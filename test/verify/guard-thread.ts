import { parentPort, workerData } from 'node:worker_threads';
import { BuddyAllocator } from '../../src/ring/buddy.js';
import { type MemoryMap, regionBytesMax } from '../../src/ring/layout.js';
import { RingProducer } from '../../src/ring/producer.js';
import { inlineWakes } from '../../src/ring/wait.js';
import { AssemblyBudget } from '../../src/sources/assembly-budget.js';
import { HEADER_BYTES } from '../../src/wire/layout.js';
import { Random } from '../assembly/harness.js';
import { writeFrameDescriptor } from '../ring/fixture.js';

/**
 * A producer that writes on each byte that it is given, to the last one before the byte tail, and
 * looks whether what it wrote stays: all the time that the consumer verifies.
 */
export interface GuardThreadData {
  buffer: SharedArrayBuffer;
  map: MemoryMap;
  /** Signed frames, and those of them that go through the arena. */
  frames: Uint8Array[];
  arenaFrames: Uint8Array[];
  seed: number;
  /** Word 0 is set once enough was verified. */
  stop: Int32Array;
}

const { buffer, map, frames, arenaFrames, seed, stop } = workerData as GuardThreadData;
const memory = { buffer };
const bytes = Buffer.from(buffer);
const producer = new RingProducer(memory, map, inlineWakes().producer);
const blocks = new BuddyAllocator(map.arenaBase, map.assemblyBytes);
const writer = {
  write: (target: number, from: Uint8Array, start: number, end: number) =>
    bytes.set(from.subarray(start, end), target),
};
const assembly = new AssemblyBudget<undefined>(blocks, writer, 0);
const random = new Random(seed);
const { ringBytes } = map;
const patterns = [0x5a, 0xc3].map((byte) => Buffer.alloc(ringBytes, byte));
/** Bytes kept back from all that seems free; the first region that the ring grants is taken. */
const CUTS = [0, 1, 8, 31, 63, 64, 65, 200];
const LOOKS = 4;

let position = 0;
let fault: string | undefined;
const counts = { regions: 0, published: 0, arena: 0 };

/** Reserves up to the byte tail, or as near as the ring lets us. */
function reserveAll(): { address: number; size: number } {
  const free = ringBytes - producer.usedBytes();
  const toEnd = ringBytes - (position % ringBytes);
  const most = free > toEnd && free - toEnd > toEnd ? free - toEnd : Math.min(free, toEnd);
  for (const cut of CUTS) {
    const size = Math.min(most - cut, regionBytesMax(ringBytes));
    if (size < 1) break;
    const address = producer.reserve(size);
    if (address !== 0) return { address, size };
  }
  return { address: 0, size: 0 };
}

function stays(address: number, expected: Uint8Array): boolean {
  for (let look = 0; look < LOOKS; look += 1) {
    if (bytes.compare(expected, 0, expected.length, address, address + expected.length) !== 0) {
      return false;
    }
  }
  return true;
}

function intoRing(): void {
  const { address, size } = reserveAll();
  if (address === 0) return;
  counts.regions += 1;
  const pattern = random.pick(patterns).subarray(0, size);
  bytes.set(pattern, address);
  if (!stays(address, pattern)) fault = `${size} bytes at ${address} were changed`;
  const frame = random.pick(frames);
  if (frame.length > size || producer.room() === 0) {
    producer.publish(0, 0);
    return;
  }
  bytes.set(frame, address);
  writeFrameDescriptor({ memory, map, bytes }, producer.head, {
    address,
    size: frame.length - HEADER_BYTES,
    session: 0,
    generation: 0,
    type: 1,
    release: (producer.releaseBase + frame.length) >>> 0,
  });
  position = producer.releaseBase + frame.length;
  producer.publish(1, frame.length);
  counts.published += 1;
}

function intoArena(): void {
  const frame = random.pick(arenaFrames);
  const begun = assembly.begin(undefined, frame.length, 0, false);
  if (!begun) return;
  bytes.set(frame, begun.address);
  if (!stays(begun.address, frame)) fault = `a block at ${begun.address} was changed`;
  if (!producer.pushFrame(begun.address, frame.length - HEADER_BYTES, 0, 0, 1)) {
    assembly.abandon(begun);
    return;
  }
  producer.afterRelease(
    (producer.head - 1) >>> 0,
    (address) => assembly.free(address),
    begun.address,
  );
  assembly.finish(begun);
  counts.arena += 1;
}

parentPort!.postMessage({ started: true });
while (fault === undefined && Atomics.load(stop, 0) === 0) {
  if (random.below(4) === 0) intoArena();
  else intoRing();
  producer.reclaim();
}
Atomics.store(stop, 0, 1);
parentPort!.postMessage({ fault, ...counts });
