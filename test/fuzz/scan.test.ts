import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Kind, SESSION_STATE, SessionState } from '../../src/ring/layout.js';
import { BUILDS, frame, Harness, Random, seedOfRun, TIME, UUID } from '../assembly/harness.js';
import { type ReferenceSession, referenceScan } from '../assembly/reference.js';

const TIME_BUDGET_MS = 3000;
const MAX_PAYLOAD = 3000;
const TYPES = [1, 2, 254];

/** A stream as a sensor might send it; in half of the runs one or more bits are flipped. */
function makeStream(random: Random): Buffer {
  const frames = [];
  const typed = random.pick([1, 2, 254]);
  let type = typed;
  for (let left = random.below(12); left > 0; left--) {
    if (typed === 2 && random.below(4) === 0) type = 254;
    const size = random.pick([0, 1, random.below(20), random.below(300), random.below(3010)]);
    const time = BigInt(TIME + random.pick([0, 0, 0, random.below(50) - 25]));
    frames.push(frame({ type, time, payload: Buffer.alloc(size, random.below(256)) }));
  }
  const stream = Buffer.concat(frames);
  if (stream.length > 0 && random.below(2) === 0) {
    for (let flips = 1 + random.below(3); flips > 0; flips--) {
      // Half of them in the first header, where most of a frame's meaning is.
      const at = random.below(random.below(2) === 0 ? Math.min(62, stream.length) : stream.length);
      stream[at] = (stream[at] as number) ^ (1 << random.below(8));
    }
  }
  return stream;
}

for (const build of BUILDS) {
  test(`scan (${build}) finds what the reference decoder finds`, (t) => {
    const seed = seedOfRun();
    t.diagnostic(`seed ${seed} (D4GW_SEED)`);
    const random = new Random(seed);
    const harness = new Harness(build, { maxPayloadBytes: MAX_PAYLOAD });
    const statuses = new Set<number>();
    const deadline = performance.now() + TIME_BUDGET_MS;
    let runs = 0;
    for (; performance.now() < deadline; runs++) scanInPieces(harness, random, statuses);
    t.diagnostic(`${runs} streams, statuses ${[...statuses].sort((a, b) => a - b).join(' ')}`);
    assert.ok(runs > 50);
  });
}

/** Sends one stream, cut at random places, through both decoders with the same sessions. */
function scanInPieces(harness: Harness, random: Random, statuses: Set<number>): void {
  const stream = makeStream(random);
  harness.accept(TYPES);
  harness.open(0, random.pick(TYPES));
  const session: ReferenceSession = { uuid: UUID.toString('hex'), type: harness.sessionType(0) };
  if (random.below(8) === 0) {
    harness.bytes[harness.slot(0) + SESSION_STATE] = SessionState.EMPTY;
    session.uuid = undefined;
  }
  const skewSeconds = random.pick([0, 0, 20]);
  const ringOffset = random.below(100);
  let head = random.below(2 ** 32);
  let at = 0;
  let end = 0;
  let frames = 0;
  let payload = 0;
  while (end < stream.length) {
    end = Math.min(stream.length, end + 1 + random.below(random.pick([10, 100, 5000])));
    const room = random.pick([0, 1, 2, 1000, 1000, 1000]);
    const limits = { types: TYPES, maxPayload: MAX_PAYLOAD, nowSeconds: TIME, skewSeconds, room };
    const part = stream.subarray(at, end);
    const expected = referenceScan(part, session, limits);
    // What lies behind the part is a frame too: a scan that reads on would find it.
    const address = harness.put(part, ringOffset);
    harness.put(frame({ type: session.type }), ringOffset + part.length);
    const base = random.below(2 ** 32);
    const status = harness.wasm.scan(address, part.length, 0, head, room, base, TIME, skewSeconds);
    statuses.add(status);
    assert.equal(status, expected.status);
    assert.equal(harness.wasm.count, expected.frames.length);
    assert.equal(harness.wasm.consumed, expected.consumed);
    assert.equal(harness.wasm.need, expected.need);
    assert.equal(harness.sessionType(0), session.type);
    for (const [index, found] of expected.frames.entries()) {
      assert.deepEqual(harness.descriptor(head + index), {
        address: address + found.offset,
        size: found.size,
        session: 0,
        kind: Kind.FRAME,
        type: found.type,
        status: 0,
        place: 0,
        release: (base + found.end) % 2 ** 32,
        generation: 7,
      });
      frames += 1;
      payload += found.size;
    }
    assert.equal(harness.sessionFrames(0), frames);
    assert.equal(harness.sessionPayload(0), payload);
    if (status >= 16) return;
    head = (head + expected.frames.length) % 2 ** 32;
    at += expected.consumed;
  }
}
