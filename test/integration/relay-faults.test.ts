import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { selfSigned } from '../../src/config/self-signed.js';
import { tempDir } from '../support/tmp.js';
import { Gateway } from './gateway.js';
import {
  closed,
  ledgerOf,
  Sensor,
  sensorsOf,
  sharedSecret,
  storedOf,
  until,
  untilLedger,
  uuidOf,
  write,
} from './peers.js';
import { relaying, relayOf, steady, untilSent } from './relaying.js';

const DAY_MS = 86_400_000;

/** Sends bytes over TLS as one session, to its end. */
async function stream(gateway: Gateway, bytes: Buffer): Promise<void> {
  const socket = await gateway.tls();
  await write(socket, bytes);
  socket.end();
  await closed(socket);
}

describe('an upstream that is no good', () => {
  test('down at the start: said once, and all is sent when it is there', async () => {
    const there = await steady();
    const near = await Gateway.start(relaying(`tcp://127.0.0.1:${there.tcp}`));
    const sensor = new Sensor(uuidOf(1));
    const lines = Array.from({ length: 500 }, (_, number) => `line ${number}\n`);
    await stream(near, Buffer.concat(lines.map((line) => sensor.frame(line))));
    await untilLedger(
      near,
      (report) => {
        const relay = relayOf(report);
        return relay !== undefined && relay.connections.failed >= 2 && relay.accepted.frames > 0;
      },
      'it is tried again',
    );
    const waiting = relayOf(await ledgerOf(near))!;
    assert.deepEqual([waiting.waiting.frames, waiting.sent.frames], [500, 0]);
    assert.equal((await ledgerOf(near)).balanced, true);
    // The session ended, and the other sink has it.
    await untilLedger(near, ({ sessions }) => sessions.length === 0, 'the session is settled');
    assert.equal(storedOf(near, sensor.uuid).toString(), lines.join(''));
    const far = await Gateway.start(there.options);
    await untilSent(near, 500, 'all is sent');
    await until(() => far.files().length === 1, 'it is stored');
    await untilLedger(far, ({ sessions }) => sessions.length === 0, 'it is over');
    assert.equal(storedOf(far, sensor.uuid).toString(), lines.join(''));
    assert.equal(near.logged('relay cannot connect').length, 1);
    assert.match(String(near.logged('relay cannot connect')[0]!.reason), /ECONNREFUSED/);
    assert.equal(near.logged('relay connected again').length, 1);
    for (const gateway of [near, far]) assert.equal(await gateway.stop(), 0);
  });

  const faults: [string, () => Promise<{ to: string; relay?: Record<string, unknown> }>, RegExp][] =
    [
      [
        'a certificate that nobody vouches for',
        async () => ({ to: `tls://127.0.0.1:${(await Gateway.start(sharedSecret())).tlsPort}` }),
        /no known authority signed.*as caFile; a gateway keeps its own as data\/tls\/cert.pem/,
      ],
      [
        'a certificate for another name',
        async () => {
          const far = await Gateway.start(sharedSecret());
          const to = `tls://127.0.0.1:${far.tlsPort}`;
          return { to, relay: { caFile: far.certFile, servername: 'other.example.org' } };
        },
        /is not for other.example.org: it is for .*give it with servername/,
      ],
      [
        'a certificate that has expired',
        async () => {
          const { cert, key } = await selfSigned(undefined, Date.now() - 900 * DAY_MS);
          const dir = tempDir('expired');
          const [certFile, keyFile] = [join(dir, 'cert.pem'), join(dir, 'key.pem')];
          writeFileSync(certFile, cert);
          writeFileSync(keyFile, key, { mode: 0o600 });
          const tls = { host: '127.0.0.1', port: 0, certFile, keyFile };
          const far = await Gateway.start(sharedSecret({ listen: [{ tls }] }));
          return { to: `tls://127.0.0.1:${far.tlsPort}`, relay: { caFile: certFile } };
        },
        /certificate has expired/,
      ],
      [
        'something else that answers',
        async () => {
          const server = createServer((_request, answer) => answer.end('hello'));
          await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
          after(() => server.close());
          return { to: `tls://127.0.0.1:${(server.address() as AddressInfo).port}` };
        },
        /TLS failed.*give tcp:\/\/ in the place of tls:\/\//,
      ],
      [
        'a name that does not resolve',
        async () => ({ to: 'tls://no-such-host.invalid:4443' }),
        /(ENOTFOUND|EAI_AGAIN).*no-such-host.invalid/,
      ],
    ];
  for (const [what, make, reason] of faults) {
    test(`${what}: a clear line once, nothing lost, nobody disturbed`, async () => {
      const { to, relay } = await make();
      const near = await Gateway.start(relaying(to, relay));
      const sensor = new Sensor(uuidOf(1));
      await stream(near, Buffer.concat([sensor.frame('one\n'), sensor.frame('two\n')]));
      const report = await untilLedger(
        near,
        (now) => (relayOf(now)?.connections.failed ?? 0) >= 2 && now.sessions.length === 0,
        'it is tried again',
      );
      const [line, ...more] = near.logged('relay cannot connect');
      assert.deepEqual(more, []);
      assert.match(String(line!.reason), reason);
      assert.equal(relayOf(report)!.waiting.frames, 2);
      assert.equal(report.balanced, true);
      assert.equal(storedOf(near, sensor.uuid).toString(), 'one\ntwo\n');
      assert.equal(await near.stop(), 0);
    });
  }

  test('a sensor that the partner does not know keeps nobody from theirs', async () => {
    const far = await Gateway.start();
    const known = new Sensor(uuidOf(1));
    const unknown = new Sensor(uuidOf(2));
    await far.addSensor(known.uuid, known.key);
    const near = await Gateway.start(
      relaying(`tls://127.0.0.1:${far.tlsPort}`, { caFile: far.certFile }),
    );
    const lines = Array.from({ length: 2_000 }, (_, number) => `line ${number}\n`);
    const sockets = await Promise.all([near.tls(), near.tls()]);
    for (const line of lines) {
      sockets[0].write(unknown.frame(line));
      sockets[1].write(known.frame(line));
    }
    for (const socket of sockets) socket.end();
    await untilLedger(far, ({ received }) => received.frames >= lines.length, 'the known arrives');
    await untilLedger(far, ({ sessions }) => sessions.length === 0, 'and ends');
    assert.equal(storedOf(far, known.uuid).toString(), lines.join(''));
    await near.until(
      () => near.logged('the server keeps ending this stream').length > 0,
      'it is said',
    );
    await far.addSensor(unknown.uuid, unknown.key);
    const arrived = () =>
      far.files().some((file) => file.startsWith(unknown.hex)) &&
      storedOf(far, unknown.uuid).toString().endsWith(lines.at(-1)!);
    await until(arrived, 'the other arrives once it is known');
    assert.equal(storedOf(far, unknown.uuid).toString(), lines.join(''));
    await untilSent(near, 2 * lines.length, 'all is sent');
    for (const gateway of [near, far]) assert.equal(await gateway.stop(), 0);
  });
});

describe('a spool that is full', () => {
  const FRAME = 60_000;
  const sendAll = async (gateway: Gateway, sensor: Sensor, frames: number) => {
    const socket = await gateway.tcp();
    const line = Buffer.alloc(FRAME, 'x');
    line[FRAME - 1] = 10;
    let sent = 0;
    const done = (async () => {
      for (; sent < frames; sent += 1) {
        line.write(String(sent).padStart(8, '0'));
        await write(socket, sensor.frame(line));
      }
      socket.end();
    })();
    return { done, sent: () => sent };
  };
  const numbers = (bytes: Buffer) =>
    bytes
      .toString()
      .split('\n')
      .filter((line) => line.length === FRAME - 1)
      .map((line) => Number(line.slice(0, 8)));

  test('block: its sensors wait, and lose nothing', async () => {
    const there = await steady();
    const spool = { maxBytes: '16MiB', memoryBytes: '4MiB', onFull: 'block' };
    const near = await Gateway.start(
      relaying(`tcp://127.0.0.1:${there.tcp}`, { spool }, { workers: 1 }),
    );
    const sensor = new Sensor(uuidOf(1));
    const frames = 1_000;
    const sending = await sendAll(near, sensor, frames);
    await untilLedger(
      near,
      (report) => relayOf(report)!.waiting.bytes > 12 * 2 ** 20,
      'the spool is full',
    );
    const paused = sending.sent();
    assert.ok(paused < frames, 'the sensor is held back');
    const far = await Gateway.start(there.options);
    await sending.done;
    await untilSent(near, frames, 'all is sent');
    await untilLedger(far, ({ sessions }) => sessions.length === 0, 'all is stored');
    const all = Array.from({ length: frames }, (_, number) => number);
    assert.deepEqual(numbers(storedOf(far, sensor.uuid)), all);
    for (const gateway of [near, far]) {
      assert.equal((await gateway.ledger()).code, 0);
      assert.equal(await gateway.stop(), 0);
    }
  });

  test('drop-oldest: nobody waits, the other sink has everything, and what is given up is counted', async () => {
    const there = await steady();
    const spool = { maxBytes: '16MiB', memoryBytes: '4MiB', onFull: 'drop-oldest' };
    const near = await Gateway.start(
      relaying(`tcp://127.0.0.1:${there.tcp}`, { spool }, { workers: 1 }),
    );
    const sensor = new Sensor(uuidOf(1));
    const frames = 1_000;
    await (await sendAll(near, sensor, frames)).done;
    await untilLedger(near, ({ sessions }) => sessions.length === 0, 'all is taken');
    const all = Array.from({ length: frames }, (_, number) => number);
    assert.deepEqual(numbers(storedOf(near, sensor.uuid)), all, 'the other sink has everything');
    const far = await Gateway.start(there.options);
    const report = await untilLedger(
      near,
      (now) => relayOf(now)!.waiting.frames === 0,
      'what is left is sent',
    );
    await untilLedger(far, ({ sessions }) => sessions.length === 0, 'it is stored');
    const relay = relayOf(report)!;
    assert.ok(relay.dropped.full!.frames > 300, JSON.stringify(relay));
    assert.equal(relay.dropped.full!.frames + relay.sent.frames, frames);
    assert.equal(report.balanced, true);
    const arrived = numbers(storedOf(far, sensor.uuid));
    assert.deepEqual(arrived, all.slice(-arrived.length), 'the newest, without a gap');
    assert.ok(arrived.length >= relay.sent.frames - 1);
    for (const gateway of [near, far]) {
      assert.equal((await gateway.ledger()).code, 0);
      assert.equal(await gateway.stop(), 0);
    }
  });
});

describe('what leaves', () => {
  test('by TLP and filters; each decision is in the ledger', async () => {
    const far = await Gateway.start(sharedSecret());
    const near = await Gateway.start(
      relaying(`tls://127.0.0.1:${far.tlsPort}`, { caFile: far.certFile, types: [3, 254] }),
    );
    const tagged = (number: number, tag: string) => {
      const sensor = new Sensor(uuidOf(number), 254);
      const header = JSON.stringify({ type: 'ja3-jl', tags: [tag] });
      return {
        sensor,
        bytes: Buffer.concat([sensor.frame(header, 2), sensor.frame(`{"n":${number}}\n`)]),
      };
    };
    const red = tagged(1, 'tlp:red');
    const green = tagged(2, 'tlp:green');
    for (const { bytes } of [red, green]) await stream(near, bytes);
    const jsonl = new Sensor(uuidOf(3), 6);
    await stream(near, jsonl.frame('{}\n'));
    const report = await untilSent(near, 2, 'the green one is sent');
    await untilLedger(
      near,
      ({ sessions, sensors }) => sessions.length === 0 && sensors.length === 3,
      'all are settled',
    );
    await untilLedger(far, ({ sessions }) => sessions.length === 0, 'it is over there');
    assert.deepEqual(
      (await ledgerOf(far)).sensors.map(({ sensor }) => sensor),
      [green.sensor.uuid],
    );
    assert.equal(storedOf(far, green.sensor.uuid, 'txt').toString(), '{"n":2}\n');
    const settled = await untilLedger(
      near,
      (now) => Object.keys(relayOf(now)!.filtered).length === 2,
      'the decisions are counted',
    );
    assert.deepEqual(relayOf(settled)!.filtered, { 'tlp-red': 1, type: 1 });
    const [own] = sensorsOf(settled, red.sensor.uuid);
    assert.deepEqual(own!.filtered, { partner: { 'tlp-red': 1 } });
    assert.deepEqual(
      own!.sinks.map(({ sink }) => sink),
      ['disk'],
    );
    const { code, stdout } = await near.command('ledger');
    assert.equal(code, 0);
    assert.match(stdout, /not relayed to partner: 1 stream for tlp-red/);
    assert.ok(report.balanced);
    for (const gateway of [near, far]) assert.equal(await gateway.stop(), 0);
  });

  test('two gateways that relay to each other: the loop is ended, and said', async () => {
    const [there, here] = [await steady(), await steady()];
    const sinks = (port: number) => ({
      disk: { kind: 'files', dir: './data/sensors', flushMs: 100 },
      partner: { kind: 'relay', to: `tcp://127.0.0.1:${port}` },
    });
    const routes = [{ match: {}, to: ['disk', 'partner'] }];
    const both = await Promise.all(
      [
        { own: here, other: there },
        { own: there, other: here },
      ].map(({ own, other }) => {
        const config = { ...own.options.config, sinks: sinks(other.tcp), routes, workers: 1 };
        return Gateway.start({ ...own.options, config });
      }),
    );
    const [near] = both as [Gateway, Gateway];
    const sensor = new Sensor(uuidOf(1));
    const socket = await near.tls();
    await write(socket, sensor.frame('round and round\n'));
    await near.until(() => near.logged('a loop:').length > 0, 'the loop is seen');
    const loops = await untilLedger(
      near,
      (report) => (relayOf(report)?.filtered.loop ?? 0) > 0,
      'and counted',
    );
    assert.ok(loops.balanced);
    socket.destroy();
    for (const gateway of both) assert.equal(await gateway.stop(), 0);
  });
});
