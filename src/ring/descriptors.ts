import type { SharedMemory } from './control.js';
import {
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
  type MemoryMap,
} from './layout.js';

const WORDS = DESCRIPTOR_BYTES / 4;

export interface DescriptorFields {
  address: number;
  size: number;
  session: number;
  generation: number;
  kind: number;
  type: number;
  status: number;
  place: number;
  release: number;
}

/**
 * The fields of the descriptor ring by sequence (u32, mod 2^32), without an object a descriptor.
 * Plain loads and stores: the head, stored and loaded with Atomics, is what orders them.
 */
export class DescriptorTable {
  readonly #words: Uint32Array;
  readonly #bytes: Uint8Array;
  readonly #mask: number;

  constructor(memory: SharedMemory, map: MemoryMap) {
    const { descriptorBase: base, descriptors: count } = map;
    this.#words = new Uint32Array(memory.buffer, base, count * WORDS);
    this.#bytes = new Uint8Array(memory.buffer, base, count * DESCRIPTOR_BYTES);
    this.#mask = count - 1;
  }

  /** Frame header (FRAME) or text (OPEN, END) in the worker's memory. */
  address(sequence: number): number {
    return this.#words[(sequence & this.#mask) * WORDS + DESCRIPTOR_ADDRESS / 4]!;
  }

  /** Payload bytes (FRAME) or text bytes (OPEN, END). */
  size(sequence: number): number {
    return this.#words[(sequence & this.#mask) * WORDS + DESCRIPTOR_SIZE / 4]!;
  }

  /** Session slot. */
  session(sequence: number): number {
    return this.#words[(sequence & this.#mask) * WORDS + DESCRIPTOR_SESSION / 4]!;
  }

  /** Which user of the session slot this is. */
  generation(sequence: number): number {
    return this.#words[(sequence & this.#mask) * WORDS + DESCRIPTOR_GENERATION / 4]!;
  }

  /** A `Kind`. */
  kind(sequence: number): number {
    return this.#bytes[(sequence & this.#mask) * DESCRIPTOR_BYTES + DESCRIPTOR_KIND]!;
  }

  /** D4 type of a frame. */
  type(sequence: number): number {
    return this.#bytes[(sequence & this.#mask) * DESCRIPTOR_BYTES + DESCRIPTOR_TYPE]!;
  }

  /** `FrameStatus` or `Reject.BAD_HMAC` of a frame; `End` or `Reject` code of an END. */
  status(sequence: number): number {
    return this.#bytes[(sequence & this.#mask) * DESCRIPTOR_BYTES + DESCRIPTOR_STATUS]!;
  }

  setStatus(sequence: number, status: number): void {
    this.#bytes[(sequence & this.#mask) * DESCRIPTOR_BYTES + DESCRIPTOR_STATUS] = status;
  }

  /** A `Place`. */
  place(sequence: number): number {
    return this.#bytes[(sequence & this.#mask) * DESCRIPTOR_BYTES + DESCRIPTOR_PLACE]!;
  }

  /** Ring position (u32) up to which the byte ring is free once this descriptor is released. */
  releasePosition(sequence: number): number {
    return this.#words[(sequence & this.#mask) * WORDS + DESCRIPTOR_RELEASE / 4]!;
  }

  /** Writes a whole descriptor; only the producer, and only what is not published. */
  write(sequence: number, fields: DescriptorFields): void {
    const byte = (sequence & this.#mask) * DESCRIPTOR_BYTES;
    const word = byte / 4;
    this.#words[word + DESCRIPTOR_ADDRESS / 4] = fields.address;
    this.#words[word + DESCRIPTOR_SIZE / 4] = fields.size;
    this.#words[word + DESCRIPTOR_SESSION / 4] = fields.session;
    this.#words[word + DESCRIPTOR_RELEASE / 4] = fields.release;
    this.#words[word + DESCRIPTOR_GENERATION / 4] = fields.generation;
    this.#bytes[byte + DESCRIPTOR_KIND] = fields.kind;
    this.#bytes[byte + DESCRIPTOR_TYPE] = fields.type;
    this.#bytes[byte + DESCRIPTOR_STATUS] = fields.status;
    this.#bytes[byte + DESCRIPTOR_PLACE] = fields.place;
  }
}
