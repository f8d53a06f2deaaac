import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { HEADER_BYTES } from '../../src/wire/layout.js';
import { type MicroTask, measure } from './measure.js';

const BATCH_BYTES = 512 * 1024;
const PAYLOAD_SIZES = [128, 1024, 16_384, 65_536];

/** Frames in shared memory, as in the ring, and a block that their payloads are gathered into. */
function prepare(size: number) {
  const frames = Math.max(1, Math.floor(BATCH_BYTES / (HEADER_BYTES + size)));
  const ringBytes = frames * (HEADER_BYTES + size);
  const memory = Buffer.from(new SharedArrayBuffer(ringBytes + frames * size));
  const expected = Buffer.alloc(frames * size);
  for (let frame = 0; frame < frames; frame++) {
    const payload = randomBytes(size);
    payload.copy(memory, frame * (HEADER_BYTES + size) + HEADER_BYTES);
    payload.copy(expected, frame * size);
  }
  return { frames, ringBytes, memory, expected };
}

/** How one payload's bytes get from a place to another of one memory. */
type Copy = (memory: Buffer, target: number, from: number, to: number) => void;

const COPIES: Record<string, Copy> = {
  'Buffer.copy': (memory, target, from, to) => {
    memory.copy(memory, target, from, to);
  },
  copyWithin: (memory, target, from, to) => {
    memory.copyWithin(target, from, to);
  },
  'set(subarray)': (memory, target, from, to) => {
    memory.set(memory.subarray(from, to), target);
  },
};

function gatherTask(name: string, copy: Copy, size: number): MicroTask {
  const { frames, ringBytes, memory, expected } = prepare(size);
  return {
    name,
    frames,
    bytes: frames * size,
    work: () => {
      let from = HEADER_BYTES;
      for (let frame = 0; frame < frames; frame++) {
        copy(memory, ringBytes + frame * size, from, from + size);
        from += HEADER_BYTES + size;
      }
    },
    check: () => assert.ok(memory.subarray(ringBytes).equals(expected)),
  };
}

/** What a naive sink does: a new buffer of all payloads. */
function concatTask(size: number): MicroTask {
  const { frames, memory, expected } = prepare(size);
  let joined = Buffer.alloc(0);
  return {
    name: 'Buffer.concat',
    frames,
    bytes: frames * size,
    work: () => {
      const parts: Buffer[] = [];
      for (let frame = 0; frame < frames; frame++) {
        const from = frame * (HEADER_BYTES + size) + HEADER_BYTES;
        parts.push(memory.subarray(from, from + size));
      }
      joined = Buffer.concat(parts);
    },
    check: () => assert.ok(joined.equals(expected)),
  };
}

/** Gathering payloads from between their headers into one block. */
export async function run(): Promise<void> {
  for (const size of PAYLOAD_SIZES) {
    const tasks = Object.entries(COPIES).map(([name, copy]) => gatherTask(name, copy, size));
    await measure(`gather, frames with ${size} B of payload`, [...tasks, concatTask(size)]);
  }
}
