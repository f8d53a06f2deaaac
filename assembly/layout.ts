// The numbers that this module shares with the gateway: the wire (src/wire/layout.ts), the rejects
// (src/wire/reject.ts) and the shared memory (src/ring/layout.ts). A test holds each name equal.

// The frame, all integers little-endian.
export const PROTOCOL_VERSION: u32 = 1;
export const OFFSET_VERSION: usize = 0;
export const OFFSET_TYPE: usize = 1;
export const OFFSET_UUID: usize = 2;
export const UUID_BYTES: u32 = 16;
export const OFFSET_TIMESTAMP: usize = 18;
export const OFFSET_HMAC: usize = 26;
export const HMAC_BYTES: u32 = 32;
export const OFFSET_SIZE: usize = 58;
export const HEADER_BYTES: u32 = 62;

export const TYPE_META: u32 = 2;
export const TYPE_EXTENDED: u32 = 254;

export const REJECT_BAD_VERSION: i32 = 16;
export const REJECT_BAD_TYPE: i32 = 17;
export const REJECT_BAD_UUID: i32 = 18;
export const REJECT_TOO_LARGE: i32 = 19;
export const REJECT_UUID_CHANGED: i32 = 20;
export const REJECT_TYPE_CHANGED: i32 = 21;
export const REJECT_TIMESTAMP_SKEW: i32 = 22;
export const REJECT_BAD_HMAC: u32 = 48;

// A session's slot.
export const SESSION_BYTES: usize = 64;
export const SESSION_STATE: usize = 0;
export const SESSION_TYPE: usize = 1;
export const SESSION_GENERATION: usize = 4;
export const SESSION_UUID: usize = 8;
export const SESSION_FRAMES: usize = 32;
export const SESSION_PAYLOAD: usize = 40;
export const SESSION_STATE_EMPTY: u32 = 0;
export const SESSION_STATE_FIXED: u32 = 1;

// A key as two midstates and its inner pad, and the room for that in front of a frame.
export const KEY_BYTES: usize = 128;
export const KEY_INNER: usize = 0;
export const KEY_OUTER: usize = 32;
export const KEY_PAD: usize = 64;
export const GUARD_BYTES: usize = 64;

// A descriptor.
export const DESCRIPTOR_BYTES: usize = 32;
export const DESCRIPTOR_ADDRESS: usize = 0;
export const DESCRIPTOR_SIZE: usize = 4;
export const DESCRIPTOR_SESSION: usize = 8;
export const DESCRIPTOR_KIND: usize = 12;
export const DESCRIPTOR_TYPE: usize = 13;
export const DESCRIPTOR_STATUS: usize = 14;
export const DESCRIPTOR_PLACE: usize = 15;
export const DESCRIPTOR_RELEASE: usize = 16;
export const DESCRIPTOR_GENERATION: usize = 20;
export const KIND_FRAME: u32 = 1;
export const FRAME_STATUS_PENDING: u32 = 0;
export const FRAME_STATUS_VERIFIED: u32 = 1;
export const PLACE_RING: u32 = 0;

// What a scan returns and where, from the instance's scratch, it leaves the rest.
export const SCAN_STATUS_DONE: i32 = 0;
export const SCAN_STATUS_PARTIAL_HEADER: i32 = 1;
export const SCAN_STATUS_PARTIAL_FRAME: i32 = 2;
export const SCAN_STATUS_ROOM: i32 = 3;
export const SCAN_STATUS_NEW_SESSION: i32 = 4;
export const SCAN_COUNT: usize = 0;
export const SCAN_CONSUMED: usize = 4;
export const SCAN_NEED: usize = 8;

export const SCRATCH_BYTES: usize = 16384;
