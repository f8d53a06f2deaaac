/**
 * The map of one worker's shared memory, sized once at start (a grown memory is a new object).
 *
 *   0        1 KiB       64 KiB     68 KiB
 *   ┌────────┬───────────┬──────────┬──────────┬───────┬───────┬─────────────┬─────────┬─┬───────────┬───────┐
 *   │ unused │ wasm data │ control  │ sessions │ keys  │ cuts  │ descriptors │ reading │G│ byte ring │ arena │
 *   │ (null) │ + scratch │ head,tail│ 64 B each│ 128 B │ 64 B  │ 32 B each   │ 64 KiB  │ │ ringBytes │ + pool│
 *   └────────┴───────────┴──────────┴──────────┴───────┴───────┴─────────────┴─────────┴─┴───────────┴───────┘
 *
 * G: GUARD_BYTES in front of the ring, see there.
 *
 * Who writes what:
 *  - control: each word has one writer (see below); head and tail lie on separate cache lines;
 *  - sessions: the I/O thread (through `scan`); the sink thread reads;
 *  - keys: the sink thread alone;
 *  - descriptors: the I/O thread until published, then the sink thread (the status byte) until
 *    released;
 *  - cuts: the I/O thread alone, the start of a header that a read has cut, by session slot;
 *  - reading: the I/O thread alone, where sockets put what they read;
 *  - byte ring and assembly arena: as their descriptors, and with a frame the GUARD_BYTES in front
 *    of it, which the sink thread may change for the time of one call;
 *  - block pool: the sink thread alone.
 */
export const WASM_PAGE_BYTES = 65536;
export const CACHE_LINE_BYTES = 128;

/** Static data of the module (constants that are only ever read) begins here: asconfig.json. */
export const WASM_DATA_BASE = 1024;
/** Scratch of an instance: message schedules, scan results. One per thread. */
export const SCRATCH_PRODUCER = 16384;
export const SCRATCH_CONSUMER = 32768;
export const SCRATCH_BYTES = 16384;

export const CONTROL_BASE = 65536;
export const CONTROL_BYTES = 4096;
/** Byte offsets from CONTROL_BASE of u32 words, each on a cache line of its own. */
export const CONTROL_HEAD = 0; // producer writes: descriptors published, mod 2^32
export const CONTROL_TAIL = CACHE_LINE_BYTES; // consumer writes: descriptors released, mod 2^32
export const CONTROL_BYTE_TAIL = CACHE_LINE_BYTES + 4; // consumer writes: ring bytes released
export const CONTROL_CONSUMER_ASLEEP = 2 * CACHE_LINE_BYTES;
export const CONTROL_PRODUCER_ASLEEP = 3 * CACHE_LINE_BYTES;
/** 256 bits, bit t set: type t is accepted. The I/O thread writes, `scan` reads. */
export const CONTROL_TYPES = 4 * CACHE_LINE_BYTES;

/** A session's slot: what the scan compares each header with, and what it counts. */
export const SESSION_BYTES = 64;
export const SESSION_STATE = 0; // u8: SessionState
export const SESSION_TYPE = 1; // u8: type in force; 2 may become 254 once
export const SESSION_GENERATION = 4; // u32: tells two users of one slot apart
export const SESSION_UUID = 8; // 16 bytes
export const SESSION_FRAMES = 32; // f64: whole frames received
export const SESSION_PAYLOAD = 40; // f64: their payload bytes

export const SessionState = { EMPTY: 0, FIXED: 1 } as const;

/**
 * A session's HMAC key: the two SHA-256 midstates (8 × u32 each, host order), and the block that the
 * inner one was made of, for hashing outside the module.
 */
export const KEY_BYTES = 128;
export const KEY_INNER = 0;
export const KEY_OUTER = 32;
export const KEY_PAD = 64; // 64 bytes: the key's block XOR 0x36

/**
 * In front of each published frame so many bytes are the sink thread's too: it lays the key's inner
 * pad there while it hashes a large frame where it stands (one SHA-256 block), and puts back what
 * was there. Four places can be in front of a frame, and in none does the other thread write:
 *  - an earlier record that is not released: the sink thread's own;
 *  - released ring space: `reserve` keeps this distance from the byte tail;
 *  - the ring's first byte: `mapMemory` leaves a guard before it;
 *  - an arena block: a frame begins so far inside its own.
 */
export const GUARD_BYTES = 64;

/**
 * The largest region that an empty byte ring always has room for, wherever it begins: one byte too
 * long for what is left before the wrap it costs itself, a gap one byte shorter, and the guard.
 */
export function regionBytesMax(ringBytes: number): number {
  return (ringBytes - GUARD_BYTES) / 2;
}

/** By session slot: room for a header that a read has cut. */
export const CUT_BYTES = 64;

/** Where all sockets of a worker put what they read: as much as Node reads at once. */
export const READ_BYTES = 65_536;

/** One entry of the descriptor ring. */
export const DESCRIPTOR_BYTES = 32;
export const DESCRIPTOR_ADDRESS = 0; // u32: frame header (FRAME), event text (OPEN, END)
export const DESCRIPTOR_SIZE = 4; // u32: payload bytes (FRAME), text bytes (OPEN, END)
export const DESCRIPTOR_SESSION = 8; // u32: session slot
export const DESCRIPTOR_KIND = 12; // u8
export const DESCRIPTOR_TYPE = 13; // u8: D4 type of a frame
export const DESCRIPTOR_STATUS = 14; // u8: FrameStatus; for END the End or Reject code
export const DESCRIPTOR_PLACE = 15; // u8: 0 byte ring, 1 arena
export const DESCRIPTOR_RELEASE = 16; // u32: ring position (mod 2^32) free once this is released
export const DESCRIPTOR_GENERATION = 20; // u32: generation of the session slot

/** A MARK belongs to no session: it tells that all before it was published. */
export const Kind = { FRAME: 1, OPEN: 2, END: 3, MARK: 4 } as const;
export const FrameStatus = { PENDING: 0, VERIFIED: 1 } as const; // or Reject.BAD_HMAC
export const Place = { RING: 0, ARENA: 1 } as const;

/** Results of `scan` below 16; 16 and up are `Reject` codes. */
export const ScanStatus = {
  /** The region ended at a frame boundary. */
  DONE: 0,
  /** Fewer than 62 bytes are left. */
  PARTIAL_HEADER: 1,
  /** A valid header is left whose payload is not all there; `need` is the frame's whole size. */
  PARTIAL_FRAME: 2,
  /** The descriptor ring has no room. */
  ROOM: 3,
  /** A valid first header; the session's identity is not fixed yet. */
  NEW_SESSION: 4,
} as const;

/** Offsets from the instance's scratch where `scan` leaves its results (u32 each). */
export const SCAN_COUNT = 0; // descriptors written
export const SCAN_CONSUMED = 4; // bytes of whole frames
export const SCAN_NEED = 8; // with PARTIAL_FRAME: header + payload bytes of the frame begun

export interface MemoryOptions {
  /** Session slots: connections that this worker can hold. */
  sessions: number;
  /** Entries of the descriptor ring, a power of two. */
  descriptors: number;
  /** Bytes of the byte ring, a power of two. */
  ringBytes: number;
  /** Bytes for frames under assembly. */
  assemblyBytes: number;
  /** Bytes for blocks that sinks fill and write. */
  poolBytes: number;
}

export interface MemoryMap extends MemoryOptions {
  sessionBase: number;
  keyBase: number;
  cutBase: number;
  descriptorBase: number;
  readBase: number;
  ringBase: number;
  arenaBase: number;
  poolBase: number;
  pages: number;
}

/** Where each region begins; regions are aligned to 4096 bytes for direct I/O. */
export function mapMemory(options: MemoryOptions): MemoryMap {
  const aligned = (value: number) => Math.ceil(value / 4096) * 4096;
  const sessionBase = CONTROL_BASE + CONTROL_BYTES;
  const keyBase = aligned(sessionBase + options.sessions * SESSION_BYTES);
  const cutBase = aligned(keyBase + options.sessions * KEY_BYTES);
  const descriptorBase = aligned(cutBase + options.sessions * CUT_BYTES);
  const readBase = aligned(descriptorBase + options.descriptors * DESCRIPTOR_BYTES);
  const ringBase = aligned(readBase + READ_BYTES + GUARD_BYTES);
  const arenaBase = aligned(ringBase + options.ringBytes);
  const poolBase = aligned(arenaBase + options.assemblyBytes);
  const end = poolBase + options.poolBytes;
  if (end > 65536 * WASM_PAGE_BYTES) {
    throw new RangeError(`the shared memory would need ${end} bytes, over 4 GiB`);
  }
  const pages = Math.ceil(end / WASM_PAGE_BYTES);
  return {
    ...options,
    sessionBase,
    keyBase,
    cutBase,
    descriptorBase,
    readBase,
    ringBase,
    arenaBase,
    poolBase,
    pages,
  };
}
