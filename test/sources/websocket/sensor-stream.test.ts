import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { after, describe, test } from 'node:test';
import { WebSocket } from 'ws';
import { Close, type WebSocketFault } from '../../../src/sources/websocket/frames.js';
import { SensorStream } from '../../../src/sources/websocket/sensor-stream.js';
import { type UpgradeRequest, Upgrades } from '../../../src/sources/websocket/upgrade.js';

const MIB = 1024 ** 2;

/** A listener whose requests are all taken; `next` gives the next connection's both ends. */
async function listen() {
  const server = createServer();
  const requests: ((request: UpgradeRequest) => void)[] = [];
  const upgrades = new Upgrades(5_000, {
    upgraded: (request) => requests.shift()!(request),
    failed: (_, __, detail) => assert.fail(detail),
  });
  server.on('connection', (socket) =>
    upgrades.take(socket, { connection: 1, source: 'wss', address: '127.0.0.1' }),
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  after(() => server.close());
  const { port } = server.address() as AddressInfo;
  return {
    async next() {
      const faults: WebSocketFault[] = [];
      const upgraded = new Promise<UpgradeRequest>((resolve) => requests.push(resolve));
      const client = new WebSocket(`ws://127.0.0.1:${port}/d4`, { perMessageDeflate: false });
      const request = await upgraded;
      request.accept();
      const stream = new SensorStream(
        request.socket,
        (fault) => {
          faults.push(fault);
          stream.destroy();
        },
        () => ({ code: Close.POLICY, reason: 'as told' }),
      );
      if (request.head.length > 0) stream.feed(request.head);
      await once(client, 'open');
      return { client, stream, socket: request.socket as Socket, faults };
    },
  };
}

describe('a sensor stream', async () => {
  const listener = await listen();

  test('paused, it stops the socket and holds little; resumed, it loses nothing', async () => {
    const { client, stream, socket } = await listener.next();
    const message = randomBytes(MIB);
    const sent = createHash('sha256');
    stream.pause();
    for (let count = 0; count < 48; count += 1) {
      message.writeUInt32LE(count);
      client.send(Buffer.from(message));
      sent.update(message);
    }
    client.close(1000);
    while (!socket.isPaused()) await new Promise((resolve) => setImmediate(resolve));
    assert.ok(stream.readableLength < MIB, `${stream.readableLength} bytes are held`);
    assert.ok(
      client.bufferedAmount > 16 * MIB,
      `${client.bufferedAmount} bytes wait at the client`,
    );
    const taken = createHash('sha256');
    for await (const chunk of stream) taken.update(chunk as Buffer);
    assert.equal(taken.digest('hex'), sent.digest('hex'));
  });

  test('a fault is told of after all before it was taken', async () => {
    const { client, stream, faults } = await listener.next();
    stream.pause();
    client.send(Buffer.from('before'));
    client.send('text');
    client.send(Buffer.from('after'));
    const closed = once(client, 'close');
    while (stream.readableLength < 6) await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(faults, []);
    const parts: Buffer[] = [];
    stream.on('data', (part: Buffer) => parts.push(part));
    stream.resume();
    const [code, reason] = await closed;
    assert.equal(Buffer.concat(parts).toString(), 'before');
    assert.deepEqual([code, String(reason)], [Close.POLICY, 'as told']);
    assert.deepEqual(
      faults.map(({ closeCode }) => closeCode),
      [Close.UNSUPPORTED_DATA],
    );
  });

  test('pings are answered, but not gathered for one that does not read', async () => {
    const { client, stream, socket } = await listener.next();
    stream.resume();
    client.ping('hello');
    const [payload] = await once(client, 'pong');
    assert.equal(String(payload), 'hello');
    client.pause();
    // As many bytes of pongs as no socket's buffers hold.
    const round = 10_000;
    for (let pings = 0; pings < 30; pings += 1) {
      for (let count = 0; count < round; count += 1) client.ping(Buffer.alloc(125));
      await new Promise<void>((resolve) => client.send(Buffer.from('x'), () => resolve()));
    }
    assert.ok(socket.writableLength < MIB, `${socket.writableLength} bytes of pongs wait`);
    client.terminate();
    await once(stream, 'close');
  });

  test('a socket that breaks breaks the stream, after what it had read', async () => {
    const { client, stream, socket } = await listener.next();
    stream.pause();
    client.send(Buffer.from('last words'));
    while (stream.readableLength < 10) await new Promise((resolve) => setImmediate(resolve));
    const failed = once(stream, 'error');
    socket.destroy(new Error('ECONNRESET'));
    const [error] = await failed;
    assert.equal(error.message, 'ECONNRESET');
    assert.equal(String(stream.read()), 'last words');
    client.terminate();
  });
});
