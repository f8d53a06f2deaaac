import type { RingConsumer } from '../ring/consumer.js';
import { FrameStatus, Kind } from '../ring/layout.js';
import type { WasmInstance } from '../wasm/bindings.js';
import { Reject } from '../wire/reject.js';
import type { SessionKey } from './session-key.js';

/**
 * Payloads up to this size are hashed in the module, larger ones by `node:crypto`, whose call costs
 * more and whose bytes cost less. `npm run bench` (hmac) measures where the two cross.
 */
export const HMAC_WASM_PAYLOAD_BYTES_MAX = 2_048;

/** Sets the status of every frame in a batch of descriptors: nothing is trusted before. */
export class Verifier {
  readonly #bindings: WasmInstance;
  readonly #consumer: RingConsumer;
  readonly #memory: Buffer;

  constructor(bindings: WasmInstance, consumer: RingConsumer, memory: Buffer) {
    this.#bindings = bindings;
    this.#consumer = consumer;
    this.#memory = memory;
  }

  /**
   * @param first sequence of the batch's first descriptor
   * @param keyOf the key in force of a session slot; undefined where there is none
   */
  verify(first: number, count: number, keyOf: (slot: number) => SessionKey | undefined): void {
    const consumer = this.#consumer;
    let large = this.#bindings.verify(first, count, HMAC_WASM_PAYLOAD_BYTES_MAX);
    for (let index = 0; large > 0 && index < count; index += 1) {
      const seq = (first + index) >>> 0;
      if (consumer.kind(seq) !== Kind.FRAME) continue;
      if (consumer.status(seq) !== FrameStatus.PENDING) continue;
      large -= 1;
      const key = keyOf(consumer.session(seq));
      const holds = key?.verify(this.#memory, consumer.address(seq), consumer.size(seq));
      consumer.setStatus(seq, holds ? FrameStatus.VERIFIED : Reject.BAD_HMAC);
    }
  }
}
