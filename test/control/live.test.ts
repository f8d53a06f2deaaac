import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, test } from 'node:test';
import { type ClientOptions, WebSocket } from 'ws';
import type { LiveMessage } from '../../src/control/live.js';
import { register, Sensor, uuidOf, write } from '../integration/peers.js';
import { Controlled } from './api.js';

const control = await Controlled.start();
const address = `${control.url.replace('http', 'ws')}/api/live`;

async function cookieOf(token: string): Promise<string> {
  const answer = await control.post('/api/v1/login', { token }, { token: null });
  return answer.headers.getSetCookie()[0]!.split(';')[0]!;
}
const cookie = await cookieOf(control.admin);

function open(headers: Record<string, string>): WebSocket {
  const options: ClientOptions = { headers, handshakeTimeout: 10_000 };
  const socket = new WebSocket(address, options);
  after(() => socket.terminate());
  return socket;
}

/** Messages as they come, parsed. */
function messagesOf(socket: WebSocket): () => Promise<LiveMessage> {
  const got: LiveMessage[] = [];
  let wake = () => {};
  socket.on('message', (data) => {
    got.push(JSON.parse(data.toString()) as LiveMessage);
    wake();
  });
  return async () => {
    while (got.length === 0) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    return got.shift()!;
  };
}

async function refusal(headers: Record<string, string>): Promise<number | undefined> {
  const socket = open(headers);
  socket.on('error', () => {});
  const [, response] = await once(socket, 'unexpected-response');
  return response.statusCode;
}

test('a page gets all, then what changed, once a second, the same as all others', async () => {
  const sockets = [open({ cookie, origin: control.url }), open({ cookie, origin: control.url })];
  const [first, second] = sockets.map(messagesOf);
  const full = await first!();
  assert.equal(full.kind, 'full');
  assert.equal((await second!()).kind, 'full');
  const sensor = new Sensor(uuidOf(1));
  await register(control.gateway, [sensor]);
  const socket = await control.gateway.tcp();
  await write(socket, sensor.frame('hello\n'));
  let state = full.kind === 'full' ? full.overview : undefined;
  let { seq } = full;
  while ((state!.received as Record<string, { frames: number }>)[3]?.frames !== 1) {
    const message = await first!();
    assert.equal(message.kind, 'delta');
    assert.equal(message.seq, seq + 1, 'none is left out');
    seq = message.seq;
    assert.ok(!('alerts' in (message as { changed: object }).changed), 'what is as it was stays');
    state = { ...state!, ...(message as { changed: object }).changed };
  }
  const { body } = await control.get('/api/v1/overview');
  assert.deepEqual(Object.keys(state!).sort(), Object.keys(body).sort());
  socket.end();
});

test('without a session, and from another origin, it is refused', async () => {
  assert.equal(await refusal({ origin: control.url }), 401);
  assert.equal(await refusal({ origin: control.url, cookie: 'd4gw=nonsense' }), 401);
  assert.equal(await refusal({ cookie, origin: 'https://evil.example' }), 403);
  assert.equal(await refusal({ cookie, origin: 'null' }), 403);
  assert.equal(await refusal({ cookie }), 403, 'no page sends none');
  const bearer = { origin: control.url, authorization: `Bearer ${control.admin}` };
  assert.equal(await refusal(bearer), 401, 'a token by header opens none');
});

test('a page that says too much is closed, and so is one whose session is over', async () => {
  const talker = open({ cookie, origin: control.url });
  await once(talker, 'open');
  talker.send('x'.repeat(5_000));
  await once(talker, 'close');
  const made = await control.ok('POST', '/api/v1/tokens', { name: 'guest', role: 'reader' });
  const guest = open({ cookie: await cookieOf(made.token), origin: control.url });
  await once(guest, 'open');
  await control.ok('DELETE', `/api/v1/tokens/${made.id}`);
  const [code] = await once(guest, 'close');
  assert.equal(code, 4401);
  assert.equal(await control.gateway.stop(), 0);
});
