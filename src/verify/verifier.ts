import type { RingConsumer } from '../ring/consumer.js';
import { FrameStatus, Kind } from '../ring/layout.js';
import type { WasmInstance } from '../wasm/bindings.js';
import { Reject } from '../wire/reject.js';
import { holdsInPlace, type OneShotHash, oneShotHash } from './in-place.js';
import type { SessionKey } from './session-key.js';

/**
 * Payloads up to this size are hashed in the module, larger ones by `node:crypto`, whose call costs
 * more and whose bytes cost less. Where the two cross depends on how many frames a batch has: the
 * module hashes four at once, and one or two no faster than without SIMD. Measured by
 * `npm run bench` (hmac), its last lines: 730 to 790 bytes in batches that fill the lanes, 390 to
 * 410 in batches of 3 and 6, 120 to 160 in smaller ones and in the scalar build.
 */
export const HMAC_WASM_PAYLOAD_BYTES_MAX = 768;
export const HMAC_WASM_PAYLOAD_BYTES_MAX_FEW = 384;
export const HMAC_WASM_PAYLOAD_BYTES_MAX_SINGLE = 128;
/** From so many descriptors on, a batch has few frames; from so many on, enough. */
const FEW_FRAMES = 3;
const ENOUGH_FRAMES = 8;

/**
 * The largest payload to be hashed in the module.
 *
 * @param count descriptors of the batch; that some of them are events, or large, matters little
 * @param lanes frames that the module hashes at once
 */
export function moduleBytesMax(count: number, lanes: number): number {
  if (count < FEW_FRAMES || lanes === 1) return HMAC_WASM_PAYLOAD_BYTES_MAX_SINGLE;
  return count < ENOUGH_FRAMES ? HMAC_WASM_PAYLOAD_BYTES_MAX_FEW : HMAC_WASM_PAYLOAD_BYTES_MAX;
}

/** Sets the status of every frame in a batch of descriptors: nothing is trusted before. */
export class Verifier {
  readonly #bindings: WasmInstance;
  readonly #consumer: RingConsumer;
  readonly #memory: Buffer;
  readonly #hash: OneShotHash | null;

  /** @param hash null: large frames are verified by `createHmac` */
  constructor(
    bindings: WasmInstance,
    consumer: RingConsumer,
    memory: Buffer,
    hash: OneShotHash | null = oneShotHash,
  ) {
    this.#bindings = bindings;
    this.#consumer = consumer;
    this.#memory = memory;
    this.#hash = hash;
  }

  /**
   * @param first sequence of the batch's first descriptor
   * @param keyOf the key in force of a session slot, set in the module too; undefined where there
   *   is none
   */
  verify(first: number, count: number, keyOf: (slot: number) => SessionKey | undefined): void {
    const consumer = this.#consumer;
    const bindings = this.#bindings;
    let large = bindings.verify(first, count, moduleBytesMax(count, bindings.lanes));
    for (let index = 0; large > 0 && index < count; index += 1) {
      const seq = (first + index) >>> 0;
      if (consumer.kind(seq) !== Kind.FRAME) continue;
      if (consumer.status(seq) !== FrameStatus.PENDING) continue;
      large -= 1;
      const holds = this.#holds(seq, keyOf(consumer.session(seq)));
      consumer.setStatus(seq, holds ? FrameStatus.VERIFIED : Reject.BAD_HMAC);
    }
  }

  #holds(seq: number, key: SessionKey | undefined): boolean {
    if (!key) return false;
    const address = this.#consumer.address(seq);
    const size = this.#consumer.size(seq);
    const hash = this.#hash;
    if (!hash) return key.verify(this.#memory, address, size);
    const slot = this.#consumer.session(seq);
    return holdsInPlace(this.#bindings, this.#memory, slot, address, size, hash);
  }
}
