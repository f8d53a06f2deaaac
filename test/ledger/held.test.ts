import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deliveredInto, heldBy } from '../../src/ledger/held.js';
import type { FileImage } from '../../src/ledger/journal-reader.js';

const NONE = { frames: 0, bytes: 0 };

/** A file whose last write took it from 100 to 200 bytes, after a preamble of 20. */
function file(changes: Partial<FileImage> = {}): FileImage {
  return {
    index: 0,
    sink: 'disk',
    sessionId: 's',
    path: '/x.cap.part',
    framesBefore: 10,
    bytesBefore: 1000,
    meta: NONE,
    compressed: false,
    intents: [
      { fileBytes: 200, frames: 18, bytes: 1180, contentBytes: 200 },
      { fileBytes: 100, frames: 14, bytes: 1080, contentBytes: 100 },
    ],
    mark: { state: 0, size: 0, frames: 0, bytes: 0 },
    ...changes,
  };
}

test('frames go by the size before the repair, bytes by the content after it', () => {
  assert.deepEqual(heldBy(file(), 200, 200), { frames: 8, bytes: 180 });
  assert.deepEqual(heldBy(file(), 200, 190), { frames: 8, bytes: 170 });
  assert.deepEqual(heldBy(file(), 199, 199), { frames: 4, bytes: 179 });
  assert.deepEqual(heldBy(file(), 100, 96), { frames: 4, bytes: 76 });
  // The page cache was lost: what is there is there, but no frame is known to be.
  assert.deepEqual(heldBy(file(), 60, 60), { frames: 0, bytes: 40 });
  // The preamble alone.
  assert.deepEqual(heldBy(file(), 20, 20), NONE);
  assert.deepEqual(heldBy(file(), 0, 0), NONE);
});

test('a file never holds more than was announced', () => {
  assert.deepEqual(heldBy(file(), 4096, 4096), { frames: 8, bytes: 180 });
});

test('content that is not known counts up to the last write that is whole', () => {
  assert.deepEqual(heldBy(file({ compressed: true }), 150, undefined), { frames: 4, bytes: 80 });
  assert.deepEqual(heldBy(file({ intents: [] }), 150, 150), NONE);
});

test('the files of a stream count each up to where the next begins', () => {
  const first = { file: file(), amount: { frames: 8, bytes: 180 } };
  // The end of the first file was copied to this one, and not yet cut off.
  const second = {
    file: file({ framesBefore: 18, bytesBefore: 1150 }),
    amount: { frames: 0, bytes: 30 },
  };
  assert.deepEqual(deliveredInto([second, first], NONE), { frames: 18, bytes: 1180 });
  assert.deepEqual(deliveredInto([second], NONE), { frames: 18, bytes: 1180 });
});

test('empty frames that were counted are there when the bytes are', () => {
  const held = [{ file: file(), amount: { frames: 8, bytes: 180 } }];
  assert.equal(deliveredInto(held, { frames: 20, bytes: 1180 }).frames, 20);
  assert.equal(deliveredInto(held, { frames: 20, bytes: 1181 }).frames, 18);
});
