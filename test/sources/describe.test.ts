import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeHeader } from '../../src/sources/describe.js';
import { Reject } from '../../src/wire/reject.js';
import { frame } from '../assembly/harness.js';

test('what is wrong is named with its value', () => {
  const header = frame({ type: 77, size: 5_000_000 });
  assert.equal(describeHeader(Reject.BAD_TYPE, header), 'type 77');
  assert.equal(describeHeader(Reject.TOO_LARGE, header), 'payload of 5000000 bytes');
  assert.equal(
    describeHeader(Reject.BAD_UUID, header),
    'uuid 3a9f1c52-6d0e-4b7a-9c41-5e2f8b7d0a13',
  );
});

test('a peer that speaks something else is recognised', () => {
  const tls = Buffer.from('1603010200010001fc0303', 'hex');
  assert.match(describeHeader(Reject.BAD_VERSION, tls), /TLS on a plain port/);
  const http = Buffer.from('GET / HTTP/1.1\r\n');
  assert.match(describeHeader(Reject.BAD_VERSION, http), /"GET \/ HTTP\/1"/);
  assert.equal(describeHeader(Reject.BAD_VERSION, Buffer.from([2])), 'version 2');
  const control = Buffer.from('a\u0000\u001b[31m');
  assert.match(describeHeader(Reject.BAD_VERSION, control), /"a\.\.\[31m"/, 'nothing unprintable');
});
