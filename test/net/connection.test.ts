import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createSecretKey } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { after, describe, it } from 'node:test';
import { createServer as createTlsServer, type TLSSocket, type TlsOptions } from 'node:tls';
import { Sender, type SenderOptions } from '../../src/client/sender.js';
import { selfSigned } from '../../src/config/self-signed.js';
import { systemClock } from '../../src/net/clock.js';
import { connect, type SecureOptions } from '../../src/net/connection.js';
import { parseTarget, type Target } from '../../src/net/target.js';
import { FrameReader } from '../../src/wire/frame-reader.js';
import { HEADER_BYTES } from '../../src/wire/layout.js';
import { captures, skipWithoutShared } from '../support/shared.js';
import { tempDir } from '../support/tmp.js';
import { requireTool } from '../support/tools.js';

const gateway = await selfSigned();

/** Cuts fall where chance has them; the seed is told with each test that uses it. */
const seed = Math.floor(Math.random() * 2 ** 32);
const random = mulberry32(seed);

const inputOf = (bytes: Buffer | string) => Readable.from([Buffer.from(bytes)]);

interface Received {
  parts: Buffer[];
  /** The client ended its stream in order. */
  isEnded: boolean;
  servername: string | false | undefined;
}

/** A server that keeps what each connection brought; `use` may do more with each. */
async function serve(tls: TlsOptions | undefined, use: (socket: Socket) => void = () => {}) {
  const received: Received[] = [];
  const take = (socket: Socket) => {
    const entry: Received = { parts: [], isEnded: false, servername: undefined };
    if (tls) entry.servername = (socket as TLSSocket & { servername: string | false }).servername;
    received.push(entry);
    socket.on('data', (bytes: Buffer) => entry.parts.push(bytes));
    socket.on('end', () => {
      entry.isEnded = true;
    });
    socket.on('error', () => {});
    use(socket);
  };
  const server: Server = tls ? createTlsServer(tls, take) : createServer(take);
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => sockets.add(socket));
  after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const kind = tls ? 'tls' : 'tcp';
  return { received, port, target: parseTarget(`${kind}://127.0.0.1:${port}`) };
}

/** Sends to the target in this process, without waiting long between attempts. */
function sending(
  target: Target,
  secure: SecureOptions,
  options: Partial<SenderOptions> & Pick<SenderOptions, 'input'>,
) {
  assert.ok(target.kind !== 'stdout');
  const lines: string[] = [];
  const sender = new Sender({
    uuid: '3a9f1c52-6d0e-4b7a-9c41-5e2f8b7d0a13',
    key: createSecretKey(Buffer.from('key')),
    type: 3,
    snaplenBytes: 1_000,
    targetName: target.name,
    connect: (events) => connect(target, secure, systemClock, events),
    isNetwork: true,
    once: false,
    clock: systemClock,
    say: (line) => lines.push(line),
    retryMsMin: 2,
    retryMsMax: 20,
    ...options,
  });
  return { sender, lines };
}

/** The payload of the whole frames, with that of an incomplete one at the end left out. */
function payloadOf({ parts }: Received): Buffer {
  const payloads: Buffer[] = [];
  const reader = new FrameReader({ maxPayloadBytes: 1_000_000 });
  for (const part of parts) {
    for (const { payload } of reader.push(part)) payloads.push(Buffer.from(payload));
  }
  return Buffer.concat(payloads);
}

function mulberry32(state: number): (below: number) => number {
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** Of a capture, its whole records. */
function wholeRecords(file: Buffer): Buffer {
  let end = Math.min(file.length, 24);
  while (end + 16 <= file.length) {
    const next = end + 16 + file.readUInt32LE(end + 8);
    if (next > file.length) break;
    end = next;
  }
  return file.subarray(0, end);
}

/**
 * Writes records, in pieces cut anywhere, until `isEnough`, and then once more: what a connection
 * had taken when it broke may be lost, and the last record must not be.
 * @returns all that was written
 */
async function feed(
  input: PassThrough,
  isEnough: () => boolean,
  record: (index: number) => Buffer,
): Promise<Buffer> {
  const all: Buffer[] = [];
  let pending = Buffer.alloc(0);
  for (let index = 0, isLast = false; !isLast; index++) {
    isLast = isEnough();
    all.push(record(index));
    pending = Buffer.concat([pending, all.at(-1) as Buffer]);
    while (pending.length >= 3_000 || (isLast && pending.length > 0)) {
      const size = 1 + random(3_000);
      if (!input.write(pending.subarray(0, size))) await once(input, 'drain');
      pending = pending.subarray(size);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  input.end();
  return Buffer.concat(all);
}

/** Breaks the first connections, each after some bytes. */
function breaker(cuts: number): (socket: Socket) => void {
  let left = cuts;
  return (socket) => {
    if (left-- <= 0) return;
    let bytes = 100 + random(8_000);
    socket.on('data', (chunk: Buffer) => {
      bytes -= chunk.length;
      if (bytes <= 0) socket.destroy();
    });
  };
}

describe('connect', () => {
  for (const kind of ['tcp', 'tls']) {
    it(`${kind}: brings the input whole, and ends in order`, async () => {
      const { received, target } = await serve(kind === 'tls' ? gateway : undefined);
      const text = Buffer.alloc(3_000_000, 'one line\n');
      const { sender, lines } = sending(target, { ca: gateway.cert }, { input: inputOf(text) });
      await sender.run();
      assert.equal(received.length, 1);
      assert.ok(payloadOf(received[0]!).equals(text));
      assert.ok(received[0]!.isEnded);
      assert.deepEqual(lines, []);
      assert.deepEqual(sender.sent, { frames: 3_001, bytes: text.length });
      if (kind === 'tls') assert.equal(received[0]!.servername, false, 'no address as SNI');
    });

    it(`${kind}: each connection of a stream that is cut holds whole lines, in order`, async (t) => {
      t.diagnostic(`seed ${seed}`);
      const { received, target } = await serve(kind === 'tls' ? gateway : undefined, breaker(8));
      const input = new PassThrough();
      const { sender } = sending(target, { ca: gateway.cert }, { input, snaplenBytes: 613 });
      const ended = sender.run();
      const line = (index: number) => Buffer.from(`${String(index).padStart(8, '0')}\n`);
      const text = await feed(input, () => received.length === 9, line);
      await ended;
      const lines = received.flatMap((connection) => {
        const payload = payloadOf(connection).toString();
        return payload
          .slice(0, payload.lastIndexOf('\n') + 1)
          .split('\n')
          .slice(0, -1);
      });
      for (const line of lines) assert.match(line, /^\d{8}$/);
      assert.deepEqual(lines, [...lines].sort());
      assert.equal(`${lines.at(-1)}\n`, text.subarray(-9).toString());
    });
  }

  it('each connection of a capture that is cut is read by tcpdump', {
    skip: skipWithoutShared() || requireTool('tcpdump'),
  }, async (t) => {
    t.diagnostic(`seed ${seed}`);
    const path = captures('pcap').find((path) => path.includes('babel_rfc6126bis')) as string;
    const file = readFileSync(path);
    assert.equal(file.readUInt32LE(0), 0xa1b2c3d4);
    const { received, target } = await serve(undefined, breaker(5));
    const input = new PassThrough();
    const { sender } = sending(target, {}, { input, type: 1, snaplenBytes: 700 });
    const ended = sender.run();
    const records = (index: number) => (index === 0 ? file : file.subarray(24));
    const stream = await feed(input, () => received.length === 6, records);
    await ended;
    const dir = tempDir('connection');
    const dump = (bytes: Buffer) => {
      const piece = join(dir, 'piece');
      writeFileSync(piece, bytes);
      const options = { maxBuffer: 2 ** 28, stdio: 'pipe' } as const;
      return String(execFileSync('tcpdump', ['-n', '-tt', '-r', piece], options));
    };
    const all = dump(stream);
    for (const connection of received) {
      const payload = payloadOf(connection);
      if (payload.length < 24) continue; // cut before its first frame was whole
      const text = dump(wholeRecords(payload));
      assert.ok(all.includes(text), 'a run of the original packets');
    }
    assert.ok(all.endsWith(dump(wholeRecords(payloadOf(received.at(-1)!)))));
  });

  it('does not read on while the server takes nothing', async () => {
    let server: Socket | undefined;
    const { received, target } = await serve(undefined, (socket) => {
      server = socket.pause();
    });
    let made = 0;
    const stop = 64 * 1024 * 1024;
    const input = new Readable({
      read() {
        made += 65_536;
        this.push(made > stop ? null : Buffer.alloc(65_536));
      },
    });
    const { sender } = sending(target, {}, { input, snaplenBytes: 60_000 });
    const ended = sender.run();
    let before = -1;
    // Until a while passes without a read: the socket buffers are full.
    while (made !== before || made === 0) {
      before = made;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    assert.ok(made < stop / 2, `${made} bytes read`);
    server?.resume();
    await ended;
    assert.equal(payloadOf(received[0]!).length, stop);
  });

  it('tells a certificate of no known authority, and how to trust it', async () => {
    const { target, received } = await serve(gateway);
    const { sender } = sending(target, {}, { input: inputOf('a') });
    await assert.rejects(sender.run(), {
      code: 'D4GW_E_CERTIFICATE',
      message: /127\.0\.0\.1.*SELF_SIGNED.*--ca cert\.pem.*data\/tls\/cert\.pem/,
    });
    assert.equal(received.length, 0);
  });

  it('tells a certificate for another name, and which it has', async () => {
    const { target, received } = await serve(gateway);
    const secure = { ca: gateway.cert, servername: 'd4.example.org' };
    const { sender } = sending(target, secure, { input: inputOf('a') });
    await assert.rejects(sender.run(), {
      code: 'D4GW_E_CERTIFICATE',
      message: /not for d4\.example\.org: it is for .*DNS:localhost.*--servername/,
    });
    const named = sending(
      target,
      { ca: gateway.cert, servername: 'localhost' },
      { input: inputOf('a') },
    );
    await named.sender.run();
    assert.equal(received[0]!.servername, 'localhost');
  });

  it('sends to any server when told not to check', async () => {
    const { target, received } = await serve(gateway);
    const insecure = { rejectUnauthorized: false };
    const { sender } = sending(target, insecure, { input: inputOf('a') });
    await sender.run();
    assert.equal(Buffer.concat(received[0]!.parts).length, 2 * HEADER_BYTES + 1);
  });

  describe('a server that wants client certificates', { skip: requireTool('openssl') }, () => {
    const dir = tempDir('client-certificate');
    const key = join(dir, 'key.pem');
    const cert = join(dir, 'cert.pem');
    const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
    const files = ['-keyout', key, '-out', cert, '-subj', '/CN=sensor', '-days', '2'];
    execFileSync('openssl', ['req', '-x509', ...curve, ...files], { stdio: 'ignore' });
    const client = { cert: readFileSync(cert), key: readFileSync(key) };

    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      it(`takes ours, and without one we say what it wants (${maxVersion})`, async () => {
        const trust = { requestCert: true, rejectUnauthorized: true, ca: client.cert };
        const { target, received } = await serve({ ...gateway, maxVersion, ...trust });
        const secure = { ca: gateway.cert };
        const without = sending(target, secure, { input: new PassThrough(), once: true });
        await assert.rejects(without.sender.run(), { message: /--cert and --key-file/ });
        assert.equal(received.length, 0);
        const { sender } = sending(target, { ...secure, ...client }, { input: inputOf('a') });
        await sender.run();
        assert.equal(payloadOf(received[0]!).toString(), 'a');
      });
    }
  });

  it('tells that a server does not speak TLS', async () => {
    const { port } = await serve(undefined, (socket) => socket.write('220 hello\r\n'));
    const target = parseTarget(`127.0.0.1:${port}`);
    const { sender } = sending(target, {}, { input: new PassThrough(), once: true });
    await assert.rejects(sender.run(), {
      code: 'D4GW_E_CLIENT',
      message: /plain TCP\? Then give --tcp/,
    });
  });

  it('tells every address that it tried', async () => {
    const target = parseTarget('tcp://localhost:1'); // tcpmux: nothing listens
    const { sender } = sending(target, {}, { input: new PassThrough(), once: true });
    await assert.rejects(sender.run(), { message: /localhost:1: .*ECONNREFUSED 127\.0\.0\.1:1/ });
  });

  it('sees that the server ended the connection, and comes back', async () => {
    let count = 0;
    const { received, target } = await serve(undefined, (socket) => {
      if (count++ === 0) socket.once('data', () => socket.end());
    });
    const input = new PassThrough();
    const { sender, lines } = sending(target, {}, { input, snaplenBytes: 4 });
    const ended = sender.run();
    input.write('one\n');
    while (lines.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.match(lines[0]!, /the server closed it; trying again/);
    input.end('two\n');
    await ended;
    assert.deepEqual(
      received.map((connection) => payloadOf(connection).toString()),
      ['one\n', 'two\n'],
    );
  });
});
