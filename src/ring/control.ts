import { assert, isPowerOfTwo } from './assert.js';
import {
  CONTROL_BASE,
  CONTROL_BYTE_TAIL,
  CONTROL_BYTES,
  CONTROL_CONSUMER_ASLEEP,
  CONTROL_HEAD,
  CONTROL_PRODUCER_ASLEEP,
  CONTROL_TAIL,
  type MemoryMap,
} from './layout.js';

/** What the ring needs of a `WebAssembly.Memory`. Never grown, so its buffer stays the same. */
export interface SharedMemory {
  readonly buffer: ArrayBufferLike;
}

/** Indices of the control words in the view of `controlWords`. */
export const WORD_HEAD = CONTROL_HEAD / 4;
export const WORD_TAIL = CONTROL_TAIL / 4;
export const WORD_BYTE_TAIL = CONTROL_BYTE_TAIL / 4;
export const WORD_CONSUMER_ASLEEP = CONTROL_CONSUMER_ASLEEP / 4;
export const WORD_PRODUCER_ASLEEP = CONTROL_PRODUCER_ASLEEP / 4;

export function controlWords(memory: SharedMemory): Uint32Array {
  return new Uint32Array(memory.buffer, CONTROL_BASE, CONTROL_BYTES / 4);
}

/** Both ends mask positions instead of dividing, and compare them mod 2^32. */
export function assertRingShape(map: MemoryMap): void {
  assert(isPowerOfTwo(map.ringBytes), 'ringBytes is a power of two, at most 2^31');
  assert(isPowerOfTwo(map.descriptors), 'descriptors is a power of two, at most 2^31');
}

/** How far `to` lies ahead of `from`: both count mod 2^32. */
export function distance(from: number, to: number): number {
  return (to - from) >>> 0;
}
