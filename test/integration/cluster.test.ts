import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { test } from 'node:test';
import type { LedgerReport } from '../../src/ledger/report.js';
import { randomOf, runSeed } from '../ring/fixture.js';
import { Gateway, send } from './gateway.js';
import { Sensor, sharedSecret, until, untilLedger, uuidOf, workersOf, write } from './peers.js';
import { dataFiles, filesBySensor, finish, gone, readAll, Source } from './traffic.js';

const WORKERS = 4;
const LINE = 'a line of a log\n';

function options(more: Record<string, unknown> = {}) {
  return sharedSecret({ workers: WORKERS, ...more });
}

const openedBy = (gateway: Gateway) =>
  new Map(gateway.logged('session opened').map(({ sensor, pid }) => [sensor, pid as number]));

/** Kernel timers of the gateway's side of its TCP connections: 2 is keep-alive (proc(5)). */
function timersOf(port: number): string[] {
  const local = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  return readFileSync('/proc/net/tcp', 'latin1')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[1]?.endsWith(local) && fields[3] === '01')
    .map((fields) => fields[5]!.split(':')[0]!);
}

test('connections are spread evenly, with keep-alive; a worker that dies takes its own', async () => {
  const gateway = await Gateway.start(options());
  const count = 10 * WORKERS;
  const sensors = Array.from({ length: count }, (_, index) => new Sensor(uuidOf(index)));
  const sockets = new Map<string, Socket>();
  for (const [index, sensor] of sensors.entries()) {
    const socket = index % 2 === 0 ? await gateway.tcp() : await gateway.unix();
    socket.resume();
    sockets.set(sensor.uuid, socket);
    await write(socket, sensor.frame(LINE));
  }
  await gateway.until(() => openedBy(gateway).size === count, 'all sessions are open');
  const perWorker = new Map<number, number>();
  for (const pid of openedBy(gateway).values()) {
    perWorker.set(pid, (perWorker.get(pid) ?? 0) + 1);
  }
  assert.deepEqual([...perWorker.values()], Array(WORKERS).fill(count / WORKERS));
  assert.deepEqual(new Set(perWorker.keys()), new Set(workersOf(gateway)));
  const timers = timersOf(gateway.tcpPort);
  assert.deepEqual(timers, Array(count / 2).fill('02'), 'keep-alive is on');

  const [victim] = perWorker.keys();
  process.kill(victim!, 'SIGKILL');
  const placed = openedBy(gateway);
  const cut = sensors.filter(({ uuid }) => placed.get(uuid) === victim);
  await Promise.all(cut.map(({ uuid }) => gone(sockets.get(uuid)!)));
  const others = sensors.filter(({ uuid }) => placed.get(uuid) !== victim);
  await until(() => workersOf(gateway).length === WORKERS, 'the worker is back');
  for (const sensor of others) {
    const socket = sockets.get(sensor.uuid)!;
    assert.ok(!socket.destroyed, 'the others stay');
    await write(socket, sensor.frame(LINE));
    await finish(socket);
  }
  assert.equal(await gateway.stop(), 0);
  const { code, ledger } = await gateway.ledger();
  assert.equal(code, 0);
  assert.equal(ledger.workerDeaths, 1);
  for (const { uuid } of others) {
    const entry = (ledger as LedgerReport).sensors.find(({ sensor }) => sensor === uuid)!;
    assert.deepEqual(entry.sinks[0]!.delivered, { frames: 2, bytes: 2 * LINE.length });
    assert.deepEqual(entry.ends, { closed: 1 });
  }
});

test('a connection that a dead worker had not been handed goes to another', async () => {
  const gateway = await Gateway.start(options());
  const [stopped] = workersOf(gateway);
  process.kill(stopped!, 'SIGSTOP');
  // Each worker gets three; the one that does not answer is handed the first alone.
  const sensors = Array.from({ length: 3 * WORKERS }, (_, index) => new Sensor(uuidOf(index)));
  const sockets: Socket[] = [];
  for (const sensor of sensors) {
    const socket = await gateway.tcp();
    socket.resume();
    sockets.push(socket);
    await write(socket, sensor.frame(LINE));
  }
  const served = 3 * (WORKERS - 1);
  await gateway.until(() => openedBy(gateway).size === served, 'the others serve');
  process.kill(stopped!, 'SIGKILL');
  await gateway.until(() => openedBy(gateway).size === served + 2, 'two are served after all');
  const left = sensors.findIndex(({ uuid }) => !openedBy(gateway).has(uuid));
  await gone(sockets[left]!);
  await Promise.all(sockets.filter((_, index) => index !== left).map(finish));
  assert.equal(await gateway.stop(), 0);
  const { code, ledger } = await gateway.ledger();
  assert.equal(code, 0);
  assert.equal(ledger.sensors.length, served + 2);
});

const WAVES = 20;
const WAVE = 500;
const RSS_GROWTH_MAX = 100 * 1024 * 1024;

test('10,000 connections leave nothing behind', async (context) => {
  const seed = runSeed();
  context.diagnostic(`seed ${seed} (D4GW_SEED)`);
  const random = randomOf(seed);
  const gateway = await Gateway.start(
    options({
      // A worker has fewer slots than connections come to it in all.
      limits: { maxConnections: WAVE + 100 },
      sinks: {
        disk: { kind: 'files', dir: './data/sensors', flushMs: 50 },
        nowhere: { kind: 'blackhole' },
      },
      routes: [
        { match: { types: [1] }, to: ['disk'] },
        { match: { types: [3] }, to: ['nowhere'] },
      ],
    }),
  );
  const processes = [gateway.process.pid, ...workersOf(gateway)];
  const fds = () => processes.map((pid) => readdirSync(`/proc/${pid}/fd`).length);
  const rss = () => processes.reduce((sum, pid) => sum + rssOf(pid), 0);
  let idle: number[] = [];
  let rssBefore = 0;
  let good = 0;
  for (let wave = 0; wave < WAVES; wave += 1) {
    await Promise.all(
      Array.from({ length: WAVE }, async (_, index) => {
        const sensor = new Sensor(uuidOf(index));
        const socket = connect({ host: '127.0.0.1', port: gateway.tcpPort, noDelay: true });
        socket.on('error', () => {});
        const frame = sensor.frame(LINE);
        if (index % 5 === 0) await send(socket, Buffer.alloc(0));
        else if (index % 5 === 1) await send(socket, frame.subarray(0, 1 + random(61)));
        else if (index % 5 === 2) await send(socket, Buffer.from('GET / HTTP/1.0\r\n\r\n'));
        else {
          good += 1;
          await send(socket, frame);
        }
      }),
    );
    if (wave === 0) {
      await until(() => timersOf(gateway.tcpPort).length === 0, 'the first wave is over');
      const report = (all: LedgerReport) => all.sessions.length === 0;
      await untilLedger(gateway, report, 'the first wave is in the books');
      idle = fds();
    }
    if (wave === WAVES / 2) rssBefore = rss();
  }
  const isIdle = () => fds().every((count, index) => count <= idle[index]!);
  await until(isIdle, 'no descriptor is left open');
  const grown = rss() - rssBefore;
  assert.ok(grown < RSS_GROWTH_MAX, `memory grew by ${grown} bytes over ${WAVES / 2} waves`);

  const source = new Source('pcap', random);
  const socket = await gateway.tls();
  await write(socket, source.frame(source.content.next(100_000)));
  await finish(socket);
  assert.equal(await gateway.stop(), 0);
  const { code, ledger } = await gateway.ledger();
  assert.equal(code, 0);
  assert.ok(readAll(dataFiles(filesBySensor(gateway).get(source.hex))).equals(source.payload));
  const nowhere = (ledger as LedgerReport).sinks.find(({ sink }) => sink === 'nowhere')!;
  assert.equal(nowhere.delivered.frames, good);
  assert.equal(ledger.refusals['bad-version'], (WAVES * WAVE) / 5);
  assert.equal(ledger.refusals.truncated, (WAVES * WAVE) / 5);
  assert.equal(ledger.workerDeaths, 0);
});

function rssOf(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1');
  return 1024 * Number(/^VmRSS:\s+(\d+)/m.exec(status)![1]);
}
