import assert from 'node:assert/strict';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import { MessageKind } from '../../src/link/messages.js';
import { LinkReceiver, type ReceiverPort } from '../../src/link/receiver.js';
import type { FeedStart } from '../../src/link/sessions.js';
import { LinkSocket } from '../../src/sources/link/connection.js';
import { Opcode } from '../../src/sources/websocket/frames.js';
import { BlockBuilder } from '../../src/spool/block-builder.js';
import { RecordKind } from '../../src/spool/layout.js';
import { encodeOpen, type SpoolSession } from '../../src/spool/session-record.js';
import { encodeFrame } from '../../src/wire/header.js';

const SENSOR = '1e0bbd67-1c4e-4d5a-9a5e-0d8f6a3b7c21';
const GATEWAY = 'receiver';

function sessionOf(change: Partial<SpoolSession> = {}): SpoolSession {
  return { id: 'w1-1', sensor: SENSOR, type: 3, openedAt: new Date(0), ...change };
}

const frame = encodeFrame({
  type: 3,
  uuid: SENSOR,
  timestamp: 1,
  key: Buffer.from('k'),
  payload: Buffer.from('hello'),
});

interface Sent {
  kind: number | undefined;
  text: string;
}

/** A receiver whose link is granted, with what it answered and the sessions that it began. */
function openReceiver() {
  const sent: Sent[] = [];
  const opened: FeedStart[] = [];
  const port: ReceiverPort = {
    send: (message) => sent.push({ kind: message[0], text: message.toString('utf8', 1) }),
    close: () => {},
    claim: () => {},
    open: (start) => {
      opened.push(start);
      return {
        push: () => {},
        end: () => {},
        interrupt: () => {},
        isClear: true,
        ending: undefined,
      };
    },
    commit: () => true,
    changed: () => {},
    after: () => () => {},
    now: () => 0,
  };
  const receiver = new LinkReceiver(port, GATEWAY);
  const hello = { version: 1, link: 'link', gateway: 'sender', firstSeq: 1, nextSeq: 2 ** 40 };
  receiver.take({ kind: MessageKind.HELLO, hello });
  receiver.granted({ position: 0, held: new Map() });
  const take = async (firstSeq: number, records: [kind: number, ref: number, data: Buffer][]) => {
    const bytes = records.reduce((sum, [, , data]) => sum + data.length, 0);
    const builder = BlockBuilder.ofRecords(firstSeq, records.length, bytes);
    for (const [kind, ref, data] of records) builder.add(kind, 0, ref, data);
    receiver.take({ kind: MessageKind.BATCH, block: builder.finish() });
    await new Promise((resolve) => setImmediate(resolve));
  };
  const errors = () =>
    sent.filter(({ kind }) => kind === MessageKind.ERROR).map(({ text }) => text);
  return { receiver, sent, opened, take, errors };
}

const open = (session: SpoolSession) => encodeOpen({ session, before: { frames: 0, bytes: 0 } });

/**
 * What an OPEN tells goes through the ring of a worker, which takes half of itself at once and no
 * more: a peer that told a longer list of hops ended the worker, again with each connection.
 */
test('a session that tells more than a ring takes ends its link, not the worker', async () => {
  const { take, errors, opened } = openReceiver();
  const hops = Array.from({ length: 20_000 }, (_, index) => `gateway-${index}-`.padEnd(40, 'x'));
  await take(1, [
    [RecordKind.OPEN, 1, open(sessionOf({ hops }))],
    [RecordKind.FRAME, 1, frame],
  ]);
  assert.deepEqual(opened, []);
  assert.match(errors().join(), /"protocol".*OPEN/);
});

/** Open sessions cost memory, and nothing but their END gives it back. */
test('a link has no more sessions open than a gateway can have', async () => {
  const { receiver, take, errors } = openReceiver();
  const EACH = 10_000;
  let ref = 0;
  for (let batch = 0; batch < 30 && errors().length === 0; batch += 1) {
    const records = Array.from({ length: EACH }, (): [number, number, Buffer] => {
      ref += 1;
      return [RecordKind.OPEN, ref, open(sessionOf({ id: `w1-${ref}` }))];
    });
    await take(1 + batch * EACH, records);
  }
  assert.match(errors().join(), /"protocol".*sessions/);
  assert.ok(receiver.sessions.count <= 250_000);
});

/** The bytes of a session are counted by its records: one that is no whole frame made them negative. */
test('a record that is not one whole frame ends its link', async () => {
  const padded = Buffer.concat([frame, Buffer.from('x')]);
  for (const data of [frame.subarray(0, 10), frame.subarray(0, -1), padded, Buffer.alloc(0)]) {
    const { take, errors, opened } = openReceiver();
    await take(1, [
      [RecordKind.OPEN, 1, open(sessionOf())],
      [RecordKind.FRAME, 1, data],
    ]);
    assert.deepEqual(opened, []);
    assert.match(errors().join(), /"protocol".*frame/, `${data.length} bytes`);
  }
});

/** A socket whose peer reads nothing. */
class Unread extends Duplex {
  override _read(): void {}
  override _write(): void {}
}

function clientFrame(opcode: number, isFinal: boolean, payload: Buffer): Buffer {
  return Buffer.concat([
    Buffer.from([(isFinal ? 0x80 : 0) | opcode, 0x80 | payload.length, 0, 0, 0, 0]),
    payload,
  ]);
}

function openSocket() {
  const socket = new Unread();
  const { receiver, sent } = openReceiver();
  const closed: string[] = [];
  const link = new LinkSocket(socket, receiver, (detail) => closed.push(detail));
  return { socket, link, sent, closed };
}

/** The answers to pings were gathered without a bound for a gateway that did not read them. */
test('a gateway that reads no pongs is given up, or gets no more of them', () => {
  const { socket, link } = openSocket();
  const pings = Buffer.concat(
    Array.from({ length: 500 }, () => clientFrame(Opcode.PING, true, Buffer.alloc(100))),
  );
  for (let round = 0; round < 100; round += 1) link.feed(Buffer.from(pings));
  assert.ok(socket.writableLength <= 2 * 1024 * 1024, `${socket.writableLength} bytes wait`);
  socket.destroy();
});

/** Each byte in a frame of its own cost a Buffer that also held the read it came with. */
test('a message in very small pieces costs little more than its bytes', () => {
  const { socket, link } = openSocket();
  link.feed(clientFrame(Opcode.BINARY, false, Buffer.from([MessageKind.BATCH])));
  const piece = clientFrame(Opcode.CONTINUATION, false, Buffer.from([0]));
  const PIECES = 400_000;
  const read = Buffer.concat(Array.from({ length: 1_000 }, () => piece));
  const before = process.memoryUsage();
  for (let round = 0; round < PIECES / 1_000; round += 1) link.feed(Buffer.from(read));
  const after = process.memoryUsage();
  const grown = after.heapUsed - before.heapUsed + (after.arrayBuffers - before.arrayBuffers);
  assert.ok(grown < 32 * PIECES, `${grown} bytes for ${PIECES}`);
  socket.destroy();
});

/** Without its meta header no rule for meta types, and no TLP tag, was looked at. */
test('a session of type 254 that brings no meta header is not taken', async () => {
  const nothing = { type: 'ja3-jl', frames: 0, bytes: Buffer.alloc(0), wire: Buffer.alloc(0) };
  for (const meta of [undefined, nothing]) {
    const { take, sent, opened } = openReceiver();
    const session = sessionOf({ type: 254, ...(meta ? { meta } : {}) });
    await take(1, [
      [RecordKind.OPEN, 1, open(session)],
      [RecordKind.FRAME, 1, frame],
    ]);
    assert.deepEqual(opened, []);
    const rejected = sent.filter(({ kind }) => kind === MessageKind.REJECTED);
    assert.match(rejected.map(({ text }) => text).join(), /"meta-missing"/);
  }
});

/** One that an earlier connection had asked for was acknowledged by the next, which ended for it. */
test('a commit that this connection did not ask for is not acknowledged', async () => {
  const { receiver, sent, take } = openReceiver();
  receiver.committed(9);
  const acks = () => sent.filter(({ kind }) => kind === MessageKind.ACK).length;
  assert.equal(acks(), 0);
  await take(1, [[RecordKind.OPEN, 1, open(sessionOf())]]);
  receiver.committed(9);
  assert.equal(acks(), 0);
  receiver.committed(1);
  assert.equal(acks(), 1);
});

/** 66 KB of the smallest records, compressed, became a million objects: 230 MB, and seconds. */
test('a batch of more records than a gateway puts in a block ends its link', async () => {
  const { take, errors } = openReceiver();
  const nothing = Buffer.alloc(0);
  const records = (count: number) =>
    Array.from({ length: count }, (): [number, number, Buffer] => [RecordKind.END, 1, nothing]);
  await take(1, records(65_536));
  assert.deepEqual(errors(), []);
  await take(65_537, records(65_537));
  assert.match(errors().join(), /"protocol".*65537 records/);
});
