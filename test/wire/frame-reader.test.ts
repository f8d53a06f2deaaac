import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { type Frame, FrameError, FrameReader } from '../../src/wire/frame-reader.js';
import { encodeFrame, verifyFrame } from '../../src/wire/header.js';
import { Reject } from '../../src/wire/reject.js';
import { recordedStreams, sharedPath, skipWithoutShared } from '../support/shared.js';

const UUID = '3a9f1c52-6d0e-4b7a-9c41-5e2f8b7d0a13';
const KEY = Buffer.from('private key to change');
const LIMITS = { maxPayloadBytes: 1_000_000 };

/** Copies of the frames, as the views hold only until the next is asked for. */
function readAll(reader: FrameReader, chunks: Iterable<Buffer>, each: (frame: Frame) => void) {
  for (const chunk of chunks) for (const frame of reader.push(chunk)) each(frame);
  reader.end();
}

function* cut(stream: Buffer, sizes: readonly number[]): Generator<Buffer> {
  for (let offset = 0, index = 0; offset < stream.length; index++) {
    const end = offset + (sizes[index % sizes.length] ?? stream.length);
    yield Buffer.from(stream.subarray(offset, end)); // memory of its own, as a socket's reads
    offset = end;
  }
}

const small = Buffer.concat(
  ['', 'a', 'some more of it', '', ''].map((text) =>
    encodeFrame({ type: 3, uuid: UUID, timestamp: 1, key: KEY, payload: Buffer.from(text) }),
  ),
);

describe('FrameReader', () => {
  for (const recorded of recordedStreams()) {
    it(`reads ${recorded.file} however it is cut`, { skip: skipWithoutShared() }, () => {
      const stream = readFileSync(sharedPath('streams', recorded.file));
      const refused = { 'c-k1-t3-niluuid.d4': Reject.BAD_UUID, 'c-k1-t3-version2.d4': 16 };
      fc.assert(
        fc.property(fc.array(fc.integer({ min: 1, max: 20_000 }), { maxLength: 9 }), (sizes) => {
          const all = createHash('sha256');
          const types = new Map<number, { frames: number; bytes: number }>();
          let offset = 0;
          const read = () =>
            readAll(new FrameReader(LIMITS), cut(stream, sizes), (frame) => {
              assert.equal(frame.offset, offset);
              assert.ok(verifyFrame(frame.bytes, frame.payload, Buffer.from(recorded.key)));
              offset += frame.bytes.length;
              all.update(frame.payload);
              const count = types.get(frame.header.type) ?? { frames: 0, bytes: 0 };
              count.frames++;
              count.bytes += frame.payload.length;
              types.set(frame.header.type, count);
            });
          const reject = refused[recorded.file as keyof typeof refused];
          if (reject) {
            assert.throws(read, { name: 'FrameError', reject, offset: 0 });
            return;
          }
          read();
          assert.equal(offset, stream.length);
          assert.equal(all.digest('hex'), recorded.payload_sha256);
          const expected = Object.entries(recorded.per_type).map(([type, count]) => [
            Number(type),
            { frames: count.frames, bytes: count.payload_bytes },
          ]);
          assert.deepEqual([...types], expected);
        }),
        { numRuns: 8 },
      );
    });
  }

  it('gives the same frames for every cut in three of a small stream', () => {
    const expected = JSON.stringify(
      ['', 'a', 'some more of it', '', ''].map((text) => Buffer.from(text).toString('hex')),
    );
    for (let first = 0; first <= small.length; first++) {
      for (let second = first; second <= small.length; second++) {
        const parts = [
          small.subarray(0, first),
          small.subarray(first, second),
          small.subarray(second),
        ];
        const payloads: string[] = [];
        const reader = new FrameReader(LIMITS);
        readAll(reader, parts, (frame) => payloads.push(frame.payload.toString('hex')));
        assert.equal(JSON.stringify(payloads), expected, `cut at ${first} and ${second}`);
      }
    }
  });

  it('says where the frame begins that an end cut', () => {
    const starts = new Set<number>();
    readAll(new FrameReader(LIMITS), [small], (frame) => starts.add(frame.offset));
    starts.add(small.length);
    for (let length = 0; length <= small.length; length++) {
      const reader = new FrameReader(LIMITS);
      const read = () => readAll(reader, [small.subarray(0, length)], () => {});
      const offset = Math.max(...[...starts].filter((start) => start <= length));
      if (starts.has(length)) read();
      else assert.throws(read, { name: 'FrameError', offset, reject: undefined });
    }
  });

  it('refuses a header before its payload, and gives the frames before it', () => {
    const large = encodeFrame({
      type: 3,
      uuid: UUID,
      timestamp: 1,
      key: KEY,
      payload: Buffer.alloc(101),
    });
    const stream = Buffer.concat([small, large.subarray(0, 62)]);
    for (const size of [1, 61, 62, stream.length]) {
      let frames = 0;
      const reader = new FrameReader({ maxPayloadBytes: 100 });
      const read = () => readAll(reader, cut(stream, [size]), () => frames++);
      assert.throws(read, { reject: Reject.TOO_LARGE, offset: small.length });
      assert.equal(frames, 5);
    }
  });

  it('never reads garbage as a frame', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 62, maxLength: 200 }), (bytes) => {
        fc.pre(bytes[0] !== 1);
        const reader = new FrameReader(LIMITS);
        assert.throws(() => readAll(reader, [Buffer.from(bytes)], () => {}), FrameError);
      }),
    );
  });
});
