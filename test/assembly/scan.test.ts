import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import {
  Kind,
  Place,
  SCRATCH_BYTES,
  SCRATCH_CONSUMER,
  ScanStatus,
  SESSION_BYTES,
  SESSION_STATE,
  SessionState,
} from '../../src/ring/layout.js';
import { Reject } from '../../src/wire/reject.js';
import { recordedStreams, sharedPath, skipWithoutShared } from '../support/shared.js';
import { BUILDS, frame, Harness, TIME, UUID } from './harness.js';
import { referenceScan } from './reference.js';

const payload = (length: number) => Buffer.alloc(length, 0xa5);

for (const build of BUILDS) {
  describe(`scan (${build})`, () => {
    test('describes each whole frame, in place and in order', () => {
      const harness = new Harness(build, { descriptors: 4 });
      harness.open(3, 8, UUID, 0xfedcba98);
      const frames = [0, 1, 700].map((size) => frame({ type: 8, payload: payload(size) }));
      const stream = Buffer.concat(frames);
      const address = harness.put(stream, 4097);
      // The sequence number and the ring's position wrap while the frames are described.
      const status = harness.wasm.scan(
        address,
        stream.length,
        3,
        2 ** 32 - 1,
        4,
        2 ** 32 - 100,
        TIME,
        0,
      );
      assert.equal(status, ScanStatus.DONE);
      assert.equal(harness.wasm.count, 3);
      assert.equal(harness.wasm.consumed, stream.length);
      assert.equal(harness.wasm.need, 0);
      let end = 0;
      for (const [index, bytes] of frames.entries()) {
        const start = end;
        end += bytes.length;
        assert.deepEqual(harness.descriptor(2 ** 32 - 1 + index), {
          address: address + start,
          size: bytes.length - 62,
          session: 3,
          kind: Kind.FRAME,
          type: 8,
          status: 0,
          place: Place.RING,
          release: (2 ** 32 - 100 + end) % 2 ** 32,
          generation: 0xfedcba98,
        });
      }
      assert.equal(harness.sessionFrames(3), 3);
      assert.equal(harness.sessionPayload(3), 701);
    });

    test('writes nothing but its descriptors, its session and its scratch', () => {
      const harness = new Harness(build);
      harness.open(1, 1);
      const stream = Buffer.concat([frame({ payload: payload(90) }), frame(), frame({ type: 3 })]);
      const address = harness.put(stream, 63);
      const before = Buffer.from(harness.bytes);
      harness.wasm.scan(address, stream.length, 1, 5, 100, 0, TIME, 0);
      const { map, bytes } = harness;
      const mayChange: [number, number][] = [
        [SCRATCH_CONSUMER, SCRATCH_CONSUMER + SCRATCH_BYTES],
        [map.sessionBase + SESSION_BYTES, map.sessionBase + 2 * SESSION_BYTES],
        [map.descriptorBase + 5 * 32, map.descriptorBase + 7 * 32],
      ];
      for (const [from, to] of mayChange) {
        bytes.fill(0, from, to);
        before.fill(0, from, to);
      }
      assert.ok(bytes.equals(before));
    });

    test('adds to the counts of the session', () => {
      const harness = new Harness(build);
      harness.open(0, 1);
      harness.scan(Buffer.concat([frame({ payload: payload(10) }), frame()]));
      harness.scan(frame({ payload: payload(5) }));
      assert.equal(harness.sessionFrames(0), 3);
      assert.equal(harness.sessionPayload(0), 15);
    });

    const nil = Buffer.alloc(16);
    const version1 = Buffer.from(UUID);
    version1[6] = 0x1b;
    const wrongVariant = Buffer.from(UUID);
    wrongVariant[8] = 0xc0;
    const other = Buffer.from(UUID);
    other[15] = 0;
    // In the order of the checks: each frame is wrong in every later way as well.
    const bad = {
      BAD_VERSION: { version: 2, type: 0, uuid: nil, size: 2 ** 32 - 1 },
      BAD_TYPE: { type: 0, uuid: nil, size: 2 ** 32 - 1, time: 0n },
      BAD_UUID: { type: 3, uuid: nil, size: 2 ** 32 - 1, time: 0n },
      TOO_LARGE: { type: 3, uuid: other, size: 1_000_001, time: 0n },
      TIMESTAMP_SKEW: { type: 3, uuid: other, time: BigInt(TIME - 61) },
      UUID_CHANGED: { type: 3, uuid: other, time: BigInt(TIME - 60) },
      TYPE_CHANGED: { type: 3 },
    } as const;

    for (const [name, fields] of Object.entries(bad)) {
      test(`rejects ${name} by its header alone, and keeps the frames before it`, () => {
        const code = Reject[name as keyof typeof bad];
        const harness = new Harness(build);
        harness.open(0, 1);
        const good = frame({ payload: payload(33) });
        const header = frame(fields).subarray(0, 62);
        assert.equal(harness.scan(Buffer.concat([good, header]), 0, 60), code);
        assert.equal(harness.wasm.count, 1);
        assert.equal(harness.wasm.consumed, good.length);
        assert.equal(harness.sessionFrames(0), 1);
        // One byte less, and the header is not judged.
        const cut = Buffer.concat([good, header.subarray(0, 61)]);
        assert.equal(harness.scan(cut, 0, 60), ScanStatus.PARTIAL_HEADER);
      });
    }

    test('takes version 4 UUIDs of the RFC variant alone', () => {
      const harness = new Harness(build);
      for (const uuid of [nil, version1, wrongVariant]) {
        assert.equal(harness.scan(frame({ uuid })), Reject.BAD_UUID);
      }
    });

    test('takes the types of the set, and never type 0', () => {
      const harness = new Harness(build);
      harness.accept([0, 7, 8, 255]);
      const taken = [];
      for (let type = 0; type < 256; type++) {
        const status = harness.scan(frame({ type }));
        if (status === ScanStatus.NEW_SESSION) taken.push(type);
        else assert.equal(status, Reject.BAD_TYPE);
      }
      assert.deepEqual(taken, [7, 8, 255]);
    });

    test('checks timestamps on both sides of the clock, if told to', () => {
      const harness = new Harness(build);
      harness.open(0, 1);
      const seen = (time: bigint, skew: number) => harness.scan(frame({ time }), 0, skew);
      for (const time of [TIME - 60, TIME, TIME + 60]) assert.equal(seen(BigInt(time), 60), 0);
      for (const time of [0n, BigInt(TIME - 61), BigInt(TIME + 61), 2n ** 64n - 1n]) {
        assert.equal(seen(time, 60), Reject.TIMESTAMP_SKEW);
        assert.equal(seen(time, 0), ScanStatus.DONE);
      }
    });

    test('stops at the first valid header of a session that is not fixed', () => {
      const harness = new Harness(build);
      const first = frame({ payload: payload(500) });
      for (const length of [62, 100, first.length]) {
        assert.equal(harness.scan(first.subarray(0, length)), ScanStatus.NEW_SESSION);
        assert.equal(harness.wasm.count, 0);
        assert.equal(harness.wasm.consumed, 0);
      }
      assert.equal(harness.view.getUint8(harness.slot(0) + SESSION_STATE), SessionState.EMPTY);
      assert.equal(harness.scan(frame({ type: 0 })), Reject.BAD_TYPE);
    });

    test('type 2 may become 254 once; a header seen twice is judged the same', () => {
      const harness = new Harness(build);
      harness.open(0, 2);
      const meta = frame({ type: 2, payload: payload(20) });
      const data = frame({ type: 254, payload: payload(20) });
      assert.equal(harness.scan(Buffer.concat([meta, meta])), ScanStatus.DONE);
      assert.equal(harness.sessionType(0), 2);
      // The first 254 comes without its payload, then whole.
      assert.equal(harness.scan(data.subarray(0, 62)), ScanStatus.PARTIAL_FRAME);
      assert.equal(harness.scan(data.subarray(0, 70)), ScanStatus.PARTIAL_FRAME);
      assert.equal(harness.scan(Buffer.concat([data, data])), ScanStatus.DONE);
      assert.equal(harness.sessionType(0), 254);
      assert.equal(harness.scan(meta), Reject.TYPE_CHANGED);
      for (const [inForce, sent] of [
        [1, 254],
        [254, 2],
        [2, 3],
      ] as const) {
        harness.open(0, inForce);
        assert.equal(harness.scan(frame({ type: sent })), Reject.TYPE_CHANGED);
        assert.equal(harness.sessionType(0), inForce);
      }
      // A 254 that is refused for another reason changes nothing.
      harness.open(0, 2);
      assert.equal(harness.scan(frame({ type: 254, uuid: other })), Reject.UUID_CHANGED);
      assert.equal(harness.sessionType(0), 2);
    });

    test('says how long a frame that has begun will be', () => {
      const harness = new Harness(build);
      harness.open(0, 1);
      const begun = frame({ payload: payload(1000) });
      for (const length of [62, 63, begun.length - 1]) {
        assert.equal(harness.scan(begun.subarray(0, length)), ScanStatus.PARTIAL_FRAME);
        assert.equal(harness.wasm.need, begun.length);
        assert.equal(harness.wasm.count, 0);
      }
    });

    test('no size wraps around, whatever the limit is', () => {
      const harness = new Harness(build, { maxPayloadBytes: 2 ** 32 - 1 });
      harness.open(0, 1);
      for (let size = 2 ** 32 - 130; size < 2 ** 32; size++) {
        const stream = Buffer.concat([frame(), frame({ size, payload: payload(200) })]);
        assert.equal(harness.scan(stream), ScanStatus.PARTIAL_FRAME);
        assert.equal(harness.wasm.count, 1);
        assert.equal(harness.wasm.need, Math.min(size + 62, 2 ** 32 - 1));
      }
    });

    test('stops when the descriptor ring has no room, and goes on from there', () => {
      const harness = new Harness(build);
      harness.open(0, 1);
      const stream = Buffer.concat(Array.from({ length: 5 }, () => frame({ payload: payload(9) })));
      const address = harness.put(stream);
      let at = 0;
      for (const [room, expected] of [
        [0, ScanStatus.ROOM],
        [2, ScanStatus.ROOM],
        [3, ScanStatus.DONE],
      ] as const) {
        const left = stream.length - at;
        assert.equal(harness.wasm.scan(address + at, left, 0, 0, room, at, TIME, 0), expected);
        assert.equal(harness.wasm.count, room);
        at += harness.wasm.consumed;
      }
      assert.equal(at, stream.length);
      assert.equal(harness.sessionFrames(0), 5);
    });

    test('every cut of a small stream gives what the reference decoder gives', () => {
      const harness = new Harness(build);
      const stream = Buffer.concat([
        frame({ type: 2, payload: Buffer.from('{"type":"ja3-jl"}') }),
        frame({ type: 2 }),
        frame({ type: 254, payload: payload(70) }),
        frame({ type: 254 }),
      ]);
      const limits = {
        types: [2, 254],
        maxPayload: 1_000_000,
        nowSeconds: TIME,
        skewSeconds: 10,
        room: 1024,
      };
      for (let cut = 0; cut <= stream.length; cut++) {
        harness.open(0, 2);
        const session = { uuid: UUID.toString('hex'), type: 2 };
        let at = 0;
        for (const end of [cut, stream.length]) {
          const part = stream.subarray(at, end);
          const expected = referenceScan(part, session, limits);
          assert.equal(harness.scan(part, 0, 10), expected.status, `cut ${cut}`);
          assert.equal(harness.wasm.count, expected.frames.length);
          assert.equal(harness.wasm.consumed, expected.consumed);
          assert.equal(harness.wasm.need, expected.need);
          assert.equal(harness.sessionType(0), session.type);
          at += expected.consumed;
        }
        assert.equal(at, stream.length);
        assert.equal(harness.sessionFrames(0), 4);
      }
    });

    test('recorded streams have the frames of their manifest', {
      skip: skipWithoutShared(),
    }, () => {
      const harness = new Harness(build, { descriptors: 2048 });
      for (const stream of recordedStreams()) {
        const bytes = readFileSync(sharedPath('streams', stream.file));
        const uuid = Buffer.from(stream.uuid.replaceAll('-', ''), 'hex');
        const known: Record<string, number> = {
          'c-k1-t3-niluuid.d4': Reject.BAD_UUID,
          'c-k1-t3-version2.d4': Reject.BAD_VERSION,
        };
        const code = known[stream.file];
        harness.open(0, stream.types[0] ?? 1, uuid);
        assert.equal(harness.scan(bytes), code ?? ScanStatus.DONE, stream.file);
        assert.equal(harness.wasm.count, code === undefined ? stream.frames : 0, stream.file);
        if (code !== undefined) continue;
        assert.equal(harness.sessionPayload(0), stream.payload_bytes, stream.file);
        assert.equal(harness.wasm.consumed, bytes.length);
      }
    });
  });
}
