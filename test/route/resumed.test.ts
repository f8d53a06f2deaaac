import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ResumedStream } from '../../src/route/resumed.js';
import type { FrameRef } from '../../src/sinks/sink.js';

test('what a sink holds is let go by to the byte, counted once; the rest is given to it', () => {
  const sizes = fc.array(fc.nat(9), { minLength: 1, maxLength: 12 });
  fc.assert(
    fc.property(sizes, fc.nat(12), fc.nat(60), fc.nat(60), (frames, whole, more, known) => {
      const total = frames.reduce((sum, size) => sum + size, 0);
      const skipFrames = Math.min(whole, frames.length);
      const wholeBytes = frames.slice(0, skipFrames).reduce((sum, size) => sum + size, 0);
      const skipBytes = Math.min(total, wholeBytes + more);
      const counted = Math.min(known, skipBytes);
      const given: number[] = [];
      const amounts = { frames: 0, bytes: 0 };
      const stream = new ResumedStream(
        {
          write({ payload, size }: FrameRef) {
            for (let at = payload; at < payload + size; at += 1) given.push(at);
            amounts.frames += 1;
            amounts.bytes += size;
            return true;
          },
          end: async () => {},
        },
        { frames: skipFrames, bytes: skipBytes, counted },
        (count, bytes) => {
          amounts.frames += count;
          amounts.bytes += bytes;
        },
      );
      let at = 0;
      for (const size of frames) {
        stream.write({ header: 0, payload: at, size, type: 1 });
        at += size;
      }
      const expected = Array.from({ length: total - skipBytes }, (_, index) => skipBytes + index);
      assert.deepEqual(given, expected);
      assert.deepEqual(amounts, { frames: frames.length, bytes: total - counted });
    }),
  );
});
