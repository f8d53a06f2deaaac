import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  closed,
  register,
  Sensor,
  sensorsOf,
  storedOf,
  until,
  untilLedger,
  uuidOf,
  workersOf,
  write,
} from '../integration/peers.js';
import { Controlled, type Json } from './api.js';

const control = await Controlled.start({
  config: {
    limits: { ringBytes: '1MiB' },
    sinks: {
      disk: { kind: 'files', dir: './data/sensors', flushMs: 100 },
      darknet: { kind: 'files', dir: './data/darknet', flushMs: 100 },
    },
    routes: [
      { match: {}, to: ['disk'] },
      { match: { groups: ['darknet'] }, to: ['darknet'] },
    ],
  },
});
const { gateway } = control;

const sessionsOf = async (sensor: Sensor): Promise<Json[]> =>
  (await control.ok('GET', `/api/v1/sessions?sensor=${sensor.uuid}`)).sessions;

/** A connection whose first frame was verified. */
async function streaming(sensor: Sensor) {
  const socket = await gateway.tls();
  await write(socket, sensor.frame('hello\n'));
  await until(async () => (await sessionsOf(sensor)).length === 1, 'it streams');
  return socket;
}

async function refusedAs(sensor: Sensor, reason: string): Promise<void> {
  const socket = await gateway.tcp();
  socket.write(sensor.frame('again\n'));
  await closed(socket);
  await until(async () => {
    const { rejects } = await control.ok('GET', `/api/v1/rejects?reason=${reason}`);
    return rejects.some((one: Json) => one.sensor === sensor.uuid && one.address === '127.0.0.1');
  }, `it is refused as ${reason}`);
}

describe('an operator', () => {
  test('ends a session, whose sensor is kept out for as long as was said', async () => {
    const sensor = new Sensor(uuidOf(1));
    await register(gateway, [sensor]);
    const socket = await streaming(sensor);
    const [session] = await sessionsOf(sensor);
    const path = `/api/v1/sessions/${session.id}/kick`;
    const { bannedUntil } = await control.ok('POST', path, { banSeconds: 3 });
    await closed(socket);
    await until(async () => (await sessionsOf(sensor)).length === 0, 'it is over');
    await refusedAs(sensor, 'sensor-kicked');
    // Another type of the same sensor is not meant.
    const other = await streaming(new Sensor(sensor.uuid, 8));
    other.end();
    await closed(other);
    await until(() => Date.now() > Date.parse(bannedUntil) + 1000, 'the ban is over');
    const again = await streaming(sensor);
    const [next] = await sessionsOf(sensor);
    await control.ok('POST', `/api/v1/sessions/${next.id}/kick`, { banSeconds: 0 });
    await closed(again);
    await until(async () => (await sessionsOf(sensor)).length === 0, 'it is over too');
    (await streaming(sensor)).end();
    const report = await untilLedger(
      gateway,
      (now) => sensorsOf(now, sensor.uuid, 3)[0]?.ends['sensor-kicked'] === 2,
      'both ends are counted',
    );
    assert.equal(report.balanced, true);
  });

  test('blocks and unblocks a sensor, and decides on a pending one', async () => {
    const sensor = new Sensor(uuidOf(2));
    const body = { uuid: sensor.uuid, hmac_key: sensor.key };
    await control.ok('POST', '/api/v1/add/sensor/register', body);
    await refusedAs(sensor, 'sensor-pending');
    await control.ok('POST', `/api/v1/sensors/${sensor.uuid}/approve`);
    const socket = await streaming(sensor);
    await control.ok('POST', `/api/v1/sensors/${sensor.uuid}/block`);
    await closed(socket);
    await refusedAs(sensor, 'sensor-blocked');
    await until(async () => {
      const { state, lastReject } = await control.ok('GET', `/api/v1/sensors/${sensor.uuid}`);
      return state === 'blocked' && lastReject.reason === 'sensor-blocked';
    }, 'its record says so');
    await control.ok('POST', `/api/v1/sensors/${sensor.uuid}/unblock`);
    (await streaming(sensor)).end();
  });

  test('routes a sensor by its group', async () => {
    const sensor = new Sensor(uuidOf(3));
    const { uuid, key } = sensor;
    await control.ok('POST', '/api/v1/sensors', { uuid, key, groups: ['darknet'] });
    const socket = await streaming(sensor);
    socket.end();
    await closed(socket);
    const report = await untilLedger(
      gateway,
      (now) => sensorsOf(now, uuid)[0]?.ends.closed === 1,
      'it is counted',
    );
    const { sinks } = sensorsOf(report, uuid)[0]!;
    assert.deepEqual(
      sinks.map(({ sink, delivered }) => [sink, delivered.frames]),
      [
        ['darknet', 1],
        ['disk', 1],
      ],
    );
  });

  test('stops a sink without the loss of a frame: those who feed it wait', async () => {
    const sensor = new Sensor(uuidOf(4));
    await register(gateway, [sensor]);
    const socket = await streaming(sensor);
    await control.ok('POST', '/api/v1/sinks/disk/pause');
    const [disk] = await control.ok('GET', '/api/v1/sinks');
    assert.deepEqual([disk.name, disk.state], ['disk', 'stopped']);
    const ready = await control.get('/readyz', { token: null });
    assert.equal(ready.status, 503);
    // More than the ring and all socket buffers take.
    const line = `${'x'.repeat(99_999)}\n`;
    const frames = 400;
    let taken = 0;
    for (let index = 0; index < frames; index += 1) {
      socket.write(sensor.frame(line), () => {
        taken += 1;
      });
    }
    await until(() => taken > 0, 'something was taken');
    let before = -1;
    await until(async () => {
      const now = taken;
      const isStill = now === before;
      before = now;
      await new Promise((resolve) => setTimeout(resolve, 500));
      return isStill && taken === now;
    }, 'nothing more is taken');
    assert.ok(taken < frames, `${taken} of ${frames} frames went out`);
    // A worker that begins while a sink is held holds it too.
    const { body } = await control.get('/api/v1/overview');
    assert.ok(body.alerts.first.some((one: Json) => one.kind === 'sink-stopped'));
    await control.ok('POST', '/api/v1/sinks/disk/resume');
    await new Promise<void>((resolve) => socket.end(() => resolve()));
    await untilLedger(
      gateway,
      (now) => sensorsOf(now, sensor.uuid)[0]?.ends.closed === 1,
      'all of it is counted',
    );
    assert.equal(storedOf(gateway, sensor.uuid).length, 'hello\n'.length + frames * line.length);
    assert.equal((await control.get('/readyz', { token: null })).status, 200);
  });
});

describe('figures', () => {
  test('what is counted is what the ledger says, also of a worker that died', async () => {
    const sensors = [10, 11, 12, 13].map((number) => new Sensor(uuidOf(number), 8));
    await register(gateway, sensors);
    const sockets = await Promise.all(sensors.map(streaming));
    // Told once a second, and delivered a moment after it was received.
    const agree = async () => {
      const { sinks } = await control.ok('GET', '/api/v1/ledger');
      const delivered = await control.metric('d4gw_frames_delivered_total');
      const disk = sinks.find((one: Json) => one.sink === 'disk');
      const isAll = disk.inFlight.frames === 0;
      return isAll && delivered['{sink="disk"}'] === disk.delivered.frames;
    };
    await until(agree, 'metrics and ledger agree');
    let before = 0;
    await until(async () => {
      before = (await control.ok('GET', '/api/v1/overview')).received[8]?.frames ?? 0;
      return before >= 4;
    }, 'the overview has them too');
    const [victim] = workersOf(gateway);
    process.kill(victim!, 'SIGKILL');
    await until(async () => {
      const { workers } = await control.ok('GET', '/api/v1/overview');
      return workers.some((one: Json) => one.deaths === 1 && one.state === 'running');
    }, 'the worker runs again');
    const overview = await control.ok('GET', '/api/v1/overview');
    assert.ok(overview.received[8].frames >= before, 'nothing is forgotten');
    assert.ok(overview.alerts.first.some((one: Json) => one.kind === 'worker-restarted'));
    for (const socket of sockets) socket.destroy();
    await until(async () => (await control.ok('GET', '/api/v1/sessions')).total === 0, 'all over');
    await until(agree, 'they still do');
    const deaths = await control.metric('d4gw_worker_deaths_total');
    assert.equal(
      Object.values(deaths).reduce((sum, one) => sum + one, 0),
      1,
    );
  });

  test('metrics tell of every family with bounded labels', async () => {
    const { body } = await control.get('/metrics');
    for (const name of [
      'd4gw_frames_received_total{type="3",name="log"}',
      'd4gw_bytes_received_total{type="3"',
      'd4gw_connections_refused_total{reason="sensor-blocked"}',
      'd4gw_sessions 0',
      'd4gw_ring_used_ratio{worker="0"}',
      'd4gw_event_loop_delay_seconds{worker="1",thread="sink"}',
      'd4gw_worker_cpu_seconds_total{worker="0",mode="user"}',
    ]) {
      assert.ok(body.includes(`\n${name}`), name);
    }
    assert.equal(body.includes(uuidOf(1)), false, 'no series for each sensor');
    assert.equal(await gateway.stop(), 0);
  });
});
