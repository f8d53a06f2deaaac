import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { type AddressInfo, createServer } from 'node:net';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { WebSocket } from 'ws';
import {
  CONTROL_BYTES_MAX,
  decodeClose,
  encodeClose,
  encodeHeader,
  FrameDecoder,
  Opcode,
  unmask,
  WebSocketFault,
} from '../../../src/sources/websocket/frames.js';
import { Upgrades } from '../../../src/sources/websocket/upgrade.js';

/** A client's frame, built as RFC 6455 draws it and as slowly as can be. */
function frame(first: number, payload: Buffer, mask: Buffer | undefined, wide = 0): Buffer {
  const { length } = payload;
  const form = Math.max(wide, length > 0xffff ? 127 : length > 125 ? 126 : 0);
  const size = Buffer.alloc(form === 127 ? 8 : form === 126 ? 2 : 0);
  if (form === 127) size.writeBigUInt64BE(BigInt(length));
  else if (form === 126) size.writeUInt16BE(length);
  const head = Buffer.from([first, (mask ? 0x80 : 0) | (form || length)]);
  const body = mask ? payload.map((byte, index) => byte ^ mask[index % 4]!) : payload;
  return Buffer.concat([head, size, mask ?? Buffer.alloc(0), body]);
}

const MASK = Buffer.from([1, 2, 3, 4]);
const binary = (payload: Buffer | string) => frame(0x82, Buffer.from(payload), MASK);

interface Read {
  data: Buffer;
  messages: number;
  controls: [number, string][];
}

/** Feeds the bytes in pieces that end at the given places. */
function read(bytes: Buffer, cuts: readonly number[] = []): Read {
  const found: Read = { data: Buffer.alloc(0), messages: 0, controls: [] };
  const parts: Buffer[] = [];
  const decoder = new FrameDecoder({
    data: (part) => parts.push(Buffer.from(part)),
    message: () => {
      found.messages += 1;
    },
    control: (opcode, payload) => found.controls.push([opcode, payload.toString('latin1')]),
  });
  const ends = [...cuts.filter((cut) => cut > 0 && cut < bytes.length), bytes.length];
  let at = 0;
  for (const end of [...new Set(ends)].sort((a, b) => a - b)) {
    decoder.feed(Buffer.from(bytes.subarray(at, end)));
    at = end;
  }
  return { ...found, data: Buffer.concat(parts) };
}

const part = fc.record({
  payload: fc
    .oneof(fc.nat(300), fc.constantFrom(0, 125, 126, 0xffff, 0x10000))
    .map((length) => randomBytes(length)),
  mask: fc.oneof(fc.constant(Buffer.alloc(4)), fc.constant(MASK), fc.constant(randomBytes(4))),
  wide: fc.constantFrom(0, 126, 127),
  ping: fc.option(fc.nat(CONTROL_BYTES_MAX).map((length) => randomBytes(length))),
});

test('any messages, fragmented and cut anywhere, come out as they went in', () => {
  fc.assert(
    fc.property(
      fc.array(fc.array(part, { minLength: 1, maxLength: 4 }), { maxLength: 5 }),
      fc.array(fc.nat(200_000), { maxLength: 30 }),
      (messages, cuts) => {
        const wire: Buffer[] = [];
        const data: Buffer[] = [];
        const controls: [number, string][] = [];
        for (const parts of messages) {
          parts.forEach(({ payload, mask, wide, ping }, index) => {
            if (ping) {
              wire.push(frame(0x80 | Opcode.PING, ping, mask));
              controls.push([Opcode.PING, ping.toString('latin1')]);
            }
            const opcode = index === 0 ? Opcode.BINARY : Opcode.CONTINUATION;
            const final = index === parts.length - 1 ? 0x80 : 0;
            wire.push(frame(final | opcode, payload, mask, wide));
            data.push(payload);
          });
        }
        const found = read(Buffer.concat(wire), cuts);
        assert.ok(found.data.equals(Buffer.concat(data)));
        assert.equal(found.messages, messages.length);
        assert.deepEqual(found.controls, controls);
      },
    ),
    { interruptAfterTimeLimit: 5_000, markInterruptAsFailure: false },
  );
});

test('each split of one frame of each form of length, masked, gives the same bytes', () => {
  for (const length of [0, 1, 125, 126, 70_000]) {
    const payload = randomBytes(length);
    const wire = frame(0x82, payload, randomBytes(4));
    for (let cut = 0; cut < Math.min(wire.length, 40); cut += 1) {
      const { data, messages } = read(wire, [cut, cut + 1, cut + 3]);
      assert.ok(data.equals(payload), `${length} bytes cut at ${cut}`);
      assert.equal(messages, 1);
    }
  }
});

test('unmask is the XOR of the RFC at every alignment, and turns the mask on', () => {
  const plain = randomBytes(64);
  for (let offset = 0; offset < 8; offset += 1) {
    for (let length = 0; length < 20; length += 1) {
      const bytes = Buffer.from(plain);
      const turned = unmask(bytes, offset, offset + length, MASK.readInt32BE(0));
      const expected = Buffer.from(plain);
      for (let index = 0; index < length; index += 1) {
        expected[offset + index]! ^= MASK[index % 4]!;
      }
      assert.deepEqual(bytes, expected);
      const next = [0, 1, 2, 3].map((index) => MASK[(length + index) % 4]);
      assert.deepEqual([...word(turned)], next);
    }
  }
});

function word(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}

describe('what a client must not send', () => {
  const faults: [string, Buffer, RegExp, number][] = [
    ['text', frame(0x81, Buffer.from('hi'), MASK), /a text message/, 1003],
    ['no mask', frame(0x82, Buffer.from('hi'), undefined), /not masked/, 1002],
    ['reserved bits', frame(0xc2, Buffer.from('hi'), MASK), /reserved bits/, 1002],
    ['an unknown opcode', frame(0x83, Buffer.from('hi'), MASK), /opcode 3 is unknown/, 1002],
    ['an unknown control', frame(0x8b, Buffer.alloc(0), MASK), /opcode 11 is unknown/, 1002],
    ['a cut control', frame(0x09, Buffer.alloc(0), MASK), /control frame is fragmented/, 1002],
    ['a long control', frame(0x89, Buffer.alloc(126), MASK), /over 125 bytes/, 1002],
    ['a continuation', frame(0x80, Buffer.alloc(1), MASK), /a continuation of no message/, 1002],
    [
      'a message in a message',
      Buffer.concat([frame(0x02, Buffer.alloc(1), MASK), binary('x')]),
      /begins within another/,
      1002,
    ],
    [
      'a length over 2^53',
      Buffer.from([0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
      /a frame of 9223372036854775808 bytes/,
      1002,
    ],
  ];
  for (const [name, bytes, message, closeCode] of faults) {
    test(name, () => {
      const fed = (cuts: number[]) => () => read(bytes, cuts);
      for (const cuts of [[], [1], [2, 5]]) {
        assert.throws(fed(cuts), (error) => {
          assert.ok(error instanceof WebSocketFault);
          assert.match(error.message, message);
          assert.equal(error.closeCode, closeCode);
          return true;
        });
      }
    });
  }
});

test('a client library takes the headers and close frames that are written', async () => {
  // The library's own receiver is the judge.
  for (const length of [0, 125, 126, 65_535, 65_536]) {
    const payload = randomBytes(length);
    const wire = Buffer.concat([
      encodeHeader(Opcode.BINARY, length),
      payload,
      encodeClose(1008, 'bad-hmac'),
    ]);
    const { message, close } = await received(wire);
    assert.ok(message.equals(payload), `${length} bytes`);
    assert.deepEqual(close, { code: 1008, reason: 'bad-hmac' });
  }
  const close = encodeClose(1002, 'x'.repeat(500));
  assert.equal(close.length, 2 + CONTROL_BYTES_MAX);
  assert.equal(decodeClose(close.subarray(2)).reason.length, CONTROL_BYTES_MAX - 2);
  assert.deepEqual(decodeClose(Buffer.alloc(0)), { code: 1005, reason: '' });
});

interface Received {
  message: Buffer;
  close: { code: number; reason: string };
}

/** What a client makes of a server's bytes. */
async function received(wire: Buffer): Promise<Received> {
  const server = createServer();
  const upgrades = new Upgrades(5_000, {
    upgraded: ({ accept, socket }) => {
      accept();
      socket.end(wire);
    },
    failed: (_, __, detail) => assert.fail(detail),
  });
  server.on('connection', (socket) =>
    upgrades.take(socket, { connection: 1, source: 'wss', address: '127.0.0.1' }),
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const client = new WebSocket(`ws://127.0.0.1:${port}/d4`);
  try {
    return await new Promise<Received>((resolve, reject) => {
      let message: Uint8Array = Buffer.alloc(0);
      client.on('message', (data: Buffer) => {
        message = data;
      });
      client.on('error', reject);
      client.on('close', (code, reason) =>
        resolve({ message: Buffer.from(message), close: { code, reason: reason.toString() } }),
      );
    });
  } finally {
    server.close();
  }
}
