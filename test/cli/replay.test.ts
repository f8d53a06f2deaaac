import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { Pace } from '../../src/cli/pace.js';
import { FrameReader } from '../../src/wire/frame-reader.js';
import { d4gw } from '../support/program.js';
import { tempDir } from '../support/tmp.js';
import { append, archivePart, frame, metaSession, sensor } from './archives.js';

const A = sensor(1);
const B = sensor(2);
const plain = (id: string, uuid: string) => ({
  id,
  sensor: uuid,
  type: 3,
  openedAt: new Date(1e12),
});

describe('d4gw replay', () => {
  const archive = tempDir('replay');
  let server: Server;
  let to: string;
  /** What each connection brought, in the order of their ends, and how many were open at once. */
  let received: Buffer[];
  let live: Map<string, number>;
  let clashes: number;
  let refuse: ((socket: Socket) => void) | undefined;

  before(async () => {
    await archivePart(archive, async (spool) => {
      const one = spool.openSession(plain('one', A));
      const two = spool.openSession(plain('two', B));
      append(spool, one, frame(A, 3, 'a1\n', 1_000), frame(A, 3, 'a2\n', 2_000));
      append(spool, two, frame(B, 3, 'b1\n', 1_500));
      await spool.flush();
      // A new session of a sensor begins before the old one is over, as after a broken connection.
      const again = spool.openSession(plain('again', A));
      append(spool, again, frame(A, 3, 'again\n', 3_000));
      await spool.flush();
      append(spool, one, frame(A, 3, 'a3\n', 3_000));
      spool.endSession(one, 'closed', '');
      const meta = spool.openSession(metaSession('meta', B));
      append(spool, meta, frame(B, 254, '{"ja3":1}\n', 2_500));
      spool.endSession(meta, 'closed', '');
      const alone = spool.openSession(metaSession('alone', A));
      spool.endSession(alone, 'closed', '');
      spool.endSession(two, 'closed', '');
      spool.endSession(again, 'closed', '');
      await spool.flush();
    });
    server = createServer((socket) => {
      if (refuse) {
        refuse(socket);
        return;
      }
      const chunks: Buffer[] = [];
      let stream: string | undefined;
      socket.on('data', (chunk) => {
        chunks.push(chunk);
        if (stream !== undefined) return;
        stream = `${chunk.subarray(2, 18).toString('hex')}/${chunk[1]}`;
        live.set(stream, (live.get(stream) ?? 0) + 1);
        if (live.get(stream)! > 1) clashes += 1;
      });
      socket.on('error', () => {});
      socket.on('end', () => {
        received.push(Buffer.concat(chunks));
        if (stream !== undefined) live.set(stream, live.get(stream)! - 1);
        socket.end();
      });
    });
    server.listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    to = `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  after(() => server.close());
  beforeEach(() => {
    received = [];
    live = new Map();
    clashes = 0;
    refuse = undefined;
  });

  /** The payloads of each connection, sorted. */
  const texts = () =>
    received
      .map((bytes) => {
        const reader = new FrameReader({ maxPayloadBytes: 1_000, types: [2, 3, 254] });
        return [...reader.push(bytes)].map(({ payload }) => payload.toString()).join('|');
      })
      .sort();
  const META = '{"typ|e":"ja3-jl"}|';

  it('sends each session by a connection of its own, one at a time for a sensor and type', async () => {
    const { code, stderr } = await d4gw(['replay', archive, '--to', to]);
    assert.equal(code, 0, stderr);
    assert.deepEqual(
      texts(),
      ['a1\n|a2\n|a3\n', 'again\n', 'b1\n', META, `${META}|{"ja3":1}\n`].sort(),
    );
    assert.equal(clashes, 0);
    const all = Buffer.concat([
      frame(A, 3, 'a1\n', 1_000),
      frame(A, 3, 'a2\n', 2_000),
      frame(A, 3, 'a3\n', 3_000),
    ]);
    assert.ok(
      received.some((bytes) => bytes.equals(all)),
      'byte for byte',
    );
    assert.match(stderr, /^d4gw replay: 12 frames \(\d+ bytes\) of 5 sessions sent to tcp:/m);
  });

  it('sends all in turn where one connection is allowed', async () => {
    const { code } = await d4gw(['replay', archive, '--to', to, '--connections', '1']);
    assert.equal(code, 0);
    assert.equal(received.length, 5);
  });

  it('takes what is asked for: sensor, type, time', async () => {
    for (const [args, expected] of [
      [['--sensor', B, '--type', '3'], ['b1\n']],
      [
        ['--type', '254'],
        [META, `${META}|{"ja3":1}\n`],
      ],
      [
        ['--from', '2000', '--until', '1970-01-01T00:50:00Z'],
        ['a2\n', `${META}|{"ja3":1}\n`],
      ],
    ] as const) {
      received = [];
      const { code } = await d4gw(['replay', archive, '--to', to, ...args]);
      assert.equal(code, 0);
      assert.deepEqual(texts(), [...expected].sort());
    }
  });

  it('sends files of frames too', async () => {
    const file = join(tempDir('replay'), 'x.d4');
    writeFileSync(file, Buffer.concat([frame(A, 2, '{}'), frame(A, 254, 'x')]));
    const { code } = await d4gw(['replay', file, '--to', to]);
    assert.equal(code, 0);
    assert.deepEqual(texts(), ['{}|x']);
    writeFileSync(file, Buffer.concat([frame(A, 3, 'whole'), frame(A, 3, 'cut').subarray(0, 63)]));
    const cut = await d4gw(['replay', file, '--to', to]);
    assert.equal(cut.code, 1);
    assert.match(cut.stderr, /x\.d4: the stream ends 2 bytes before the end of a frame/);
    assert.equal(texts().includes('whole'), true);
  });

  it('exits 1 where the server takes no session, or is not there', async () => {
    refuse = (socket) => socket.destroy();
    const refused = await d4gw(['replay', archive, '--to', to]);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /did not take all of session \w+: /);
    const away = await d4gw(['replay', archive, '--to', 'tcp://127.0.0.1:1']);
    assert.equal(away.code, 1);
    assert.match(away.stderr, /^d4gw: tcp:\/\/127\.0\.0\.1:1: .*ECONNREFUSED/m);
  });

  it('exits 2 for words that it does not take', async () => {
    for (const [args, text] of [
      [['--to', to], /missing required argument|missing/],
      [[archive], /--to/],
      [[archive, '--to', to, '--rate', 'fast'], /Give bytes/],
      [[archive, '--to', to, '--sensor', 'x'], /UUID/],
      [[archive, '--to', to, '--from', 'soon'], /Give 2026/],
      [[archive, '--to', to, '--ca', 'x.pem'], /only for TLS/],
    ] as const) {
      const { code, stderr } = await d4gw(['replay', ...args]);
      assert.equal(code, 2, stderr);
      assert.match(stderr, text);
    }
  });
});

describe('Pace', () => {
  it('spreads what is sent over its time, and makes up for no more than a moment', () => {
    let now = 5_000;
    const pace = new Pace(1_000, 'bytes', () => now);
    assert.equal(pace.delay(100), 0);
    assert.equal(Math.round(pace.delay(100)), 100);
    assert.equal(Math.round(pace.delay(300)), 200);
    now += 10_000;
    assert.equal(pace.delay(50), 0);
    assert.equal(Math.round(pace.delay(100)), 0);
    assert.equal(Math.round(pace.delay(1)), 100);
    const frames = new Pace(10, 'frames', () => now);
    frames.delay(1_000_000);
    assert.equal(Math.round(frames.delay(1)), 100);
  });
});
