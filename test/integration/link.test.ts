import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { recordedStreams, sharedPath, skipWithoutShared } from '../support/shared.js';
import { send } from './gateway.js';
import { gatewayDir, giveToken, startReceiver, startSender } from './linked.js';
import { Sensor, storedOf, until, uuidOf } from './peers.js';

describe('two gateways', async () => {
  const receiverDir = gatewayDir();
  const senderDir = gatewayDir();
  const receiver = await startReceiver(receiverDir, 0);
  await giveToken(receiver, senderDir, 'partner');
  const at = { port: receiver.wssPort, certFile: receiver.certFile };
  const sender = await startSender(senderDir, at);

  test('a stream arrives', async () => {
    const sensor = new Sensor(uuidOf(1));
    const lines = Array.from({ length: 1000 }, (_, index) => `line ${index}\n`);
    const socket = await sender.tls();
    await send(socket, Buffer.concat(lines.map((line) => sensor.frame(line))));
    await until(
      () => storedOf(receiver, sensor.uuid).toString() === lines.join(''),
      'all of it is at the receiver',
    );
  });

  for (const stream of skipWithoutShared() ? [] : recordedStreams()) {
    if (stream.frames === 0 || stream.note.includes('nil')) continue;
    if (
      ['c-k1-t254-nometa.d4', 'c-k1-t3-niluuid.d4', 'c-k1-t3-version2.d4'].includes(stream.file)
    ) {
      continue;
    }
    test(`${stream.file} arrives byte for byte`, async () => {
      const isQuiet = () => receiver.files().every((file) => !file.endsWith('.part'));
      await until(isQuiet, 'the streams before are over');
      const before = new Set(receiver.files());
      await send(await sender.tcp(), readFileSync(sharedPath('streams', stream.file)));
      const expected = Object.values(stream.per_type)
        .filter(({ payload_bytes }) => payload_bytes > 0)
        .map(({ sha256 }) => sha256)
        .sort();
      const fresh = () =>
        receiver
          .files()
          .filter((file) => !before.has(file) && !file.endsWith('.part'))
          .map((file) => createHash('sha256').update(receiver.read(file)).digest('hex'))
          .sort();
      await until(() => fresh().length >= expected.length, 'its files are there');
      assert.deepEqual(fresh(), expected);
    });
  }

  test('both stop in order, and balance', async () => {
    assert.equal(await sender.stop(), 0);
    assert.equal(await receiver.stop(), 0);
    for (const gateway of [sender, receiver]) {
      const { code, ledger, stderr } = await gateway.ledger();
      assert.equal(code, 0, `${stderr}\n${JSON.stringify(ledger, null, 1)}`);
    }
  });
});
