import {
  DESCRIPTOR_ADDRESS, DESCRIPTOR_BYTES, DESCRIPTOR_GENERATION, DESCRIPTOR_KIND, DESCRIPTOR_PLACE,
  DESCRIPTOR_RELEASE, DESCRIPTOR_SESSION, DESCRIPTOR_SIZE, DESCRIPTOR_STATUS, DESCRIPTOR_TYPE,
  FRAME_STATUS_PENDING, HEADER_BYTES, KIND_FRAME, OFFSET_SIZE, OFFSET_TYPE, PLACE_RING,
  SCAN_CONSUMED, SCAN_COUNT, SCAN_NEED, SCAN_STATUS_DONE, SCAN_STATUS_PARTIAL_FRAME,
  SCAN_STATUS_PARTIAL_HEADER, SCAN_STATUS_ROOM, SESSION_BYTES, SESSION_FRAMES, SESSION_GENERATION,
  SESSION_PAYLOAD,
} from './layout';
import { descriptorBase, descriptorMask, scratch, sessionBase } from './instance';
import { checkHeader } from './header';

/**
 * Walks `length` bytes of one session's frames and writes a descriptor for each whole one, until
 * the region ends or something stops it: the status returned says what. The frames before a bad
 * one are described. A header is validated as soon as it is whole, its payload there or not, so the
 * same header may be validated by several scans.
 *
 * Offsets are compared with what is left, never added up, so that no size can wrap around.
 */
export function scan(
  region: usize,
  length: u32,
  session: u32,
  head: u32,
  room: u32,
  releaseBase: u32,
  nowSeconds: f64,
  skewSeconds: u32,
): i32 {
  const slot = sessionBase + <usize>session * SESSION_BYTES;
  const generation = load<u32>(slot, SESSION_GENERATION);
  const now = <u64>nowSeconds;
  let status = SCAN_STATUS_DONE;
  let offset: u32 = 0;
  let count: u32 = 0;
  let payload: u64 = 0;
  let need: u32 = 0;

  while (offset != length) {
    const left = length - offset;
    if (left < HEADER_BYTES) {
      status = SCAN_STATUS_PARTIAL_HEADER;
      break;
    }
    const header = region + offset;
    status = checkHeader(header, slot, now, skewSeconds);
    if (status != 0) break;
    const size = load<u32>(header, OFFSET_SIZE);
    if (size > left - HEADER_BYTES) {
      status = SCAN_STATUS_PARTIAL_FRAME;
      need = size > u32.MAX_VALUE - HEADER_BYTES ? u32.MAX_VALUE : HEADER_BYTES + size;
      break;
    }
    if (count == room) {
      status = SCAN_STATUS_ROOM;
      break;
    }
    offset += HEADER_BYTES + size;
    const descriptor = descriptorBase + <usize>((head + count) & descriptorMask) * DESCRIPTOR_BYTES;
    store<u32>(descriptor, <u32>header, DESCRIPTOR_ADDRESS);
    store<u32>(descriptor, size, DESCRIPTOR_SIZE);
    store<u32>(descriptor, session, DESCRIPTOR_SESSION);
    store<u8>(descriptor, KIND_FRAME, DESCRIPTOR_KIND);
    store<u8>(descriptor, load<u8>(header, OFFSET_TYPE), DESCRIPTOR_TYPE);
    store<u8>(descriptor, FRAME_STATUS_PENDING, DESCRIPTOR_STATUS);
    store<u8>(descriptor, PLACE_RING, DESCRIPTOR_PLACE);
    store<u32>(descriptor, releaseBase + offset, DESCRIPTOR_RELEASE);
    store<u32>(descriptor, generation, DESCRIPTOR_GENERATION);
    count += 1;
    payload += size;
  }

  store<f64>(slot, load<f64>(slot, SESSION_FRAMES) + <f64>count, SESSION_FRAMES);
  store<f64>(slot, load<f64>(slot, SESSION_PAYLOAD) + <f64>payload, SESSION_PAYLOAD);
  store<u32>(scratch, count, SCAN_COUNT);
  store<u32>(scratch, offset, SCAN_CONSUMED);
  store<u32>(scratch, need, SCAN_NEED);
  return status;
}
