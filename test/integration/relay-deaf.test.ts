import assert from 'node:assert/strict';
import { connect, createServer, type Socket } from 'node:net';
import { after, test } from 'node:test';
import type { LedgerReport } from '../../src/ledger/report.js';
import { freePort } from '../support/ports.js';
import { Gateway } from './gateway.js';
import {
  closed,
  ledgerOf,
  Sensor,
  sharedSecret,
  storedOf,
  untilLedger,
  uuidOf,
  write,
} from './peers.js';
import { relaying, relayOf, untilSent } from './relaying.js';

test('a server that accepts and never reads is given up, and the stream goes on elsewhere', async () => {
  const far = await Gateway.start(sharedSecret());
  const port = await freePort();
  const sockets: Socket[] = [];
  after(() => {
    for (const socket of sockets) socket.destroy();
  });
  const deaf = createServer((socket) => {
    socket.on('error', () => {});
    socket.pause();
    sockets.push(socket);
  });
  await new Promise<void>((resolve) => deaf.listen(port, '127.0.0.1', resolve));
  // More than both kernels hold of a connection.
  const relay = { resendWindowBytes: '16MiB' };
  const near = await Gateway.start(relaying(`tcp://127.0.0.1:${port}`, relay));
  const sensor = new Sensor(uuidOf(1));
  const lines = Array.from({ length: 400 }, (_, number) => `${number} ${'x'.repeat(40_000)}\n`);
  const socket = await near.tls();
  await write(socket, Buffer.concat(lines.map((line) => sensor.frame(line))));
  socket.end();
  await closed(socket);
  const isOver = ({ sensors, sessions }: LedgerReport) =>
    sessions.length === 0 && sensors.some(({ ends }) => ends.closed === 1);
  await untilLedger(near, isOver, 'nobody waits for it');
  assert.equal(storedOf(near, sensor.uuid).toString(), lines.join(''));
  const lost = () => near.logged('relay lost a connection');
  await near.until(() => lost().length > 0, 'it is given up', 60_000);
  assert.match(String(lost()[0]!.detail), /taken nothing for 30 s/);
  deaf.close();
  // The next connection is taken by a server that reads.
  const proxy = createServer((socket) => {
    const onward = connect(far.tcpPort, '127.0.0.1');
    sockets.push(socket, onward);
    socket.pipe(onward).pipe(socket);
    for (const each of [socket, onward]) each.on('error', () => {});
  });
  await new Promise<void>((resolve) => proxy.listen(port, '127.0.0.1', resolve));
  after(() => proxy.close());
  await untilSent(near, lines.length, 'all is sent');
  await untilLedger(far, ({ sessions }) => sessions.length === 0, 'it is stored');
  assert.equal(storedOf(far, sensor.uuid).toString(), lines.join(''));
  assert.equal(relayOf(await ledgerOf(near))!.connections.lost, 1);
  for (const gateway of [near, far]) assert.equal(await gateway.stop(), 0);
});
