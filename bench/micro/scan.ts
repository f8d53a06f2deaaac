import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import {
  CONTROL_BASE,
  CONTROL_TYPES,
  mapMemory,
  SCRATCH_PRODUCER,
  ScanStatus,
  SESSION_STATE,
  SESSION_TYPE,
  SESSION_UUID,
  SessionState,
} from '../../src/ring/layout.js';
import { createMemory, instantiate, loadModule } from '../../src/wasm/loader.js';
import {
  HEADER_BYTES,
  OFFSET_SIZE,
  OFFSET_TYPE,
  OFFSET_UUID,
  OFFSET_VERSION,
} from '../../src/wire/layout.js';
import { type MicroTask, measure } from './measure.js';

const REGION_BYTES = 65536;
/** Scans a measured call: one of few frames is shorter than the clock's own cost. */
const REPEATS = 32;
const PAYLOAD_SIZES = [128, 1024, 16384];
const UUID = Buffer.from('3a9f1c526d0e4b7a9c415e2f8b7d0a13', 'hex');
const map = mapMemory({
  sessions: 1,
  descriptors: 1024,
  ringBytes: REGION_BYTES,
  assemblyBytes: 4096,
  poolBytes: 4096,
});

/** As many frames of one size as a region holds. */
function fillRegion(region: Buffer, size: number): { frames: number; bytes: number } {
  const frames = Math.floor(REGION_BYTES / (HEADER_BYTES + size));
  for (let index = 0; index < frames; index++) {
    const frame = region.subarray(index * (HEADER_BYTES + size));
    frame.set(randomBytes(HEADER_BYTES + size));
    frame[OFFSET_VERSION] = 1;
    frame[OFFSET_TYPE] = 1;
    frame.set(UUID, OFFSET_UUID);
    frame.writeUInt32LE(size, OFFSET_SIZE);
  }
  return { frames, bytes: frames * (HEADER_BYTES + size) };
}

/** The same region over and over, as the I/O thread scans it. */
function wasmTask(build: 'simd' | 'scalar', size: number): MicroTask {
  const memory = createMemory(map);
  const bytes = Buffer.from(memory.buffer);
  const wasm = instantiate(loadModule(build).module, memory, SCRATCH_PRODUCER, map, 1_000_000);
  bytes[CONTROL_BASE + CONTROL_TYPES] = 1 << 1;
  bytes[map.sessionBase + SESSION_STATE] = SessionState.FIXED;
  bytes[map.sessionBase + SESSION_TYPE] = 1;
  bytes.set(UUID, map.sessionBase + SESSION_UUID);
  const filled = fillRegion(bytes.subarray(map.ringBase), size);
  let status = -1;
  return {
    name: `wasm ${build}`,
    frames: filled.frames * REPEATS,
    bytes: filled.bytes * REPEATS,
    work: () => {
      for (let again = 0; again < REPEATS; again++) {
        status = wasm.scan(map.ringBase, filled.bytes, 0, 0, map.descriptors, 0, 0, 0);
      }
    },
    check: () => {
      assert.equal(status, ScanStatus.DONE);
      assert.equal(wasm.count, filled.frames);
      assert.equal(wasm.consumed, filled.bytes);
    },
  };
}

interface NaiveFrame {
  offset: number;
  type: number;
  size: number;
  uuidOk: boolean;
}

/** What a plain decoder would do: a few reads and an object for each frame. */
function walk(region: Buffer, bytes: number): NaiveFrame[] {
  const found: NaiveFrame[] = [];
  for (let at = 0; at < bytes; ) {
    if (region[at] !== 1) throw new Error('version');
    const size = region.readUInt32LE(at + OFFSET_SIZE);
    const from = at + OFFSET_UUID;
    const uuidOk = region.compare(UUID, 0, 16, from, from + 16) === 0;
    found.push({ offset: at, type: region[at + 1] as number, size, uuidOk });
    at += HEADER_BYTES + size;
  }
  return found;
}

function naiveTask(size: number): MicroTask {
  const region = Buffer.alloc(REGION_BYTES);
  const filled = fillRegion(region, size);
  let found: NaiveFrame[] = [];
  return {
    name: 'plain JavaScript',
    frames: filled.frames * REPEATS,
    bytes: filled.bytes * REPEATS,
    work: () => {
      for (let again = 0; again < REPEATS; again++) found = walk(region, filled.bytes);
    },
    check: () => {
      assert.equal(found.length, filled.frames);
      assert.ok(found.every((frame) => frame.uuidOk && frame.size === size));
    },
  };
}

/** Scan rates of 64 KiB regions. */
export async function run(): Promise<void> {
  for (const size of PAYLOAD_SIZES) {
    const tasks = [wasmTask('simd', size), wasmTask('scalar', size), naiveTask(size)];
    await measure(`scan, ${REGION_BYTES / 1024} KiB of frames with ${size} B of payload`, tasks);
  }
}
