import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { after, test } from 'node:test';
import { WebSocket } from 'ws';
import { HttpServer } from '../../src/control/server.js';

const CONNECTIONS_MAX = 3;

/**
 * Anybody who reached the port could hold any number of connections: the primary then had no
 * descriptor left to accept sensors with.
 */
test('the control plane has so many connections at a time and no more', async () => {
  const server = await HttpServer.listen({
    host: '127.0.0.1',
    port: 0,
    connectionsMax: CONNECTIONS_MAX,
    serve: async (res) => {
      res.end('served');
    },
  });
  after(() => server.close());
  const sockets: Socket[] = [];
  after(() => {
    for (const socket of sockets) socket.destroy();
  });
  const open = async () => {
    const socket = connect(server.port, '127.0.0.1');
    socket.on('error', () => {});
    sockets.push(socket);
    socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    return await Promise.race([
      once(socket, 'data').then(([data]) => (data as Buffer).includes('served')),
      once(socket, 'close').then(() => false),
    ]);
  };
  for (let count = 0; count < CONNECTIONS_MAX; count += 1) assert.equal(await open(), true);
  assert.equal(await open(), false);
  const first = sockets[0]!;
  first.destroy();
  await once(first, 'close');
  let isServed = false;
  for (let tries = 0; tries < 100 && !isServed; tries += 1) isServed = await open();
  assert.equal(isServed, true);
});

/** Each WebSocket that had ended counted as open for good: after 6,000 the control plane was away. */
test('a WebSocket that has ended makes room', async () => {
  const server = await HttpServer.listen({
    host: '127.0.0.1',
    port: 0,
    connectionsMax: CONNECTIONS_MAX,
    extend: (app, ended) => app.ws('/ws', { close: ended }),
    serve: async (res) => {
      res.end('served');
    },
  });
  after(() => server.close());
  const dial = () => new WebSocket(`ws://127.0.0.1:${server.port}/ws`);
  for (let count = 0; count < 4 * CONNECTIONS_MAX; count += 1) {
    const socket = dial();
    await once(socket, 'open');
    socket.close();
    await once(socket, 'close');
  }
  const held = [];
  for (let count = 0; count < CONNECTIONS_MAX; count += 1) {
    const socket = dial();
    held.push(socket);
    await once(socket, 'open');
  }
  const beyond = dial();
  const [error] = await once(beyond, 'error');
  assert.ok(error instanceof Error, 'those that are open count');
  for (const socket of held) socket.terminate();
});
