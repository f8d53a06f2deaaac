import type { SharedMemory } from '../../src/ring/control.js';
import {
  CONTROL_BASE,
  CONTROL_BYTE_TAIL,
  CONTROL_HEAD,
  CONTROL_TAIL,
  DESCRIPTOR_ADDRESS,
  DESCRIPTOR_BYTES,
  DESCRIPTOR_GENERATION,
  DESCRIPTOR_KIND,
  DESCRIPTOR_PLACE,
  DESCRIPTOR_RELEASE,
  DESCRIPTOR_SESSION,
  DESCRIPTOR_SIZE,
  DESCRIPTOR_STATUS,
  DESCRIPTOR_TYPE,
  FrameStatus,
  Kind,
  type MemoryMap,
  type MemoryOptions,
  mapMemory,
  Place,
  WASM_PAGE_BYTES,
} from '../../src/ring/layout.js';

/** The seed of this run: D4GW_SEED, or a new one. To be printed by each test that draws from it. */
export function runSeed(): number {
  const given = process.env.D4GW_SEED;
  return given === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(given) >>> 0;
}

/** A small seeded generator (mulberry32): a function of whole numbers from 0 to `below` - 1. */
export function randomOf(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

export interface RingFixture {
  memory: SharedMemory;
  map: MemoryMap;
  bytes: Uint8Array;
}

/** A memory with a ring in it whose counters begin where they are told. */
export function ringFixture(
  options: Partial<MemoryOptions>,
  start: { sequence: number; position: number } = { sequence: 0, position: 0 },
): RingFixture {
  const map = mapMemory({
    sessions: 4,
    descriptors: 16,
    ringBytes: 1024,
    assemblyBytes: 4096,
    poolBytes: 0,
    ...options,
  });
  const memory = { buffer: new SharedArrayBuffer(map.pages * WASM_PAGE_BYTES) };
  const control = new DataView(memory.buffer, CONTROL_BASE);
  control.setUint32(CONTROL_HEAD, start.sequence, true);
  control.setUint32(CONTROL_TAIL, start.sequence, true);
  control.setUint32(CONTROL_BYTE_TAIL, start.position, true);
  return { memory, map, bytes: new Uint8Array(memory.buffer) };
}

/** Writes the descriptor of a frame in the byte ring, as `scan` does. */
export function writeFrameDescriptor(
  { memory, map }: RingFixture,
  sequence: number,
  frame: {
    address: number;
    size: number;
    session: number;
    generation: number;
    type: number;
    release: number;
  },
): void {
  const slot = sequence & (map.descriptors - 1);
  const view = new DataView(memory.buffer, map.descriptorBase + slot * DESCRIPTOR_BYTES);
  view.setUint32(DESCRIPTOR_ADDRESS, frame.address, true);
  view.setUint32(DESCRIPTOR_SIZE, frame.size, true);
  view.setUint32(DESCRIPTOR_SESSION, frame.session, true);
  view.setUint8(DESCRIPTOR_KIND, Kind.FRAME);
  view.setUint8(DESCRIPTOR_TYPE, frame.type);
  view.setUint8(DESCRIPTOR_STATUS, FrameStatus.PENDING);
  view.setUint8(DESCRIPTOR_PLACE, Place.RING);
  view.setUint32(DESCRIPTOR_RELEASE, frame.release, true);
  view.setUint32(DESCRIPTOR_GENERATION, frame.generation, true);
}
