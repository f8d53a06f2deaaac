import assert from 'node:assert/strict';
import { createHmac, randomBytes } from 'node:crypto';
import {
  DESCRIPTOR_ADDRESS,
  DESCRIPTOR_BYTES,
  DESCRIPTOR_KIND,
  DESCRIPTOR_SIZE,
  DESCRIPTOR_STATUS,
  FrameStatus,
  Kind,
  mapMemory,
  SCRATCH_CONSUMER,
} from '../../src/ring/layout.js';
import { SessionKey } from '../../src/verify/session-key.js';
import { createMemory, instantiate, loadModule } from '../../src/wasm/loader.js';
import { HEADER_BYTES, HMAC_BYTES, OFFSET_HMAC, OFFSET_SIZE } from '../../src/wire/layout.js';
import { type MicroFigure, type MicroTask, measure } from './measure.js';

const PAYLOAD_SIZES = [64, 128, 256, 512, 1024, 1536, 2048, 2560, 3072, 4096, 8192, 16384, 65536];
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

/** A batch as the sink thread verifies it: descriptors in, statuses out. */
function wasmTask(build: 'simd' | 'scalar', size: number): MicroTask {
  const { memory, bytes, addresses, frames, batchBytes } = prepare(size);
  const wasm = instantiate(loadModule(build).module, memory, SCRATCH_CONSUMER, map, 1_000_000);
  wasm.setKey(0, KEY);
  const at = (index: number) => map.descriptorBase + index * DESCRIPTOR_BYTES;
  for (const [index, address] of addresses.entries()) {
    bytes.writeUInt32LE(address, at(index) + DESCRIPTOR_ADDRESS);
    bytes.writeUInt32LE(size, at(index) + DESCRIPTOR_SIZE);
    bytes[at(index) + DESCRIPTOR_KIND] = Kind.FRAME;
  }
  return {
    name: `wasm ${build}`,
    frames,
    bytes: batchBytes,
    work: () => {
      for (let index = 0; index < frames; index++) {
        bytes[at(index) + DESCRIPTOR_STATUS] = FrameStatus.PENDING;
      }
      wasm.verify(0, frames, 2 ** 32 - 1);
    },
    check: () => {
      for (const index of addresses.keys()) {
        assert.equal(bytes[at(index) + DESCRIPTOR_STATUS], FrameStatus.VERIFIED);
      }
    },
  };
}

/** The same batch by node:crypto, as the gateway verifies the frames above the crossover. */
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
    check: () => assert.equal(held, frames),
  };
}

/**
 * The payload size at which two lines cross: between the last size where the module's batch is the
 * faster and the next, both times taken as straight there.
 */
function crossover(points: { size: number; simd: number; crypto: number }[]): number | undefined {
  for (let index = points.length - 1; index > 0; index--) {
    const low = points[index - 1];
    const high = points[index];
    if (!low || !high || low.simd > low.crypto || high.simd <= high.crypto) continue;
    const before = low.crypto - low.simd;
    const after = high.simd - high.crypto;
    return Math.round(low.size + ((high.size - low.size) * before) / (before + after));
  }
  return undefined;
}

/** Verification rates by payload size, and where node:crypto becomes the faster. */
export async function run(): Promise<void> {
  const points = [];
  for (const size of PAYLOAD_SIZES) {
    const tasks = [cryptoTask(size), wasmTask('scalar', size), wasmTask('simd', size)];
    const figures = await measure(`verify, frames with ${size} B of payload`, tasks);
    const [crypto, , simd] = figures as [MicroFigure, MicroFigure, MicroFigure];
    points.push({ size, simd: simd.frameNs, crypto: crypto.frameNs });
  }
  const size = crossover(points);
  const told = size === undefined ? 'not within these sizes' : `at about ${size} B of payload`;
  process.stdout.write(`createHmac becomes faster than the SIMD batch ${told}\n\n`);
}
