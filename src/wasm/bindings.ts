import {
  CONTROL_BASE,
  CONTROL_TYPES,
  type MemoryMap,
  SCAN_CONSUMED,
  SCAN_COUNT,
  SCAN_NEED,
  SCRATCH_BYTES,
} from '../ring/layout.js';

/** What the module exports. Addresses, lengths and counts are u32: any number below 2^32. */
export interface WasmExports {
  init(
    scratch: number,
    sessionBase: number,
    keyBase: number,
    descriptorBase: number,
    descriptorMask: number,
    typesBase: number,
    maxPayload: number,
  ): void;
  scan(
    region: number,
    length: number,
    session: number,
    head: number,
    room: number,
    releaseBase: number,
    nowSeconds: number,
    skewSeconds: number,
  ): number;
  verify(seq: number, count: number, maxSize: number): number;
  lanes(): number;
  layPad(slot: number, frame: number): void;
  liftPad(slot: number, frame: number): number;
  setKey(slot: number, key: number, keyBytes: number): void;
  hmac(slot: number, message: number, bytes: number, out: number): void;
  hmacFrame(slot: number, frame: number, size: number, out: number): void;
  sha256(message: number, bytes: number, out: number): void;
  equal32(a: number, b: number): number;
}

/** Where, in an instance's scratch, the part begins that the module leaves to the host. */
export const SCRATCH_INPUT = 4096;
/** Where in it the host puts a digest for `liftPad`. */
export const SCRATCH_INNER = 1760;
/** The longest key that `setKey` takes. */
export const KEY_BYTES_MAX = SCRATCH_BYTES - SCRATCH_INPUT;

/** One thread's instance of the module. No call allocates but `setKey`. */
export class WasmInstance {
  readonly memory: WebAssembly.Memory;
  /** Address of KEY_BYTES_MAX bytes that the caller may use between calls; `setKey` uses them. */
  readonly input: number;
  /** Address of the 32 bytes where `liftPad` expects the inner digest. */
  readonly innerDigest: number;
  /** How many frames `verify` hashes at once: 4 in the SIMD build, else 1. */
  readonly lanes: number;
  readonly #exports: WasmExports;
  readonly #results: Uint32Array;

  constructor(
    exports: WasmExports,
    memory: WebAssembly.Memory,
    scratch: number,
    map: MemoryMap,
    maxPayloadBytes: number,
  ) {
    this.memory = memory;
    this.input = scratch + SCRATCH_INPUT;
    this.innerDigest = scratch + SCRATCH_INNER;
    this.lanes = exports.lanes();
    this.#exports = exports;
    this.#results = new Uint32Array(memory.buffer, scratch, 3);
    exports.init(
      scratch,
      map.sessionBase,
      map.keyBase,
      map.descriptorBase,
      map.descriptors - 1,
      CONTROL_BASE + CONTROL_TYPES,
      maxPayloadBytes,
    );
  }

  /**
   * Walks the frames of one session in place, and writes a descriptor for each whole one.
   *
   * @param region address of the first frame's header
   * @param length bytes there
   * @param session slot of the session
   * @param head sequence number of the first descriptor to write
   * @param room descriptors that may be written
   * @param releaseBase ring position (mod 2^32) of `region`
   * @param nowSeconds the clock, seconds since the epoch
   * @param skewSeconds how far from it a frame's timestamp may be; 0: any
   * @returns a ScanStatus, or the Reject code of the first bad header; then see `count`,
   *   `consumed` and `need`, which hold until the next scan
   */
  scan(
    region: number,
    length: number,
    session: number,
    head: number,
    room: number,
    releaseBase: number,
    nowSeconds: number,
    skewSeconds: number,
  ): number {
    return this.#exports.scan(
      region,
      length,
      session,
      head,
      room,
      releaseBase,
      nowSeconds,
      skewSeconds,
    );
  }

  /** Descriptors that the last scan wrote. */
  get count(): number {
    return this.#results[SCAN_COUNT / 4] as number;
  }

  /** Bytes of the frames they describe. */
  get consumed(): number {
    return this.#results[SCAN_CONSUMED / 4] as number;
  }

  /** After PARTIAL_FRAME, header and payload bytes of the frame that has begun; else 0. */
  get need(): number {
    return this.#results[SCAN_NEED / 4] as number;
  }

  /**
   * Keeps a session's key, as midstates and inner pad. The copy made of it in the shared memory is zeroed.
   *
   * @throws RangeError for a key over KEY_BYTES_MAX
   */
  setKey(slot: number, key: Uint8Array): void {
    if (key.length > KEY_BYTES_MAX) {
      throw new RangeError(`a key of ${key.length} bytes is over ${KEY_BYTES_MAX}`);
    }
    const copy = new Uint8Array(this.memory.buffer, this.input, key.length);
    copy.set(key);
    this.#exports.setKey(slot, this.input, key.length);
    copy.fill(0);
  }

  /**
   * Settles the pending frames among `count` descriptors from `seq` on: VERIFIED or BAD_HMAC.
   *
   * @param maxSize frames with more payload bytes stay pending
   * @returns how many stay pending for that
   */
  verify(seq: number, count: number, maxSize: number): number {
    return this.#exports.verify(seq, count, maxSize) >>> 0;
  }

  /**
   * Prepares the inner hash of a frame where it stands: lays the inner pad of the slot's key into
   * the GUARD_BYTES in front of it, and zeros into its HMAC field. SHA-256 from the pad to the end
   * of the payload is then the inner digest. `liftPad` must follow, whatever happens, before
   * anything else looks at the memory or calls this instance.
   */
  layPad(slot: number, frame: number): void {
    this.#exports.layPad(slot, frame);
  }

  /**
   * Restores what `layPad` changed.
   *
   * @returns whether the digest put at `innerDigest` makes the frame's HMAC; constant time
   */
  liftPad(slot: number, frame: number): boolean {
    return this.#exports.liftPad(slot, frame) !== 0;
  }

  /** HMAC-SHA-256 of `bytes` bytes at `message` with the slot's key: 32 bytes to `out`. */
  hmac(slot: number, message: number, bytes: number, out: number): void {
    this.#exports.hmac(slot, message, bytes, out);
  }

  /** HMAC-SHA-256 of the frame at `frame`, its HMAC field taken as zero: 32 bytes to `out`. */
  hmacFrame(slot: number, frame: number, size: number, out: number): void {
    this.#exports.hmacFrame(slot, frame, size, out);
  }

  /** SHA-256 of `bytes` bytes at `message`: 32 bytes to `out`. */
  sha256(message: number, bytes: number, out: number): void {
    this.#exports.sha256(message, bytes, out);
  }

  /** Whether the 32 bytes at two addresses are equal, in constant time. */
  equal32(a: number, b: number): boolean {
    return this.#exports.equal32(a, b) !== 0;
  }
}
