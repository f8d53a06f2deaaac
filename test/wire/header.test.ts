import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  decodeHeader,
  encodeFrame,
  FrameEncoder,
  frameHmac,
  headerReject,
  verifyFrame,
} from '../../src/wire/header.js';
import { HEADER_BYTES } from '../../src/wire/layout.js';
import { Reject } from '../../src/wire/reject.js';
import { KNOWN_TYPES } from '../../src/wire/types.js';
import { recordedStreams, sharedPath, skipWithoutShared } from '../support/shared.js';

const UUID = '3a9f1c52-6d0e-4b7a-9c41-5e2f8b7d0a13';
const KEY = Buffer.from('private key to change');
const LIMITS = { maxPayloadBytes: 1_000_000 };

const frameOf = fc.record({
  type: fc.constantFrom(...KNOWN_TYPES),
  uuid: fc.uuid({ version: 4 }),
  timestamp: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
  key: fc.uint8Array({ maxLength: 100 }),
  payload: fc.uint8Array({ maxLength: 300 }),
});

describe('frame codec', () => {
  it('makes, of the fields of each recorded frame, the recorded bytes', {
    skip: skipWithoutShared(),
  }, () => {
    let frames = 0;
    for (const { file, key } of recordedStreams()) {
      const stream = readFileSync(sharedPath('streams', file));
      for (let offset = 0; offset < stream.length; ) {
        const header = decodeHeader(stream, offset);
        const end = offset + HEADER_BYTES + header.size;
        const payload = stream.subarray(offset + HEADER_BYTES, end);
        const again = encodeFrame({ ...header, key: Buffer.from(key), payload });
        assert.deepEqual(again, stream.subarray(offset, end), `${file} at ${offset}`);
        offset = end;
        frames++;
      }
    }
    assert.ok(frames > 1_000);
  });

  it('is its own inverse, and the HMAC is that of the header with a zeroed field', () => {
    fc.assert(
      fc.property(frameOf, (frame) => {
        const bytes = encodeFrame(frame);
        const { hmac, ...fields } = decodeHeader(bytes);
        const { type, uuid, timestamp, payload } = frame;
        assert.deepEqual(fields, { version: 1, type, uuid, timestamp, size: payload.length });
        const signed = Buffer.from(bytes).fill(0, 26, 58);
        assert.deepEqual(hmac, createHmac('sha256', frame.key).update(signed).digest());
        assert.equal(headerReject(bytes, 0, LIMITS), undefined);
      }),
    );
  });

  it('finds any flipped bit, and leaves what it was given as it was', () => {
    fc.assert(
      fc.property(frameOf, fc.nat(), (frame, nat) => {
        const bytes = encodeFrame(frame);
        const verify = () => verifyFrame(bytes, bytes.subarray(HEADER_BYTES), frame.key);
        const before = Buffer.from(bytes);
        assert.equal(verify(), true);
        assert.deepEqual(bytes, before);
        const bit = nat % (bytes.length * 8);
        bytes[bit >> 3]! ^= 1 << (bit & 7);
        assert.equal(verify(), false);
      }),
    );
  });

  it('zeroes the HMAC field by its place, also where its bytes come again in the payload', () => {
    const payload = Buffer.alloc(HEADER_BYTES);
    const header = encodeFrame({ type: 3, uuid: UUID, timestamp: 1, key: KEY, payload });
    const hmac = frameHmac(header, payload, KEY);
    header.copy(payload, 0, 26, 58);
    assert.notDeepEqual(frameHmac(header, payload, KEY), hmac);
  });

  it('reads at an offset, and the version, UUID and size of a frame that is refused', () => {
    const empty = Buffer.alloc(0);
    const frame = encodeFrame({ type: 3, uuid: UUID, timestamp: 7, key: KEY, payload: empty });
    const at = Buffer.concat([Buffer.alloc(5), frame]);
    assert.deepEqual(decodeHeader(at, 5), decodeHeader(frame));
    assert.throws(() => decodeHeader(at, 6), RangeError);
    assert.throws(() => decodeHeader(at, -1), RangeError);
  });

  it('refuses by field, in the order of the fields', () => {
    const empty = Buffer.alloc(0);
    const good = encodeFrame({ type: 254, uuid: UUID, timestamp: 1, key: KEY, payload: empty });
    const reject = (edit: (bytes: Buffer) => unknown, limits: object = {}) => {
      const bytes = Buffer.from(good);
      edit(bytes);
      return headerReject(bytes, 0, { ...LIMITS, ...limits });
    };
    assert.equal(
      reject((bytes) => bytes.writeUInt32LE(1_000_000, 58)),
      undefined,
    );
    assert.equal(
      reject((bytes) => bytes.writeUInt32LE(1_000_001, 58)),
      Reject.TOO_LARGE,
    );
    assert.equal(
      reject((bytes) => bytes.writeUInt32LE(0xffffffff, 58)),
      Reject.TOO_LARGE,
    );
    for (const byte of [0x3f, 0x50]) {
      assert.equal(
        reject((bytes) => bytes.writeUInt8(byte, 8)),
        Reject.BAD_UUID,
      );
    }
    for (const byte of [0x7f, 0xc0]) {
      assert.equal(
        reject((bytes) => bytes.writeUInt8(byte, 10)),
        Reject.BAD_UUID,
      );
    }
    assert.equal(
      reject(() => {}, { types: [1, 2] }),
      Reject.BAD_TYPE,
    );
    assert.equal(
      reject((bytes) => bytes.fill(0, 1)),
      Reject.BAD_TYPE,
    );
    assert.equal(
      reject((bytes) => bytes.fill(0)),
      Reject.BAD_VERSION,
    );
  });

  it('takes the timestamps of all 64 bits and refuses what does not fit', () => {
    const encoder = new FrameEncoder({ type: 1, uuid: UUID, key: KEY });
    const last = (1n << 64n) - 1n;
    assert.equal(decodeHeader(encoder.encode(Buffer.alloc(0), last)).timestamp, last);
    assert.throws(() => encoder.encode(Buffer.alloc(0), last + 1n), RangeError);
    assert.throws(() => new FrameEncoder({ type: 256, uuid: UUID, key: KEY }), RangeError);
    assert.throws(() => new FrameEncoder({ type: 1, uuid: 'x', key: KEY }), RangeError);
  });
});
