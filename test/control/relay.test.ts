import assert from 'node:assert/strict';
import { test } from 'node:test';
import { register, Sensor, until, uuidOf, write } from '../integration/peers.js';
import { freePort } from '../support/ports.js';
import { Controlled, type Json } from './api.js';

test('a relay whose upstream is away is up, and what waits for it shows', async () => {
  const to = `tcp://127.0.0.1:${await freePort()}`;
  const control = await Controlled.start({
    config: {
      sinks: { partner: { kind: 'relay', to } },
      routes: [{ to: ['partner'] }],
    },
  });
  const sensor = new Sensor(uuidOf(1));
  await register(control.gateway, [sensor]);
  const socket = await control.gateway.tcp();
  await write(socket, sensor.frame('a line for the partner\n'));
  let partner: Json;
  await until(async () => {
    [partner] = await control.ok('GET', '/api/v1/sinks');
    return partner.figures.waitingFrames === 1;
  }, 'a frame waits');
  assert.deepEqual(
    [partner.kind, partner.state, partner.figures.waitingBytes],
    ['relay', 'ok', 23],
  );
  assert.ok(partner.spool.bytes > 0 && partner.spool.maxBytes > partner.spool.bytes);
  const spool = await control.metric('d4gw_spool_bytes');
  assert.ok(spool['{sink="partner"}']! > 0);
  assert.equal((await control.get('/readyz', { token: null })).status, 200);
  const { body } = await control.get('/api/v1/config');
  assert.equal(body.sinks.partner.to, to);
  socket.end();
  assert.equal(await control.gateway.stop(), 0);
});
