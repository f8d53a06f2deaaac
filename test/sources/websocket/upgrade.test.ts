import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { after, describe, test } from 'node:test';
import { type UpgradeRequest, Upgrades } from '../../../src/sources/websocket/upgrade.js';
import { Reject, type RejectCode } from '../../../src/wire/reject.js';

const HEAD = 'GET /d4 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n';
/** The key and its answer are those of RFC 6455, section 1.3. */
const KEY = 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';
const ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=';
const VERSION = 'Sec-WebSocket-Version: 13\r\n';

const REQUESTS: [string, string, RegExp, RegExp][] = [
  ['a plain request', 'GET / HTTP/1.1\r\nHost: x\r\n\r\n', /^HTTP\/1.1 426 /, /asks for no WebS/],
  ['no HTTP', 'SSH-2.0-OpenSSH_9.2\r\n\r\n', /^HTTP\/1.1 400 /, /no HTTP request/],
  ['a POST', `${HEAD.replace('GET', 'POST')}${KEY}${VERSION}\r\n`, /^HTTP\/1.1 400 /, /by POST/],
  ['no key', `${HEAD}${VERSION}\r\n`, /^HTTP\/1.1 400 /, /Sec-WebSocket-Key is missing/],
  [
    'an old version',
    `${HEAD}${KEY}Sec-WebSocket-Version: 8\r\n\r\n`,
    /^HTTP\/1.1 426 [\s\S]*Sec-WebSocket-Version: 13\r\n/,
    /version "8", not 13/,
  ],
  [
    'another protocol',
    `${HEAD.replace('websocket', 'h2c')}${KEY}${VERSION}\r\n`,
    /^HTTP\/1.1 400 /,
    /an upgrade to "h2c"/,
  ],
  [
    'headers without end',
    `${HEAD}X-Padding: ${'x'.repeat(20_000)}`,
    /^HTTP\/1.1 431 /,
    /headers are over 8192 bytes/,
  ],
];

interface Failure {
  code: RejectCode;
  detail: string;
}

describe('an upgrade request', async () => {
  const failures: Failure[] = [];
  let take: (request: UpgradeRequest) => void = () => assert.fail('it was taken');
  const upgrades = new Upgrades(5_000, {
    upgraded: (request) => take(request),
    failed: (code, origin, detail) => {
      assert.equal(origin.address, '127.0.0.1');
      failures.push({ code, detail });
    },
  });
  const server = createServer((socket) =>
    upgrades.take(socket, { connection: 1, source: 'wss', address: '127.0.0.1' }),
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  after(() => server.close());
  const { port } = server.address() as AddressInfo;

  /** Sends bytes; what comes back until the other end closes. */
  async function answer(bytes: string): Promise<string> {
    const socket = connect(port, '127.0.0.1');
    let text = '';
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
    });
    socket.on('error', () => {});
    socket.write(bytes);
    await once(socket, 'close');
    return text;
  }

  for (const [name, request, expected, detail] of REQUESTS) {
    test(`${name} is refused once, with a reason`, async () => {
      failures.length = 0;
      assert.match(await answer(request), expected);
      assert.equal(failures.length, 1);
      assert.equal(failures[0]!.code, Reject.BAD_UPGRADE);
      assert.match(failures[0]!.detail, detail);
    });
  }

  test('a good one is answered as the RFC says; what came with it is handed on', async () => {
    failures.length = 0;
    const taken = new Promise<UpgradeRequest>((resolve) => {
      take = (request) => {
        request.accept();
        request.socket.end('frames');
        resolve(request);
      };
    });
    const more = 'Authorization: Bearer abc\r\n';
    const text = await answer(
      `${HEAD.replace('/d4', '/d4?x=1')}${KEY}${VERSION}${more}\r\nfirst bytes`,
    );
    assert.match(text, /^HTTP\/1.1 101 Switching Protocols\r\n/);
    assert.ok(text.includes(`Sec-WebSocket-Accept: ${ACCEPT}\r\n`));
    assert.ok(text.endsWith('\r\n\r\nframes'));
    const { path, head, authorization } = await taken;
    assert.deepEqual([path, head.toString(), authorization], ['/d4', 'first bytes', 'Bearer abc']);
    assert.deepEqual(failures, []);
  });

  test('its taker may refuse it', async () => {
    failures.length = 0;
    take = (request) => request.refuse(401, Reject.BAD_UPGRADE, 'no such token');
    assert.match(await answer(`${HEAD}${KEY}${VERSION}\r\n`), /^HTTP\/1.1 401 Unauthorized\r\n/);
    assert.deepEqual(failures, [{ code: Reject.BAD_UPGRADE, detail: 'no such token' }]);
  });
});
