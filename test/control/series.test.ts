import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { pino } from 'pino';
import { HistoryStore } from '../../src/history/store.js';
import { Sensor, until, uuidOf, write } from '../integration/peers.js';
import { tempDir } from '../support/tmp.js';
import { Controlled, type Json } from './api.js';

const MINUTE_MS = 60_000;

test('the last hour goes on after a restart, from the minutes of the history', async () => {
  const dir = tempDir('series');
  const minute = Math.floor(Date.now() / MINUTE_MS) * MINUTE_MS - 10 * MINUTE_MS;
  const history = HistoryStore.open(join(dir, 'data'), pino({ level: 'silent' }));
  history.take([['', uuidOf(1), 8, 120, 6_000, 0]], minute + 30_000);
  await history.close();
  const control = await Controlled.start({ dir });
  const series = (): Promise<Json> => control.ok('GET', '/api/v1/overview/series');
  const { stepSeconds, times, types } = await series();
  assert.equal(stepSeconds, 5);
  assert.deepEqual(Object.keys(types), ['8']);
  const { bytesPerSecond, framesPerSecond } = types[8];
  for (const [index, at] of (times as string[]).entries()) {
    const time = Date.parse(at);
    const isIn = time >= minute && time < minute + MINUTE_MS;
    assert.deepEqual(
      [bytesPerSecond[index], framesPerSecond[index]],
      isIn ? [100, 2] : [0, 0],
      `${at}, ${index} of ${times.length}`,
    );
    const before = times[index - 1];
    if (before !== undefined) assert.ok(time > Date.parse(before), `${at} after ${before}`);
  }
  assert.equal(bytesPerSecond.filter((rate: number) => rate > 0).length, 12);
  assert.ok(times.length >= 719 && times.length <= 720, `${times.length} points`);

  // What comes now stands behind it.
  const sensor = new Sensor(uuidOf(2), 3);
  await control.ok('POST', '/api/v1/sensors', { uuid: sensor.uuid, key: sensor.key });
  const socket = await control.gateway.tcp();
  await write(socket, sensor.frame('a line\n'));
  await until(async () => {
    const found = (await series()).types[3];
    return found?.bytesPerSecond.at(-1) > 0 || found?.bytesPerSecond.at(-2) > 0;
  }, 'it is in the series');
  const { types: both, times: now } = await series();
  for (const type of ['3', '8']) assert.equal(both[type].bytesPerSecond.length, now.length, type);
  socket.end();
  assert.equal(await control.gateway.stop(), 0);
});
