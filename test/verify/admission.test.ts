import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Admission, type SensorKeys } from '../../src/verify/admission.js';
import { Reject } from '../../src/wire/reject.js';

const SENSOR = '3a9f1c52-6d0e-4b7a-9c41-5e2f8b7d0a13';
const KEY = Buffer.from('own key');

function admission(record: Partial<SensorKeys> | undefined, secret?: Buffer) {
  const sensor = record && { state: 'approved' as const, blocked: false, key: KEY, ...record };
  const lookup = {
    sensor: (uuid: string) => (uuid === SENSOR ? sensor : undefined),
    addressBlocked: (address: string) => address === '192.0.2.1',
    groupsOf: (uuid: string) => (uuid === SENSOR ? ['alpha'] : []),
    bannedUntil: (uuid: string, type: number) =>
      uuid === SENSOR && type === 3 ? Date.now() + 1000 : undefined,
  };
  return new Admission(lookup, secret);
}

test('registration: only approved sensors that are not blocked may send', () => {
  assert.equal(admission({}).refusal(SENSOR, '192.0.2.2'), undefined);
  assert.equal(admission(undefined).refusal(SENSOR, '192.0.2.2'), Reject.UNKNOWN_SENSOR);
  assert.equal(admission({ state: 'pending' }).refusal(SENSOR, '192.0.2.2'), Reject.SENSOR_PENDING);
  const blocked = admission({ state: 'pending', blocked: true });
  assert.equal(blocked.refusal(SENSOR, '192.0.2.2'), Reject.SENSOR_BLOCKED);
  assert.equal(admission({}).refusal(SENSOR, '192.0.2.1'), Reject.ADDRESS_BLOCKED);
});

test('shared secret: unknown sensors are taken, blocked and pending ones are not', () => {
  const secret = Buffer.from('shared');
  assert.equal(admission(undefined, secret).refusal(SENSOR, '::1'), undefined);
  assert.equal(admission({ blocked: true }, secret).refusal(SENSOR, '::1'), Reject.SENSOR_BLOCKED);
  assert.deepEqual(admission(undefined, secret).keys(SENSOR), { current: secret });
  assert.equal(admission({}, secret).keys(SENSOR)?.current, KEY, 'its own key comes first');
  assert.equal(admission(undefined).keys(SENSOR), undefined);
});

test('a ban holds for one type, and only at the beginning of a session', () => {
  assert.equal(admission({}).ban(SENSOR, 3), Reject.SENSOR_KICKED);
  assert.equal(admission({}).ban(SENSOR, 1), undefined);
  assert.equal(admission({}).refusal(SENSOR, '192.0.2.2'), undefined);
  assert.deepEqual(admission({}).groups(SENSOR), ['alpha']);
});
