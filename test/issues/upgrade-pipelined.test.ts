import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Upgrades } from '../../src/sources/websocket/upgrade.js';

/** Each had a timer and a listener of its own, and the eleventh a line on stderr, for any stranger. */
test('a stranger that asks for many pages at once is lingered for once', async () => {
  const warnings: string[] = [];
  const warned = (warning: Error) => warnings.push(warning.name);
  process.on('warning', warned);
  after(() => process.off('warning', warned));
  const failed: string[] = [];
  const upgrades = new Upgrades(5_000, {
    upgraded: () => assert.fail('no WebSocket was asked for'),
    failed: (_, __, detail) => failed.push(detail),
  });
  const server = createServer((socket) => {
    upgrades.take(socket, { connection: 1, source: 'wss', address: 'stranger' });
  });
  server.listen(0, '127.0.0.1');
  after(() => server.close());
  await once(server, 'listening');
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  socket.on('error', () => {});
  socket.resume();
  socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(100));
  await once(socket, 'close');
  await sleep(20);
  assert.deepEqual(failed, ['GET "/" asks for no WebSocket']);
  assert.deepEqual(warnings, []);
});
