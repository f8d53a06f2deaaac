import assert from 'node:assert/strict';
import { createHmac, createSecretKey } from 'node:crypto';
import { describe, it } from 'node:test';
import {
  NoKeyError,
  OwnIdentity,
  Pseudonym,
  pseudonymOf,
} from '../../../src/sinks/relay/identity.js';
import { decodeHeader, encodeFrame, verifyFrame } from '../../../src/wire/header.js';
import { HEADER_BYTES } from '../../../src/wire/layout.js';
import { isSensorUuid } from '../../../src/wire/uuid.js';

const SENSOR = '5e2f8b7d-0a13-4b7a-9c41-00000000beef';
const SECRET = Buffer.from('relay secret');
const KEY = Buffer.from('sensor key');
const frame = encodeFrame({
  type: 3,
  uuid: SENSOR,
  timestamp: 1_700_000_000,
  key: KEY,
  payload: Buffer.from('a line\n'),
});
const header = frame.subarray(0, HEADER_BYTES);

describe('who a relayed sensor is', () => {
  it('a pseudonym is version 4, stable, and of HMAC-SHA-256 over the UUID', () => {
    const pseudonym = pseudonymOf(SENSOR, SECRET);
    assert.ok(isSensorUuid(pseudonym));
    assert.equal(pseudonym, pseudonymOf(SENSOR, SECRET));
    assert.notEqual(pseudonym, pseudonymOf(SENSOR, Buffer.from('another')));
    const digest = createHmac('sha256', SECRET)
      .update(Buffer.from(SENSOR.replaceAll('-', ''), 'hex'))
      .digest('hex');
    const hex = pseudonym.replaceAll('-', '');
    // All but the version's and the variant's bits.
    for (const at of [...Array(32).keys()].filter((digit) => digit !== 12 && digit !== 16)) {
      assert.equal(hex[at], digest[at]);
    }
  });

  it('a frame that is signed anew keeps version and time, and leaves the original as it was', () => {
    const before = Buffer.from(header);
    const payload = Buffer.from('the line');
    const relayKey = Buffer.from('relay key');
    const identity = new Pseudonym(SENSOR, SECRET, createSecretKey(relayKey));
    const made = identity.sign(header, 254, payload);
    assert.deepEqual(header, before);
    const { type, uuid, timestamp, size, version } = decodeHeader(made);
    assert.deepEqual(
      [version, type, uuid, timestamp, size],
      [1, 254, pseudonymOf(SENSOR, SECRET), 1_700_000_000n, payload.length],
    );
    assert.ok(verifyFrame(made, payload, relayKey));
  });

  it("signs with the sensor's key as it is now", () => {
    let key: Buffer | undefined = KEY;
    const identity = new OwnIdentity(SENSOR, () => key);
    const payload = frame.subarray(HEADER_BYTES);
    assert.deepEqual(identity.sign(header, 3, payload), header, 'the same frame again');
    key = Buffer.from('rotated');
    assert.ok(verifyFrame(identity.sign(header, 3, payload), payload, key));
    key = undefined;
    assert.throws(() => identity.sign(header, 3, payload), NoKeyError);
  });
});
