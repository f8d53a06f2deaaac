import assert from 'node:assert/strict';
import { createHmac, randomBytes } from 'node:crypto';
import {
  DESCRIPTOR_ADDRESS,
  DESCRIPTOR_BYTES,
  DESCRIPTOR_KIND,
  DESCRIPTOR_SIZE,
  DESCRIPTOR_STATUS,
  FrameStatus,
  GUARD_BYTES,
  Kind,
  mapMemory,
  SCRATCH_CONSUMER,
} from '../../src/ring/layout.js';
import { holdsInPlace, oneShotHash } from '../../src/verify/in-place.js';
import { SessionKey } from '../../src/verify/session-key.js';
import { createMemory, instantiate, loadModule } from '../../src/wasm/loader.js';
import { HEADER_BYTES, HMAC_BYTES, OFFSET_HMAC, OFFSET_SIZE } from '../../src/wire/layout.js';
import { type MicroFigure, type MicroTask, measure } from './measure.js';

const PAYLOAD_SIZES = [
  64, 128, 256, 512, 768, 1024, 1280, 1536, 2048, 2560, 3072, 4096, 8192, 16384, 65536,
];
/** Batches that don't fill the four lanes, or only just. */
const FEW = [1, 2, 3, 4, 6];
const FEW_PAYLOAD_BYTES_MAX = 4096;
const BATCH_FRAMES_MAX = 256;
const BATCH_BYTES = 512 * 1024;
const KEY = Buffer.from('private key to change');
const map = mapMemory({
  sessions: 1,
  descriptors: BATCH_FRAMES_MAX,
  ringBytes: 1 << 20,
  assemblyBytes: 4096,
  poolBytes: 4096,
});

/** A memory whose ring holds one batch of signed frames, and their addresses. */
function prepare(size: number) {
  const memory = createMemory(map);
  const bytes = Buffer.from(memory.buffer);
  const frameBytes = HEADER_BYTES + size;
  const frames = Math.min(BATCH_FRAMES_MAX, Math.ceil(BATCH_BYTES / frameBytes));
  const addresses = Array.from({ length: frames }, (_, index) => map.ringBase + index * frameBytes);
  for (const address of addresses) {
    const frame = bytes.subarray(address, address + frameBytes);
    frame.set(randomBytes(frameBytes));
    frame.writeUInt32LE(size, OFFSET_SIZE);
    frame.fill(0, OFFSET_HMAC, OFFSET_HMAC + HMAC_BYTES);
    frame.set(createHmac('sha256', KEY).update(frame).digest(), OFFSET_HMAC);
  }
  return { memory, bytes, addresses, frames, batchBytes: frames * frameBytes };
}

/**
 * A batch as the sink thread verifies it: descriptors in, statuses out.
 *
 * @param few so many frames a call, as on a line that is nearly idle; default: the whole batch
 */
function wasmTask(build: 'simd' | 'scalar', size: number, few?: number): MicroTask {
  const { memory, bytes, addresses, frames, batchBytes } = prepare(size);
  const wasm = instantiate(loadModule(build).module, memory, SCRATCH_CONSUMER, map, 1_000_000);
  wasm.setKey(0, KEY);
  const at = (index: number) => map.descriptorBase + index * DESCRIPTOR_BYTES;
  for (const [index, address] of addresses.entries()) {
    bytes.writeUInt32LE(address, at(index) + DESCRIPTOR_ADDRESS);
    bytes.writeUInt32LE(size, at(index) + DESCRIPTOR_SIZE);
    bytes[at(index) + DESCRIPTOR_KIND] = Kind.FRAME;
  }
  const step = few ?? frames;
  const count = frames - (frames % step);
  return {
    name: few === undefined ? `wasm ${build}` : `wasm ${build}, ${few} a batch`,
    frames: count,
    bytes: (batchBytes / frames) * count,
    work: () => {
      for (let index = 0; index < count; index++) {
        bytes[at(index) + DESCRIPTOR_STATUS] = FrameStatus.PENDING;
      }
      for (let index = 0; index < count; index += step) wasm.verify(index, step, 2 ** 32 - 1);
    },
    check: () => {
      for (let index = 0; index < count; index++) {
        assert.equal(bytes[at(index) + DESCRIPTOR_STATUS], FrameStatus.VERIFIED);
      }
    },
  };
}

/** Every frame holds; with a bit of its last byte flipped, none does. */
function checkEach(
  bytes: Buffer,
  addresses: readonly number[],
  frameBytes: number,
  holds: (address: number) => boolean,
): void {
  for (const address of addresses) {
    assert.ok(holds(address));
    bytes[address + frameBytes - 1]! ^= 1;
    assert.ok(!holds(address));
    bytes[address + frameBytes - 1]! ^= 1;
  }
}

/** The same batch by node:crypto, hashed where it stands. */
function inPlaceTask(size: number): MicroTask {
  const { memory, bytes, addresses, frames, batchBytes } = prepare(size);
  const hash = oneShotHash;
  if (!hash) throw new Error('this Node has no crypto.hash');
  const { module } = loadModule();
  const wasm = instantiate(module, memory, SCRATCH_CONSUMER, map, 1_000_000);
  wasm.setKey(0, KEY);
  const holds = (address: number) => holdsInPlace(wasm, bytes, 0, address, size, hash);
  let held = 0;
  return {
    name: 'crypto.hash in place',
    frames,
    bytes: batchBytes,
    work: () => {
      held = 0;
      for (const address of addresses) if (holds(address)) held += 1;
    },
    check: () => {
      assert.equal(held, frames);
      const before = Buffer.from(bytes);
      checkEach(bytes, addresses, HEADER_BYTES + size, holds);
      const memoryEnd = before.subarray(map.ringBase - GUARD_BYTES);
      assert.ok(memoryEnd.equals(bytes.subarray(map.ringBase - GUARD_BYTES)), 'all put back');
    },
  };
}

/** The same batch by node:crypto, as the gateway does it where Node has no `crypto.hash`. */
function cryptoTask(size: number): MicroTask {
  const { bytes, addresses, frames, batchBytes } = prepare(size);
  const key = new SessionKey({ current: KEY, previous: undefined });
  let held = 0;
  return {
    name: 'createHmac',
    frames,
    bytes: batchBytes,
    work: () => {
      held = 0;
      for (const address of addresses) if (key.verify(bytes, address, size)) held += 1;
    },
    check: () => {
      assert.equal(held, frames);
      const holds = (address: number) => key.verify(bytes, address, size);
      checkEach(bytes, addresses, HEADER_BYTES + size, holds);
    },
  };
}

interface Point {
  size: number;
  module: number;
  crypto: number;
}

/**
 * The payload size at which two lines cross: between the last size where the module is the faster
 * and the next, both times taken as straight there.
 */
function crossover(points: Point[]): number | undefined {
  for (let index = points.length - 1; index > 0; index--) {
    const low = points[index - 1];
    const high = points[index];
    if (!low || !high || low.module > low.crypto || high.module <= high.crypto) continue;
    const before = low.crypto - low.module;
    const after = high.module - high.crypto;
    return Math.round(low.size + ((high.size - low.size) * before) / (before + after));
  }
  return undefined;
}

/** Verification rates by payload size, and where node:crypto becomes the faster. */
export async function run(): Promise<void> {
  const lines = new Map<string, Point[]>();
  for (const size of PAYLOAD_SIZES) {
    const modules = [wasmTask('scalar', size), wasmTask('simd', size)];
    if (size <= FEW_PAYLOAD_BYTES_MAX) {
      modules.push(...FEW.map((few) => wasmTask('simd', size, few)));
    }
    const tasks = [cryptoTask(size), inPlaceTask(size), ...modules];
    const figures = await measure(`verify, frames with ${size} B of payload`, tasks);
    const [, inPlace, ...ofModule] = figures as [MicroFigure, MicroFigure, ...MicroFigure[]];
    for (const { name, frameNs } of ofModule) {
      const points = lines.get(name) ?? [];
      points.push({ size, module: frameNs, crypto: inPlace.frameNs });
      lines.set(name, points);
    }
  }
  process.stdout.write('crypto.hash in place becomes the faster, in bytes of payload:\n');
  for (const [name, points] of lines) {
    const size = crossover(points);
    process.stdout.write(`  than ${name.padEnd(22)} ${size ?? 'not within these sizes'}\n`);
  }
  process.stdout.write('\n');
}
