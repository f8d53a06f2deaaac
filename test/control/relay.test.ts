import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Gateway } from '../integration/gateway.js';
import { gatewayDir, giveToken, startReceiver } from '../integration/linked.js';
import { register, Sensor, sharedSecret, until, uuidOf, write } from '../integration/peers.js';
import { steady } from '../integration/relaying.js';
import { freePort } from '../support/ports.js';
import { Controlled, type Json } from './api.js';

async function partnerOf(control: Controlled): Promise<Json> {
  const sinks = await control.ok('GET', '/api/v1/sinks');
  return sinks.find(({ name }: Json) => name === 'partner');
}

const ready = async (control: Controlled) => (await control.get('/readyz', { token: null })).status;

const kinds = async (control: Controlled): Promise<string[]> =>
  (await control.ok('GET', '/api/v1/alerts')).open.map(
    ({ kind, severity }: Json) => `${kind} ${severity}`,
  );

test('a relay whose server is away fails, says why, and takes what comes', async () => {
  const far = await steady();
  const to = `tcp://127.0.0.1:${far.tcp}`;
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
    partner = await partnerOf(control);
    return partner.state === 'failing' && partner.lagSeconds > 1;
  }, 'it is seen to be away');
  assert.deepEqual(
    [partner.kind, partner.takes, partner.figures.waitingFrames, partner.figures.waitingBytes],
    ['relay', true, 1, 23],
  );
  assert.match(partner.lastError.text, /^tcp:\/\/127\.0\.0\.1:\d+: .*(ECONNREFUSED|refused)/);
  assert.ok(partner.spool.bytes > 0 && partner.spool.maxBytes > partner.spool.bytes);
  const labels = '{sink="partner"}';
  assert.ok((await control.metric('d4gw_spool_bytes'))[labels]! > 0);
  assert.ok((await control.metric('d4gw_sink_lag_seconds'))[labels]! > 1);
  assert.equal((await control.metric('d4gw_sink_taking'))[labels], 1);
  assert.equal((await control.metric('d4gw_sink_up'))['{sink="partner",kind="relay"}'], 0);
  assert.equal(await ready(control), 200, 'what is kept is no reason to send sensors elsewhere');
  await until(async () => `${await kinds(control)}` === 'sink-failing warning', 'it is told');
  assert.equal((await control.ok('GET', '/api/v1/config')).sinks.partner.to, to);

  const server = await Gateway.start(far.options);
  await until(async () => (await partnerOf(control)).state === 'ok', 'it is back');
  await write(socket, sensor.frame('another\n'));
  await until(async () => (await partnerOf(control)).lagSeconds === 0, 'all is sent');
  // A stream that is quiet is not behind, though plain D4 confirms nothing of it.
  await sleep(3_000);
  partner = await partnerOf(control);
  assert.deepEqual([partner.lagSeconds, partner.lastError], [0, null]);
  await until(async () => (await kinds(control)).length === 0, 'it is over');
  socket.end();
  assert.equal(await control.gateway.stop(), 0);
  await server.stop();
});

test('one without room takes nothing: the gateway is not ready', async () => {
  const to = `tcp://127.0.0.1:${await freePort()}`;
  const spool = { maxBytes: '16MiB' };
  const control = await Controlled.start(
    sharedSecret({
      workers: 1,
      sinks: { partner: { kind: 'relay', to, spool } },
      routes: [{ to: ['partner'] }],
    }),
  );
  const sensor = new Sensor(uuidOf(2));
  const socket = await control.gateway.tcp();
  socket.on('error', () => {});
  const line = `${'x'.repeat(60_000)}\n`;
  for (let frames = 0; frames < 600; frames += 1) socket.write(sensor.frame(line));
  await until(async () => !(await partnerOf(control)).takes, 'it is full');
  const partner = await partnerOf(control);
  assert.equal(partner.state, 'failing');
  assert.equal(await ready(control), 503);
  await until(async () => (await kinds(control)).includes('sink-failing critical'), 'it is told');
  socket.destroy();
  await control.gateway.stop();
});

test('a link lags by what the other gateway has not acknowledged', async () => {
  const farDir = gatewayDir();
  const port = await freePort();
  const first = await startReceiver(farDir, port);
  const near = sharedSecret({
    sinks: {
      partner: {
        kind: 'relay',
        to: `wss://127.0.0.1:${port}`,
        caFile: first.certFile,
        servername: 'localhost',
        tokenFile: './token',
      },
    },
    routes: [{ to: ['partner'] }],
  });
  await giveToken(first, near.dir!, 'near');
  const control = await Controlled.start(near);
  const sensor = new Sensor(uuidOf(3));
  const socket = await control.gateway.tcp();
  await write(socket, sensor.frame('one\n'));
  await until(async () => {
    const { state, lagSeconds, delivered } = await partnerOf(control);
    return state === 'ok' && lagSeconds === 0 && delivered.frames === 1;
  }, 'it is acknowledged');
  await first.stop();
  await write(socket, sensor.frame('two\n'));
  await until(async () => {
    const { state, takes, lagSeconds } = await partnerOf(control);
    return state === 'failing' && takes && lagSeconds > 1;
  }, 'it is away, and keeps what comes');
  const second = await startReceiver(farDir, port);
  await until(async () => {
    const { state, lagSeconds } = await partnerOf(control);
    return state === 'ok' && lagSeconds === 0;
  }, 'it has caught up');
  socket.end();
  assert.equal(await control.gateway.stop(), 0);
  await second.stop();
});
