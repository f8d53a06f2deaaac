import assert from 'node:assert/strict';
import { createSecretKey } from 'node:crypto';
import { test } from 'node:test';
import { makeStream, payloadOf, sensorUuid } from '../../bench/load/frames.js';
import { FORMATS } from '../../bench/load/payload.js';
import { cutterForType } from '../../src/sinks/files/cutters/choose.js';
import { decodeHeader, headerReject, verifyFrame } from '../../src/wire/header.js';
import { HEADER_BYTES } from '../../src/wire/layout.js';
import { isSensorUuid } from '../../src/wire/uuid.js';

const KEY = Buffer.from('private key to change');

for (const format of FORMATS) {
  for (const size of [64, 128, 1000, 4096, 65_536, 1_000_000]) {
    test(`${format} frames of ${size} B verify and hold the payload in order`, () => {
      const payload = payloadOf(format, size, 256);
      const uuid = sensorUuid(size);
      const stream = makeStream(payload, size, uuid, createSecretKey(KEY));
      const pieces: Buffer[] = [];
      for (const bytes of [stream.prologue, stream.cycle]) {
        for (let at = 0; at < bytes.length; ) {
          assert.equal(headerReject(bytes, at, { maxPayloadBytes: 1_000_000 }), undefined);
          const header = decodeHeader(bytes, at);
          const body = bytes.subarray(at + HEADER_BYTES, at + HEADER_BYTES + header.size);
          assert.ok(verifyFrame(bytes.subarray(at), body, KEY));
          assert.equal(header.type, payload.type);
          assert.equal(header.uuid, uuid);
          pieces.push(body);
          at += HEADER_BYTES + header.size;
        }
      }
      assert.ok(Buffer.concat(pieces).equals(Buffer.concat([payload.prologue, payload.cycle])));
      assert.equal(stream.cycle.length % stream.frameBytes, 0);
    });
  }
}

test('every line is JSON; frames of a multiple of the line end with one', () => {
  const { cycle } = payloadOf('jsonl', 1000, 16);
  const lines = cycle.toString().split('\n');
  assert.equal(lines.pop(), '');
  for (const line of lines) assert.equal(typeof JSON.parse(line).id, 'string');
  const frames = payloadOf('jsonl', 4096, 16).cycle;
  for (let end = 4096; end <= frames.length; end += 4096) assert.equal(frames[end - 1], 0x0a);
});

test('cycles are whole records, so that streams cut where files do', () => {
  for (const format of FORMATS) {
    for (const size of [128, 777, 4096]) {
      const { type, prologue, cycle } = payloadOf(format, size, 64);
      const cutter = cutterForType(type);
      // Twice over: the second cycle must follow the first without a seam.
      const stream = Buffer.concat([prologue, cycle, cycle]);
      let at = cutter.walk(stream, 0, stream.length, 0);
      at = cutter.walk(stream, at, stream.length, Number.MAX_SAFE_INTEGER);
      assert.equal(at, stream.length);
      assert.equal(cutter.boundary, stream.length, `${format} ${size}`);
    }
  }
});

test('sensors have version 4 UUIDs, each its own', () => {
  const uuids = Array.from({ length: 1000 }, (_, index) => sensorUuid(index));
  assert.equal(new Set(uuids).size, uuids.length);
  assert.ok(uuids.every(isSensorUuid));
});
