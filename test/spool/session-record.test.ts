import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  decodeEnd,
  decodeOpen,
  encodeEnd,
  encodeOpen,
  type SpoolSession,
} from '../../src/spool/session-record.js';
import { encodeFrame } from '../../src/wire/header.js';

const SENSOR = '0f6ad2b9-8f9a-4d2e-9c2c-3a1b5c7d9e0f';
const PLAIN: SpoolSession = { id: 'a', sensor: SENSOR, type: 1, openedAt: new Date(1e12) };

function metaFrame(text: string): Buffer {
  const key = Buffer.from('key');
  return encodeFrame({ type: 2, uuid: SENSOR, timestamp: 1, key, payload: Buffer.from(text) });
}

test('a session is what it was, its meta header to the byte', () => {
  const wire = Buffer.concat([metaFrame('{"type":'), metaFrame('"x"}'), metaFrame('')]);
  const meta = { type: 'x', bytes: Buffer.from('{"type":"x"}'), frames: 3, wire };
  const full = { ...PLAIN, type: 254, meta, tags: ['tlp:red'], origin: 'o', hops: ['o', 'p'] };
  const before = { frames: 3, bytes: 12 };
  for (const open of [
    { session: PLAIN, before: { frames: 0, bytes: 0 } },
    { session: full, before },
  ]) {
    assert.deepEqual(decodeOpen(encodeOpen(open)), open);
  }
  const end = { code: 'closed', detail: '', total: before };
  assert.deepEqual(decodeEnd(encodeEnd(end)), end);
});

test('what is none is told', () => {
  const good = JSON.parse(
    encodeOpen({ session: PLAIN, before: { frames: 1, bytes: 1 } }).toString(),
  );
  const wire = metaFrame('{}').subarray(0, 63).toString('base64');
  for (const changes of [
    { id: 1 },
    { sensor: undefined },
    { type: -1 },
    { openedAt: 'soon' },
    { before: { frames: -1, bytes: 0 } },
    { meta: { type: 'x', frames: 1, wire } },
    { meta: { type: 'x', frames: 2, wire: metaFrame('{}').toString('base64') } },
  ]) {
    const data = Buffer.from(JSON.stringify({ ...good, ...changes }));
    assert.equal(decodeOpen(data), undefined, JSON.stringify(changes));
  }
  for (const text of ['', '[]', 'null', '{"code":1}', '{"code":"closed"}']) {
    assert.equal(decodeOpen(Buffer.from(text)), undefined, text);
    assert.equal(decodeEnd(Buffer.from(text)), undefined, text);
  }
});
