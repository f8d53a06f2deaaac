// Verifies four frames at once, each in a lane of its own, of any size and with its own key. A lane
// that is done takes the next pending frame, so no lane waits for a longer neighbour:
//
//   lane 0   HEAD BODY BODY TAIL OUTER │ HEAD TAIL OUTER │ HEAD …
//   lane 1   HEAD TAIL OUTER │ HEAD BODY BODY BODY …
//
// A step is one block of each lane; a run is as many steps as all lanes have contiguous blocks for.
import {
  DESCRIPTOR_ADDRESS, DESCRIPTOR_SESSION, DESCRIPTOR_SIZE, KEY_BYTES, KEY_INNER, KEY_OUTER,
  OFFSET_HMAC,
} from './layout';
import {
  SCRATCH_LANES, SCRATCH_SCHEDULE, SCRATCH_STAGES, SCRATCH_STATE, SCRATCH_STATES, STAGE_BYTES,
  STAGE_HEAD, STAGE_OUTER, STAGE_TAIL, keyBase, scratch,
} from './instance';
import { BLOCK_BYTES, bodyBlocks, stageFrame, stageOuter } from './message';
import { hashBlocks, storeDigest } from './sha256';
import { hashBlocks4 } from './sha256x4';
import { descriptorAt, isPending, settle } from './verify';
import { equal32 } from './hmac';

export const LANES: u32 = 4;
/** One step costs as much as two blocks hashed alone (measured), so a lone lane goes on alone. */
const LANES_MIN: u32 = 2;

// A lane's record.
const LANE_BYTES: usize = 32;
const LANE_PART: usize = 0; // what is being hashed
const LANE_AT: usize = 4; // its next block
const LANE_LEFT: usize = 8; // its blocks left, 0 in an idle lane
const LANE_DESCRIPTOR: usize = 12;
const LANE_FRAME: usize = 16;
const LANE_BODY: usize = 20; // blocks of the body
const LANE_TAIL: usize = 24; // blocks of the tail
const LANE_KEY: usize = 28;

const PART_HEAD: u32 = 0;
const PART_BODY: u32 = 1;
const PART_TAIL: u32 = 2;
const PART_OUTER: u32 = 3;

// The call's own position: descriptors not looked at yet, and frames passed over.
let nextSeq: u32 = 0;
let unseen: u32 = 0;
let tooLarge: u32 = 0;
let sizeLimit: u32 = 0;

export function verifyLanes(seq: u32, count: u32, maxSize: u32): u32 {
  nextSeq = seq;
  unseen = count;
  tooLarge = 0;
  sizeLimit = maxSize;
  let busy: u32 = 0;
  for (let lane: u32 = 0; lane < LANES; ++lane) busy += <u32>take(lane);
  while (busy >= LANES_MIN) busy -= step();
  for (let lane: u32 = 0; busy != 0 && lane < LANES; ++lane) goOnAlone(lane);
  return tooLarge;
}

/** One run of all lanes; returns how many went idle. */
function step(): u32 {
  let run: u32 = u32.MAX_VALUE;
  let any: u32 = 0;
  for (let lane: u32 = 0; lane < LANES; ++lane) {
    const left = load<u32>(record(lane), LANE_LEFT);
    if (left == 0) continue;
    any = load<u32>(record(lane), LANE_AT);
    if (left < run) run = left;
  }
  // An idle lane hashes what another does; nobody reads its result.
  hashBlocks4(
    scratch + SCRATCH_STATES, scratch + SCRATCH_SCHEDULE,
    source(0, any), source(1, any), source(2, any), source(3, any), run,
  );
  let idled: u32 = 0;
  for (let lane: u32 = 0; lane < LANES; ++lane) {
    const left = load<u32>(record(lane), LANE_LEFT);
    if (left == 0) continue;
    store<u32>(record(lane), load<u32>(record(lane), LANE_AT) + run * BLOCK_BYTES, LANE_AT);
    store<u32>(record(lane), left - run, LANE_LEFT);
    if (left == run) idled += <u32>!advance(lane);
  }
  return idled;
}

/** Finishes the frame of a lane without the others. There is no frame to take after it. */
function goOnAlone(lane: u32): void {
  const state = scratch + SCRATCH_STATE;
  const at = record(lane);
  while (load<u32>(at, LANE_LEFT) != 0) {
    readColumn(lane, state);
    hashBlocks(state, load<u32>(at, LANE_AT), load<u32>(at, LANE_LEFT));
    writeColumn(lane, state);
    advance(lane);
  }
}

/** Moves a lane that has hashed a part to the next; false where it is idle then. */
function advance(lane: u32): bool {
  const at = record(lane);
  const stage = stageOf(lane);
  const part = load<u32>(at, LANE_PART);
  if (part == PART_HEAD) {
    begin(at, PART_BODY, load<u32>(at, LANE_FRAME) + BLOCK_BYTES, load<u32>(at, LANE_BODY));
  } else if (part == PART_BODY) {
    begin(at, PART_TAIL, stage + STAGE_TAIL, load<u32>(at, LANE_TAIL));
  } else if (part == PART_TAIL) {
    const state = scratch + SCRATCH_STATE;
    readColumn(lane, state);
    storeDigest(state, stage + STAGE_OUTER);
    stageOuter(stage + STAGE_OUTER);
    writeColumn(lane, <usize>load<u32>(at, LANE_KEY) + KEY_OUTER);
    begin(at, PART_OUTER, stage + STAGE_OUTER, 1);
  } else {
    const state = scratch + SCRATCH_STATE;
    readColumn(lane, state);
    storeDigest(state, state);
    const frame = <usize>load<u32>(at, LANE_FRAME);
    settle(load<u32>(at, LANE_DESCRIPTOR), equal32(state, frame + OFFSET_HMAC));
    return take(lane);
  }
  return true;
}

/** Gives a lane the next pending frame; false where there is none. */
function take(lane: u32): bool {
  const at = record(lane);
  store<u32>(at, 0, LANE_LEFT);
  for (; unseen != 0; --unseen, ++nextSeq) {
    const descriptor = descriptorAt(nextSeq);
    if (!isPending(descriptor)) continue;
    const size = load<u32>(descriptor, DESCRIPTOR_SIZE);
    if (size > sizeLimit) {
      tooLarge += 1;
      continue;
    }
    fill(lane, descriptor, load<u32>(descriptor, DESCRIPTOR_ADDRESS), size);
    --unseen;
    ++nextSeq;
    return true;
  }
  return false;
}

function fill(lane: u32, descriptor: usize, frame: usize, size: u32): void {
  const at = record(lane);
  const stage = stageOf(lane);
  const key = keyBase + <usize>load<u32>(descriptor, DESCRIPTOR_SESSION) * KEY_BYTES;
  const tail = stageFrame(stage, frame, size);
  const body = bodyBlocks(size);
  store<u32>(at, <u32>descriptor, LANE_DESCRIPTOR);
  store<u32>(at, <u32>frame, LANE_FRAME);
  store<u32>(at, body, LANE_BODY);
  store<u32>(at, tail, LANE_TAIL);
  store<u32>(at, <u32>key, LANE_KEY);
  writeColumn(lane, key + KEY_INNER);
  // Without a body, head and tail are side by side: one part.
  if (body == 0) begin(at, PART_TAIL, stage + STAGE_HEAD, 1 + tail);
  else begin(at, PART_HEAD, stage + STAGE_HEAD, 1);
}

@inline
function begin(at: usize, part: u32, from: usize, blocks: u32): void {
  store<u32>(at, part, LANE_PART);
  store<u32>(at, <u32>from, LANE_AT);
  store<u32>(at, blocks, LANE_LEFT);
}

@inline
function record(lane: u32): usize {
  return scratch + SCRATCH_LANES + <usize>lane * LANE_BYTES;
}

@inline
function stageOf(lane: u32): usize {
  return scratch + SCRATCH_STAGES + <usize>lane * STAGE_BYTES;
}

@inline
function source(lane: u32, other: u32): usize {
  const at = record(lane);
  return load<u32>(at, LANE_LEFT) == 0 ? other : load<u32>(at, LANE_AT);
}

/** Copies a lane's state out of the four; word i of lane l is at 16 i + 4 l. */
function readColumn(lane: u32, to: usize): void {
  const from = scratch + SCRATCH_STATES + <usize>lane * 4;
  for (let i: usize = 0; i != 8; ++i) store<u32>(to + i * 4, load<u32>(from + i * 16));
}

function writeColumn(lane: u32, from: usize): void {
  const to = scratch + SCRATCH_STATES + <usize>lane * 4;
  for (let i: usize = 0; i != 8; ++i) store<u32>(to + i * 16, load<u32>(from + i * 4));
}
