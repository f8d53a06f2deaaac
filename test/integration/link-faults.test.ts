import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { selfSigned } from '../../src/config/self-signed.js';
import { freePort } from '../support/ports.js';
import { TcpProxy } from '../support/proxy.js';
import type { Gateway } from './gateway.js';
import { gatewayDir, giveToken, startReceiver, startSender } from './linked.js';
import { closed, ledgerOf, Sensor, storedOf, until, untilLedger, uuidOf, write } from './peers.js';
import { relayOf, untilSent } from './relaying.js';

const DAY_MS = 86_400_000;

/** A receiver, and a sender that reaches it by a port of its own choice. */
async function linked(portOf: (receiver: Gateway) => Promise<number>) {
  const receiver = await startReceiver(gatewayDir(), await freePort());
  const senderDir = gatewayDir();
  await giveToken(receiver, senderDir, 'partner');
  const at = { port: await portOf(receiver), certFile: receiver.certFile };
  return { receiver, sender: await startSender(senderDir, at) };
}

/** Lines of one sensor as they are sent. */
class Lines {
  readonly all: string[] = [];
  readonly #socket: Socket;

  constructor(
    readonly sensor: Sensor,
    socket: Socket,
  ) {
    this.#socket = socket;
  }

  async send(count: number): Promise<void> {
    for (let index = 0; index < count; index += 1) {
      this.all.push(`${this.all.length} ${'x'.repeat(500)}\n`);
      await write(this.#socket, this.sensor.frame(this.all.at(-1)!));
    }
  }

  async end(): Promise<void> {
    this.#socket.end();
    await closed(this.#socket);
  }
}

/** All is at the receiver, once and in order, and both books balance. */
async function assertThrough(sender: Gateway, receiver: Gateway, all: readonly Lines[]) {
  const frames = all.reduce((sum, lines) => sum + lines.all.length, 0);
  await untilSent(sender, frames, 'all is sent');
  await untilLedger(receiver, ({ sessions }) => sessions.length === 0, 'all is settled');
  for (const { sensor, all: lines } of all) {
    for (const gateway of [sender, receiver]) {
      assert.equal(storedOf(gateway, sensor.uuid).toString(), lines.join(''));
    }
  }
  for (const gateway of [sender, receiver]) {
    assert.equal((await gateway.ledger()).code, 0);
    assert.equal(await gateway.stop(), 0);
  }
}

describe('a link through a network that is no good', () => {
  const faults: [string, (proxy: TcpProxy) => void][] = [
    ['cuts', (proxy) => proxy.cut()],
    [
      'stalls',
      (proxy) => {
        proxy.stall();
        setTimeout(() => proxy.resume(), 1_000);
      },
    ],
    [
      'corrupts',
      (proxy) => {
        proxy.corrupt(20_000);
        proxy.cut();
      },
    ],
  ];
  for (const [what, break_] of faults) {
    test(`that ${what}: each frame arrives once, in order`, async () => {
      let proxy: TcpProxy | undefined;
      const { sender, receiver } = await linked(async ({ wssPort }) => {
        proxy = await TcpProxy.start(() => wssPort);
        return proxy.port;
      });
      const sensors = [new Sensor(uuidOf(1)), new Sensor(uuidOf(2))];
      const all = await Promise.all(
        sensors.map(async (sensor) => new Lines(sensor, await sender.tls())),
      );
      for (let round = 0; round < 3; round += 1) {
        await Promise.all(all.map((lines) => lines.send(300)));
        await until(() => proxy!.open > 0, 'the link is there');
        break_(proxy!);
      }
      await Promise.all(all.map((lines) => lines.send(100)));
      await Promise.all(all.map((lines) => lines.end()));
      await assertThrough(sender, receiver, all);
      const lost = sender.logged('link lost');
      if (what === 'stalls') assert.deepEqual(lost, []);
      else assert.ok(lost.length >= 1 && lost.length <= 8, `${lost.length} lines`);
    });
  }
});

describe('a spool of a link that is damaged', () => {
  test('costs the record that is damaged, which is counted; nobody else notices', async () => {
    const port = await freePort();
    const first = await startReceiver(gatewayDir(), port);
    const senderDir = gatewayDir();
    await giveToken(first, senderDir, 'partner');
    const at = { port, certFile: first.certFile };
    const receiverDir = first.dir;
    assert.equal(await first.stop(), 0);
    let sender = await startSender(senderDir, at, { workers: 1 });
    const lines = new Lines(new Sensor(uuidOf(1)), await sender.tls());
    await lines.send(200);
    await lines.end();
    const other = new Lines(new Sensor(uuidOf(2)), await sender.tls());
    await other.send(50);
    await other.end();
    await untilLedger(
      sender,
      (report) => report.sessions.length === 0 && relayOf(report)?.waiting.frames === 250,
      'all is in the spool',
    );
    assert.equal(await sender.stop(), 0);
    damage(join(senderDir, 'data', 'spool', 'partner', '0'), lines.all[100]!);
    sender = await startSender(senderDir, at, { workers: 1 });
    const receiver = await startReceiver(receiverDir, port);
    const report = await untilLedger(
      sender,
      (now) => relayOf(now)!.waiting.frames === 0 && relayOf(now)!.sent.frames > 0,
      'what holds is sent',
    );
    const relay = relayOf(report)!;
    assert.deepEqual([relay.sent.frames, relay.dropped.damaged?.frames], [249, 1]);
    assert.equal(report.balanced, true);
    await untilLedger(receiver, ({ sessions }) => sessions.length === 0, 'it is settled');
    const left = lines.all.filter((_, index) => index !== 100);
    assert.equal(storedOf(receiver, lines.sensor.uuid).toString(), left.join(''));
    assert.equal(storedOf(receiver, other.sensor.uuid).toString(), other.all.join(''));
    assert.equal(sender.logged('a segment of a spool is damaged').length, 1);
    for (const gateway of [sender, receiver]) assert.equal(await gateway.stop(), 0);
  });

  /** Flips a bit of a line in the spool. */
  function damage(dir: string, line: string): void {
    const name = readdirSync(dir).find((each) => each.endsWith('.d4s'))!;
    const bytes = readFileSync(join(dir, name));
    const found = bytes.indexOf(line);
    assert.ok(found > 0, 'the line is in the spool');
    bytes[found + 10]! ^= 1;
    writeFileSync(join(dir, name), bytes);
  }
});

describe('a peer of a link that is no good', () => {
  async function assertKept(port: number, certFile: string, reason: RegExp) {
    const dir = gatewayDir();
    writeFileSync(join(dir, 'token'), `${'A'.repeat(43)}\n`, { mode: 0o600 });
    const sender = await startSender(dir, { port, certFile }, { workers: 1 });
    const lines = new Lines(new Sensor(uuidOf(1)), await sender.tls());
    await lines.send(20);
    await lines.end();
    await untilLedger(sender, ({ sessions }) => sessions.length === 0, 'its session is settled');
    await sender.until(
      () => sender.logged('link cannot be opened').length > 0,
      'it is said',
      30_000,
    );
    const report = await untilLedger(
      sender,
      (now) => relayOf(now)?.waiting.frames === 20 && relayOf(now)!.connections.failed >= 1,
      'it is counted, and all is kept',
    );
    assert.equal(report.balanced, true);
    const [line, ...more] = sender.logged('link cannot be opened');
    assert.match(String(line!.reason), reason);
    assert.deepEqual(more, []);
    assert.equal(storedOf(sender, lines.sensor.uuid).toString(), lines.all.join(''));
    assert.equal(await sender.stop(), 0);
  }

  test('its certificate has expired', async () => {
    const dir = gatewayDir();
    const { cert, key } = await selfSigned(undefined, Date.now() - 900 * DAY_MS);
    const certFile = join(dir, 'cert.pem');
    writeFileSync(certFile, cert);
    writeFileSync(join(dir, 'key.pem'), key, { mode: 0o600 });
    const port = await freePort();
    const listen = [
      { wss: { host: '127.0.0.1', port, certFile, keyFile: join(dir, 'key.pem') } },
      { tcp: { host: '127.0.0.1', port: 0 } },
    ];
    const receiver = await startReceiver(dir, port, { listen });
    await assertKept(port, certFile, /expired/);
    assert.equal((await ledgerOf(receiver)).received.frames, 0);
    assert.equal(await receiver.stop(), 0);
  });

  test('it accepts and says nothing', async () => {
    const server = createServer((socket) => socket.on('error', () => {}).resume());
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    after(() => server.close());
    const { certFile } = await linkedCertificate();
    await assertKept((server.address() as AddressInfo).port, certFile, /not open within 15 s/);
  });

  async function linkedCertificate() {
    const certFile = join(gatewayDir(), 'cert.pem');
    writeFileSync(certFile, (await selfSigned()).cert);
    return { certFile };
  }
});
