import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync, readlinkSync } from 'node:fs';
import type { Socket } from 'node:net';
import { describe, test } from 'node:test';
import { HANDOVER_TIMEOUT_MS } from '../../src/cluster/handovers.js';
import { LINES_PER_WINDOW_MAX } from '../../src/log/rate.js';
import { Gateway } from '../integration/gateway.js';
import {
  closed,
  ledgerOf,
  Sensor,
  sharedSecret,
  storedOf,
  until,
  untilLedger,
  uuidOf,
} from '../integration/peers.js';
import { childrenOf } from '../integration/traffic.js';

/** Connections that the primary takes on, each with a frame of a sensor of its own. */
class Crowd {
  readonly sensors: Sensor[] = [];
  readonly sockets: Socket[] = [];
  closed = 0;

  /** @param first number of its first sensor */
  constructor(
    readonly gateway: Gateway,
    readonly first = 0,
  ) {}

  async grow(count: number): Promise<void> {
    for (let index = 0; index < count; index += 1) {
      const sensor = new Sensor(uuidOf(this.first + this.sensors.length));
      const socket = await this.gateway.tcp();
      void closed(socket).then(() => {
        this.closed += 1;
      });
      socket.write(sensor.frame('line\n'));
      this.sensors.push(sensor);
      this.sockets.push(socket);
    }
  }

  /** Listeners accept in order: once one too many is refused, all before it have been dealt. */
  async dealt(): Promise<void> {
    await closed(await this.gateway.tcp());
  }

  stored(): number {
    return this.sensors.filter(({ uuid }) => storedOf(this.gateway, uuid).length > 0).length;
  }

  has(uuid: string): boolean {
    return this.sensors.some((sensor) => sensor.uuid === uuid);
  }

  end(): void {
    for (const socket of this.sockets) socket.destroy();
  }
}

/** So many connections are served at once: one counted in error would take a place. */
async function fits(gateway: Gateway, count: number): Promise<void> {
  await until(async () => {
    const crowd = new Crowd(gateway, count);
    await crowd.grow(count);
    const served = async () => {
      const { sessions } = await ledgerOf(gateway);
      return sessions.filter(({ sensor }) => crowd.has(sensor)).length === count;
    };
    await until(async () => crowd.closed > 0 || (await served()), 'each is served or refused');
    const all = crowd.closed === 0;
    crowd.end();
    await until(() => crowd.closed === count, 'all are closed');
    return all;
  }, `${count} connections fit again`);
}

/** How many sockets a process has open. */
function socketsOf(pid: number): number {
  const dir = `/proc/${pid}/fd`;
  return readdirSync(dir).filter((fd) => {
    try {
      return readlinkSync(`${dir}/${fd}`).startsWith('socket:');
    } catch {
      return false; // Closed meanwhile.
    }
  }).length;
}

const noWorker = (count: number) => (report: { refusals: Record<string, number> }) =>
  report.refusals['no-worker'] === count;

describe('a worker dies that connections were handed to', async () => {
  const CONNECTIONS = 8;
  const limits = { maxConnections: CONNECTIONS };
  const gateway = await Gateway.start(sharedSecret({ workers: 2, limits }));

  test('what it was sent is closed and counted, what waited for it goes to the other', async () => {
    const { pid } = gateway.process;
    const sockets = socketsOf(pid);
    const [stopped] = childrenOf(pid);
    process.kill(stopped!, 'SIGSTOP');
    const crowd = new Crowd(gateway);
    await crowd.grow(CONNECTIONS);
    await crowd.dealt();
    process.kill(stopped!, 'SIGKILL');
    // One handle at a time is on its way to a process.
    await until(() => crowd.stored() === CONNECTIONS - 1, 'the other worker has the rest');
    await until(() => crowd.closed === 1, 'the one that was sent is closed');
    await untilLedger(gateway, noWorker(1), 'it is counted');
    crowd.end();
    await fits(gateway, CONNECTIONS);
    // Its channel is closed too.
    await until(() => childrenOf(pid).length === 2, 'it starts again');
    await until(() => socketsOf(pid) === sockets, `${sockets} sockets, as before`);
    assert.equal(await gateway.stop(), 0);
  });
});

describe('a worker stands still', async () => {
  const CONNECTIONS = 4;
  const limits = { maxConnections: CONNECTIONS };
  const gateway = await Gateway.start(sharedSecret({ workers: 1, limits }));

  test('what it was not sent is closed after a while; it goes on with the rest', async () => {
    const [worker] = childrenOf(gateway.process.pid);
    process.kill(worker!, 'SIGSTOP');
    const crowd = new Crowd(gateway);
    await crowd.grow(CONNECTIONS);
    await crowd.dealt();
    await until(() => crowd.closed === CONNECTIONS - 1, `closed after ${HANDOVER_TIMEOUT_MS} ms`);
    await closed(await gateway.tcp());
    await untilLedger(gateway, noWorker(CONNECTIONS), 'they are counted, and one more');
    process.kill(worker!, 'SIGCONT');
    await until(() => crowd.stored() === 1, 'the one that was sent is served');
    assert.equal(crowd.closed, CONNECTIONS - 1);
    crowd.end();
    await fits(gateway, CONNECTIONS);
    assert.equal(await gateway.stop(), 0);
  });
});

describe('a worker is out of file descriptors', async () => {
  const CONNECTIONS = 40;
  const SPARE = 10;
  const limits = { maxConnections: CONNECTIONS };
  const routes = [{ match: {}, to: ['nowhere'] }];
  const sinks = { nowhere: { kind: 'blackhole' } };
  const gateway = await Gateway.start(sharedSecret({ workers: 1, limits, sinks, routes }));
  const [worker] = childrenOf(gateway.process.pid);
  const limitFiles = (soft: number | string) =>
    execFileSync('prlimit', ['--pid', `${worker}`, `--nofile=${soft}:`]);

  test('connections that it could not get are closed and counted, and make room', async () => {
    // The limit is on the number of a descriptor: it must leave so many free ones below it.
    const open = new Set(readdirSync(`/proc/${worker}/fd`).map(Number));
    let soft = 0;
    for (let free = 0; free < SPARE; soft += 1) if (!open.has(soft)) free += 1;
    limitFiles(soft);
    const crowd = new Crowd(gateway);
    await crowd.grow(CONNECTIONS);
    await crowd.dealt();
    const report = await untilLedger(
      gateway,
      ({ refusals, sessions }) => (refusals['no-worker'] ?? 0) + sessions.length === CONNECTIONS,
      'each is served or refused',
    );
    assert.ok(report.refusals['no-worker']! > 0);
    await until(() => crowd.closed === report.refusals['no-worker'], 'those refused are closed');
    limitFiles(soft + 4 * CONNECTIONS);
    crowd.end();
    await fits(gateway, CONNECTIONS);
    assert.equal(await gateway.stop(), 0);
  });
});

describe('no worker is ready', async () => {
  const CONNECTIONS = 30;
  const gateway = await Gateway.start(sharedSecret({ workers: 1 }));

  test('each connection is counted, a few are logged', async () => {
    process.kill(childrenOf(gateway.process.pid)[0]!, 'SIGKILL');
    await gateway.until(() => gateway.logged('worker died').length === 1, 'the death is noticed');
    const sensors = Array.from({ length: CONNECTIONS }, (_, index) => new Sensor(uuidOf(index)));
    await Promise.all(
      sensors.map(async (sensor) => {
        const socket = await gateway.tcp();
        socket.end(sensor.frame('line\n'));
        await closed(socket);
      }),
    );
    const report = await untilLedger(
      gateway,
      ({ refusals, sensors: known }) => (refusals['no-worker'] ?? 0) + known.length === CONNECTIONS,
      'each is counted',
    );
    assert.ok(report.refusals['no-worker']! > LINES_PER_WINDOW_MAX);
    const lines = gateway.log().filter(({ reason, more }) => reason === 'no-worker' && !more);
    assert.equal(lines.length, LINES_PER_WINDOW_MAX);
    assert.equal(await gateway.stop(), 0);
  });
});
