import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Reply } from '../../src/control/http/reply.js';
import { beginExchange, send } from '../../src/control/http/send.js';
import { HttpServer } from '../../src/control/server.js';

const REQUEST = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
/** What the kernel may take of answers that nobody reads. */
const KERNEL_BYTES_MAX = 16 * 1024 * 1024;
const ROUNDS = 40;

/**
 * Who asked again and again, and read nothing, had its answers gathered in the primary without a bound:
 * 90 MB a second by one connection that had logged in nowhere.
 */
async function askWithoutReading(reply: Reply, answerBytes: number, method = 'GET') {
  let served = 0;
  const server = await HttpServer.listen({
    host: '127.0.0.1',
    port: 0,
    serve: (res, req) => {
      served += 1;
      return send(beginExchange(res), reply, req.getCaseSensitiveMethod() === 'HEAD');
    },
  });
  after(() => server.close());
  const socket = connect(server.port, '127.0.0.1');
  socket.pause();
  let isClosed = false;
  socket.on('error', () => {});
  socket.on('close', () => {
    isClosed = true;
  });
  after(() => socket.destroy());
  const asked = Math.ceil((4 * KERNEL_BYTES_MAX) / answerBytes);
  const part = REQUEST.replace('GET', method).repeat(Math.ceil(asked / ROUNDS));
  for (let round = 0; round < ROUNDS && !isClosed && socket.writable; round += 1) {
    socket.write(part);
    await sleep(5);
  }
  await sleep(200);
  const bytes = served * answerBytes;
  assert.ok(bytes <= KERNEL_BYTES_MAX, `${served} of ${asked} answers, ${bytes} bytes`);
}

test('large answers that nobody reads are not gathered', async () => {
  const body = Buffer.alloc(300_000, 'x');
  await askWithoutReading({ status: 200, body }, body.length);
});

test('small answers that nobody reads are not gathered', async () => {
  await askWithoutReading({ status: 200, body: '{"status":"ok"}' }, 900);
});

test('answers without a body that nobody reads are not gathered', async () => {
  await askWithoutReading({ status: 304, headers: { etag: '"a"' } }, 900);
});

test('answers to HEAD that nobody reads are not gathered', async () => {
  await askWithoutReading({ status: 200, body: '{"status":"ok"}' }, 900, 'HEAD');
});
