import {
  OFFSET_SIZE, OFFSET_TIMESTAMP, OFFSET_TYPE, OFFSET_UUID, OFFSET_VERSION, PROTOCOL_VERSION,
  REJECT_BAD_TYPE, REJECT_BAD_UUID, REJECT_BAD_VERSION, REJECT_TIMESTAMP_SKEW, REJECT_TOO_LARGE,
  REJECT_TYPE_CHANGED, REJECT_UUID_CHANGED, SCAN_STATUS_NEW_SESSION, SESSION_STATE,
  SESSION_STATE_EMPTY, SESSION_TYPE, SESSION_UUID, TYPE_EXTENDED, TYPE_META,
} from './layout';
import { maxPayload, typesBase } from './instance';

/** 0 for a header that its session may send, else a reject or SCAN_STATUS_NEW_SESSION. */
@inline
export function checkHeader(header: usize, slot: usize, now: u64, skewSeconds: u32): i32 {
  if (<u32>load<u8>(header, OFFSET_VERSION) != PROTOCOL_VERSION) return REJECT_BAD_VERSION;
  const type = <u32>load<u8>(header, OFFSET_TYPE);
  if (type == 0 || !accepted(type)) return REJECT_BAD_TYPE;
  // The high nibble of byte 6 is the UUID's version, the top two bits of byte 8 its variant.
  if ((load<u8>(header, OFFSET_UUID + 6) & 0xf0) != 0x40) return REJECT_BAD_UUID;
  if ((load<u8>(header, OFFSET_UUID + 8) & 0xc0) != 0x80) return REJECT_BAD_UUID;
  if (load<u32>(header, OFFSET_SIZE) > maxPayload) return REJECT_TOO_LARGE;
  if (skewSeconds != 0) {
    const time = load<u64>(header, OFFSET_TIMESTAMP);
    if ((time > now ? time - now : now - time) > <u64>skewSeconds) return REJECT_TIMESTAMP_SKEW;
  }
  return checkSession(header, slot, type);
}

@inline
function checkSession(header: usize, slot: usize, type: u32): i32 {
  if (<u32>load<u8>(slot, SESSION_STATE) == SESSION_STATE_EMPTY) return SCAN_STATUS_NEW_SESSION;
  const first = load<u64>(header, OFFSET_UUID) ^ load<u64>(slot, SESSION_UUID);
  const second = load<u64>(header, OFFSET_UUID + 8) ^ load<u64>(slot, SESSION_UUID + 8);
  if ((first | second) != 0) return REJECT_UUID_CHANGED;
  const inForce = <u32>load<u8>(slot, SESSION_TYPE);
  if (type != inForce) {
    if (inForce != TYPE_META || type != TYPE_EXTENDED) return REJECT_TYPE_CHANGED;
    // Safe for a header that will be seen again, once its payload is there: 254 stays valid.
    store<u8>(slot, TYPE_EXTENDED, SESSION_TYPE);
  }
  return 0;
}

@inline
function accepted(type: u32): bool {
  return ((<u32>load<u8>(typesBase + (type >> 3)) >> (type & 7)) & 1) != 0;
}
