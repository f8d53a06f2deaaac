import assert from 'node:assert/strict';
import { test } from 'node:test';
import { freePort } from '../support/ports.js';
import { Gateway } from './gateway.js';
import { gatewayDir, giveToken, startReceiver, startSender } from './linked.js';
import { closed, Sensor, sharedSecret, until, untilLedger, uuidOf, write } from './peers.js';
import { assertAllPackets, Capture, numbersOf, PCAP, relaying, untilSent } from './relaying.js';

/** Streams captures to a gateway while something goes on beside, in order to their ends. */
async function stream(gateway: Gateway, captures: readonly Capture[], beside: () => Promise<void>) {
  const sockets = await Promise.all(captures.map(() => gateway.tls()));
  const each = (packets: number, isLast = false) =>
    Promise.all(captures.map((one, index) => write(sockets[index]!, one.next(packets, isLast))));
  await each(1_000);
  await beside();
  await each(1_000);
  await beside();
  await each(500, true);
  for (const socket of sockets) socket.end();
  await Promise.all(sockets.map(closed));
}

const capturesOf = (first: number) =>
  Array.from({ length: 3 }, (_, index) => new Capture(new Sensor(uuidOf(first + index), PCAP)));

/** Bytes of a pcap file's header, with which each file after a stream's first begins anew. */
const FILE_HEADER_BYTES = 24;

/** What a sensor's files hold of its stream, one behind the other. */
function joined(gateway: Gateway, uuid: string): Buffer {
  const own = gateway.files().filter((file) => file.startsWith(uuid.replaceAll('-', '')));
  const bytes = own.map((file, index) => {
    const isAnew = index > 0 && /\.cap(\.part)?$/.test(file);
    return gateway.read(file).subarray(isAnew ? FILE_HEADER_BYTES : 0);
  });
  return Buffer.concat(bytes);
}

// One worker at B: by several links a stream that goes on may overtake itself (LINK.md, "Chains").
test('A by a link to B, by a link to C: each byte once, though B and C are killed', async () => {
  const [portB, portC] = [await freePort(), await freePort()];
  const [dirA, dirB, dirC] = [gatewayDir(), gatewayDir(), gatewayDir()];
  let c = await startReceiver(dirC, portC);
  await giveToken(c, dirB, 'from-b');
  const listen = [
    { wss: { host: '127.0.0.1', port: portB } },
    { tcp: { host: '127.0.0.1', port: 0 } },
  ];
  const startB = () =>
    startSender(dirB, { port: portC, certFile: c.certFile }, { listen, workers: 1 });
  let b = await startB();
  await giveToken(b, dirA, 'from-a');
  const a = await startSender(dirA, { port: portB, certFile: b.certFile });
  const captures = capturesOf(1);
  let round = 0;
  await stream(a, captures, async () => {
    const killed = round === 0 ? b : c;
    killed.process.kill('SIGKILL');
    await killed.process.exit();
    if (round === 0) b = await startB();
    else c = await startReceiver(dirC, portC);
    round += 1;
  });
  const frames = captures.reduce((sum, one) => sum + one.frames, 0);
  await untilSent(a, frames, 'A has sent all');
  const arrived = () =>
    captures.every(({ sensor }) => {
      const { length } = joined(a, sensor.uuid);
      return [b, c].every((gateway) => joined(gateway, sensor.uuid).length >= length);
    });
  await until(arrived, 'all is at B and C');
  for (const gateway of [a, b, c]) assert.equal(await gateway.stop(), 0);
  for (const { sensor, packets } of captures) {
    assert.equal(assertAllPackets(numbersOf(b, sensor.uuid), packets).repeated, 0);
    assert.ok(joined(c, sensor.uuid).equals(joined(a, sensor.uuid)), 'each byte once, in order');
  }
  for (const gateway of [b, c]) assert.equal((await gateway.ledger()).code, 0);
});

test('A as plain D4 to B, which stores what tcpdump reads, though B stops in between', async () => {
  const there = sharedSecret();
  const tls = await freePort();
  there.config!.listen = [
    { tls: { host: '127.0.0.1', port: tls } },
    { tcp: { host: '127.0.0.1', port: 0 } },
  ];
  let b = await Gateway.start(there);
  const a = await Gateway.start(relaying(`tls://127.0.0.1:${tls}`, { caFile: b.certFile }));
  const captures = capturesOf(10);
  await stream(a, captures, async () => {
    assert.equal(await b.stop(), 0);
    b = await Gateway.start(there);
  });
  await untilSent(
    a,
    captures.reduce((sum, one) => sum + one.frames, 0),
    'A has sent all',
  );
  await untilLedger(b, ({ sessions }) => sessions.length === 0, 'all is settled at B');
  for (const { sensor, packets } of captures) {
    assertAllPackets(numbersOf(b, sensor.uuid), packets);
  }
  for (const gateway of [a, b]) {
    assert.equal((await gateway.ledger()).code, 0);
    assert.equal(await gateway.stop(), 0);
  }
});
