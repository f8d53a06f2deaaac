import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { WebSocket } from 'ws';
import { BATCH_PREFIX, decodeMessage, encodeHello, MessageKind } from '../../src/link/messages.js';
import { BlockBuilder } from '../../src/spool/block-builder.js';
import { BlockFlag, RECORD_CONTINUED, RecordKind } from '../../src/spool/layout.js';
import { encodeOpen } from '../../src/spool/session-record.js';
import { gatewayDir, giveToken, startReceiver } from '../integration/linked.js';
import { ledgerOf, Sensor, storedOf, until, uuidOf } from '../integration/peers.js';
import { freePort } from '../support/ports.js';
import { tempDir } from '../support/tmp.js';

/** One block of one record. */
function batch(kind: number, data: Buffer, isPreface: boolean): Buffer {
  const builder = BlockBuilder.ofRecords(1, 1, data.length, isPreface ? BlockFlag.PREFACE : 0);
  builder.add(kind, isPreface ? RECORD_CONTINUED : 0, 1, data);
  return Buffer.concat([BATCH_PREFIX, builder.finish()]);
}

/**
 * A session that goes on brings its meta header in its OPEN, said to have been taken before. It was
 * believed: what no key had signed was stored.
 */
test('a meta header that a session goes on from is verified as any frame', async () => {
  const port = await freePort();
  const receiver = await startReceiver(gatewayDir(), port);
  const token = readFileSync(await giveToken(receiver, tempDir(), 'peer'), 'utf8').trim();
  const store = async (key: string, number: number) => {
    const sensor = new Sensor(uuidOf(number), 2, key);
    const bytes = Buffer.from('{"type":"ja3-jl"}');
    const meta = { type: 'ja3-jl', frames: 1, bytes, wire: sensor.frame(bytes) };
    const id = `session-${number}`;
    const session = { id, sensor: sensor.uuid, type: 254, openedAt: new Date(), meta };
    const total = { frames: 1, bytes: bytes.length };
    const socket = new WebSocket(`wss://127.0.0.1:${port}/link`, {
      headers: { Authorization: `Bearer ${token}` },
      rejectUnauthorized: false,
    });
    let acknowledged = 0;
    socket.on('open', () => {
      const link = `link-${number}`;
      socket.send(encodeHello({ version: 1, link, gateway: 'peer', firstSeq: 1, nextSeq: 9 }));
    });
    socket.on('message', (data: Buffer) => {
      const message = decodeMessage(data);
      if (message.kind === MessageKind.ACK) acknowledged = message.position;
      if (message.kind !== MessageKind.RESUME) return;
      socket.send(batch(RecordKind.OPEN, encodeOpen({ session, before: total }), true));
      socket.send(batch(RecordKind.FRAME, sensor.frame('{"n":1}\n', 254), false));
    });
    await until(() => acknowledged === 1, 'its frame is acknowledged');
    socket.close();
    await until(() => socket.readyState === WebSocket.CLOSED, 'the link ends');
    return sensor;
  };
  const good = await store('private key to change', 1);
  await until(() => storedOf(receiver, good.uuid).length > 0, 'it is stored');
  const forged = await store('another key', 2);
  const { hex } = forged;
  await until(
    async () => (await ledgerOf(receiver)).sessions.length === 0,
    'its session is settled',
  );
  assert.deepEqual(
    receiver.files().filter((file) => file.startsWith(hex)),
    [],
  );
  assert.equal(storedOf(receiver, forged.uuid).length, 0);
});
