import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { Gateway } from '../integration/gateway.js';
import {
  closed,
  ledgerOf,
  Sensor,
  sharedSecret,
  storedOf,
  until,
  untilLedger,
  uuidOf,
  write,
} from '../integration/peers.js';
import { relaying, relayOf, untilSent } from '../integration/relaying.js';

/**
 * A sensor that began its next session with the very bytes of the last, as one that replays a file
 * does, was taken for a loop: for ten minutes nothing of it was relayed.
 */
test('a sensor that sends the same again is relayed again', async () => {
  const far = await Gateway.start(sharedSecret());
  const near = await Gateway.start(
    relaying(`tls://127.0.0.1:${far.tlsPort}`, { caFile: far.certFile }, { workers: 2 }),
  );
  const sensor = new Sensor(uuidOf(1));
  const frames = Buffer.concat(['one\n', 'two\n'].map((line) => sensor.frame(line)));
  const rounds = 6;
  for (let round = 1; round <= rounds; round += 1) {
    const socket = await near.tls();
    await write(socket, frames);
    socket.end();
    await closed(socket);
    await untilSent(near, 2 * round, `round ${round} is sent`);
  }
  const report = await untilLedger(
    far,
    ({ received, sessions }) => received.frames === 2 * rounds && sessions.length === 0,
    'all is there',
  );
  assert.ok(report.balanced);
  assert.deepEqual(relayOf(await ledgerOf(near))!.filtered, {});
  for (const gateway of [near, far]) assert.equal(await gateway.stop(), 0);
});

test('a stream goes on at another worker, in order, when its sensor connects anew', async () => {
  const far = await Gateway.start(sharedSecret());
  const near = await Gateway.start(
    relaying(`tls://127.0.0.1:${far.tlsPort}`, { caFile: far.certFile }, { workers: 2 }),
  );
  const sensor = new Sensor(uuidOf(1));
  const lines: string[] = [];
  let before: Socket | undefined;
  for (let round = 0; round < 4; round += 1) {
    // The last connection is still there: this one goes to the other worker, and takes its place.
    const socket = await near.tls();
    for (let count = 0; count < 200; count += 1) {
      lines.push(`round ${round}, line ${count}\n`);
      await write(socket, sensor.frame(lines.at(-1)!));
    }
    before?.destroy();
    before = socket;
    await until(
      () => storedOf(far, sensor.uuid).toString() === lines.join(''),
      `what came in round ${round} is there, in order`,
    );
  }
  before!.end();
  const workers = near.logged('session opened').map(({ worker }) => worker);
  assert.deepEqual(new Set(workers), new Set([0, 1]), 'both workers had it');
  await untilSent(near, lines.length, 'all is sent');
  for (const gateway of [near, far]) assert.equal(await gateway.stop(), 0);
});
