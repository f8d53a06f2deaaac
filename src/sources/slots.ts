import {
  type MemoryMap,
  SESSION_BYTES,
  SESSION_FRAMES,
  SESSION_GENERATION,
  SESSION_PAYLOAD,
  SESSION_STATE,
  SESSION_TYPE,
  SESSION_UUID,
  SessionState,
} from '../ring/layout.js';
import { OFFSET_TYPE, OFFSET_UUID, UUID_BYTES } from '../wire/layout.js';

/** The session slots in shared memory, as the I/O thread hands them out and writes them. */
export class SessionSlots {
  readonly #memory: Uint8Array;
  readonly #view: DataView;
  readonly #base: number;
  readonly #free: number[];

  constructor(memory: WebAssembly.Memory, map: MemoryMap) {
    this.#memory = new Uint8Array(memory.buffer);
    this.#view = new DataView(memory.buffer);
    this.#base = map.sessionBase;
    this.#free = Array.from({ length: map.sessions }, (_, index) => map.sessions - 1 - index);
  }

  /** A slot with a new generation and no identity; undefined when all are taken. */
  take(): { slot: number; generation: number } | undefined {
    const slot = this.#free.pop();
    if (slot === undefined) return undefined;
    const at = this.#base + slot * SESSION_BYTES;
    const generation = (this.#view.getUint32(at + SESSION_GENERATION, true) + 1) >>> 0;
    this.#memory.fill(0, at, at + SESSION_BYTES);
    this.#view.setUint32(at + SESSION_GENERATION, generation, true);
    return { slot, generation };
  }

  /** The slot may serve another connection. */
  give(slot: number): void {
    this.#free.push(slot);
  }

  /** Fixes the session's sensor and type to those of the frame header. */
  fix(slot: number, header: Uint8Array): void {
    const at = this.#base + slot * SESSION_BYTES;
    this.#memory.set(header.subarray(OFFSET_UUID, OFFSET_UUID + UUID_BYTES), at + SESSION_UUID);
    this.#memory[at + SESSION_TYPE] = header[OFFSET_TYPE]!;
    this.#memory[at + SESSION_STATE] = SessionState.FIXED;
  }

  /** Counts a frame that was assembled outside the ring; `scan` counts the others. */
  count(slot: number, payloadBytes: number): void {
    const at = this.#base + slot * SESSION_BYTES;
    const view = this.#view;
    view.setFloat64(at + SESSION_FRAMES, view.getFloat64(at + SESSION_FRAMES, true) + 1, true);
    const payload = view.getFloat64(at + SESSION_PAYLOAD, true) + payloadBytes;
    view.setFloat64(at + SESSION_PAYLOAD, payload, true);
  }
}
