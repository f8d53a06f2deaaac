import assert from 'node:assert/strict';
import { createSecretKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Continuation, startPoint } from '../../../src/sinks/relay/continuation.js';
import {
  type Identity,
  OwnIdentity,
  Pseudonym,
  pseudonymOf,
} from '../../../src/sinks/relay/identity.js';
import { decodeHeader, encodeFrame, verifyFrame } from '../../../src/wire/header.js';
import { HEADER_BYTES } from '../../../src/wire/layout.js';
import { captures, skipWithoutShared } from '../../support/shared.js';

const SENSOR = '5e2f8b7d-0a13-4b7a-9c41-000000000001';
const KEY = Buffer.from('private key to change');
const SECRET = Buffer.from('the secret of the relay');
const RELAY_KEY = createSecretKey(Buffer.from('the key of the relay'));
const META = Buffer.from('{"type":"ja3-jl","tags":["tlp:green"]}\n');
const LINES = 6;
const PCAP = 1;
const PCAPNG = 5;
const YAF = 7;
const EXTENDED = 254;

const own = () => new OwnIdentity(SENSOR, () => KEY);

/** The frames of a stream, cut by `sizes` in turn. */
function framesOf(type: number, stream: Buffer, sizes: readonly number[]): Buffer[] {
  const frames: Buffer[] = [];
  const cut = (payload: Buffer) =>
    frames.push(
      encodeFrame({
        type,
        uuid: SENSOR,
        timestamp: 1_700_000_000 + frames.length,
        key: KEY,
        payload,
      }),
    );
  let at = 0;
  for (let index = 0; at < stream.length; index += 1) {
    const size = sizes[index % sizes.length]!;
    cut(stream.subarray(at, at + size));
    at += size;
  }
  cut(Buffer.alloc(0));
  return frames;
}

interface Session {
  /** Where in the stream it goes on, by the point that it began with. */
  offset: number;
  /** Payloads by type, of the frames that the receiver got whole. */
  meta: Buffer;
  data: Buffer;
  /** Frames that are byte for byte an original. */
  originals: number;
  made: number;
}

/** What a receiver makes of the bytes of one connection. */
function received(
  wire: Buffer,
  frames: readonly Buffer[],
  uuid: string,
  key: Buffer,
): Omit<Session, 'offset'> {
  const meta: Buffer[] = [];
  const data: Buffer[] = [];
  let originals = 0;
  let made = 0;
  for (let at = 0; at + HEADER_BYTES <= wire.length; ) {
    const header = decodeHeader(wire, at);
    const end = at + HEADER_BYTES + header.size;
    if (end > wire.length) break;
    const frame = wire.subarray(at, end);
    assert.equal(header.uuid, uuid);
    const payload = frame.subarray(HEADER_BYTES);
    assert.ok(verifyFrame(frame, payload, key), 'every frame is signed');
    (header.type === 2 ? meta : data).push(payload);
    if (frames.some((original) => original.equals(frame))) originals += 1;
    else made += 1;
    at = end;
  }
  return { meta: Buffer.concat(meta), data: Buffer.concat(data), originals, made };
}

interface Loss {
  /** Frames that the connection carries, and how much of what it took the peer got. */
  frames: number;
  /** Of the window, the share that was lost, from 0 to 1. */
  lost: number;
}

/** Relays a stream over connections that break as told, then over one that ends in order. */
function relay(
  options: {
    type: number;
    identity: Identity;
    meta?: { bytes: Buffer; wire: Buffer };
    window: number;
    recordBytesMax?: number;
  },
  frames: readonly Buffer[],
  losses: readonly Loss[],
  uuid: string,
  key: Buffer,
): { sessions: Session[]; continuation: Continuation } {
  const { window, ...rest } = options;
  const make = (point = startPoint(0)) =>
    new Continuation({ ...rest, resendWindowBytes: window }, point);
  let continuation = make();
  const sessions: Session[] = [];
  for (const [index, loss] of [...losses, undefined].entries()) {
    continuation.begin();
    const { fromSeq: from, bytes: before, skip } = continuation.point;
    const offset = before + skip;
    const until = loss ? Math.min(from + loss.frames, frames.length) : frames.length;
    const wire: Buffer[] = [];
    let bytes = 0;
    for (let seq = from; seq < until; seq += 1) {
      for (const piece of continuation.take(seq, frames[seq]!)) {
        wire.push(Buffer.from(piece));
        bytes += piece.length;
      }
      continuation.flushed(bytes);
    }
    const all = Buffer.concat(wire);
    if (!loss) {
      continuation.ended();
      sessions.push({ offset, ...received(all, frames, uuid, key) });
      break;
    }
    // What was followed by more than the window arrived; of the window, any part.
    const kept = all.length - Math.floor(Math.min(window, all.length) * loss.lost);
    sessions.push({ offset, ...received(all.subarray(0, kept), frames, uuid, key) });
    // Every second time the process dies too: the point is all that it finds again.
    if (index % 2 === 1) continuation = make(structuredPoint(continuation));
  }
  return { sessions, continuation };
}

/** A point as it is read back from a disk. */
function structuredPoint({ point }: Continuation) {
  const prelude = point.prelude.slice(0, point.preludeCount).map((block) => Buffer.from(block));
  return { ...point, prelude };
}

const losses = fc.array(
  fc.record({
    frames: fc.integer({ min: 0, max: 60 }),
    lost: fc.double({ min: 0, max: 1, noNaN: true }),
  }),
  { maxLength: 6 },
);
const sizes = fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 8 });
const window = fc.constantFrom(0, 100, 1000, 100_000);
const RUNS = { numRuns: 150, interruptAfterTimeLimit: 10_000 };

/** A walk of pcap by its published layout: whole packets, and what is left behind the last. */
function pcapRecords(file: Buffer): string[] {
  const records: string[] = [];
  if (file.length < 24) return records;
  assert.ok([0xd4c3b2a1, 0xa1b2c3d4, 0x4d3cb2a1, 0xa1b23c4d].includes(file.readUInt32BE(0)));
  const little = [0xd4c3b2a1, 0x4d3cb2a1].includes(file.readUInt32BE(0));
  for (let at = 24; at + 16 <= file.length; ) {
    const length = 16 + (little ? file.readUInt32LE(at + 8) : file.readUInt32BE(at + 8));
    if (at + length > file.length) break;
    records.push(file.toString('hex', at, at + length));
    at += length;
  }
  return records;
}

/** Packet blocks of pcapng, each with the interface that its section gives it. */
function pcapngRecords(file: Buffer): string[] {
  const records: string[] = [];
  let little = true;
  let interfaces: string[] = [];
  const u32 = (at: number) => (little ? file.readUInt32LE(at) : file.readUInt32BE(at));
  for (let at = 0; at + 12 <= file.length; ) {
    if (file.readUInt32BE(at) === 0x0a0d0d0a) {
      little = file.readUInt32LE(at + 8) === 0x1a2b3c4d;
      interfaces = [];
    } else assert.ok(at > 0, 'it begins with a section');
    const end = at + u32(at + 4);
    if (end > file.length) break;
    const block = file.toString('hex', at, end);
    if (u32(at) === 1) interfaces.push(block);
    else if (u32(at) === 6) records.push(`${interfaces[u32(at + 8)]} ${block}`);
    at = end;
  }
  return records;
}

function lineRecords(text: Buffer): string[] {
  return text.toString('latin1').split('\n').slice(0, -1);
}

/** IPFIX messages that hold data, each readable with templates that came before it. */
function ipfixRecords(file: Buffer): string[] {
  const records: string[] = [];
  const known = new Set<number>();
  for (let at = 0; at + 16 <= file.length; ) {
    assert.equal(file.readUInt16BE(at), 10, 'a message begins here');
    const end = at + file.readUInt16BE(at + 2);
    if (end > file.length) break;
    for (let set = at + 16; set < end; set += file.readUInt16BE(set + 2)) {
      const id = file.readUInt16BE(set);
      if (id === 2) known.add(file.readUInt16BE(set + 4));
      else {
        assert.ok(known.has(id), `template ${id} came before its data`);
        records.push(file.toString('hex', set, end));
      }
    }
    at = end;
  }
  return records;
}

/** All are there at least once, and no session skips what no session before it brought. */
function assertInOrder(
  sessions: readonly { from: number; records: string[] }[],
  expected: readonly string[],
): void {
  let next = 0;
  for (const { from, records } of sessions) {
    assert.ok(from <= next, `a session begins at record ${from}, ${next} arrived`);
    assert.deepEqual(records, expected.slice(from, from + records.length));
    next = Math.max(next, from + records.length);
  }
  assert.equal(next, expected.length);
}

function ipfixStream(data: readonly number[]): Buffer {
  const message = (sequence: number, set: Buffer) => {
    const head = Buffer.alloc(16);
    head.writeUInt16BE(10, 0);
    head.writeUInt16BE(16 + set.length, 2);
    head.writeUInt32BE(sequence, 8);
    return Buffer.concat([head, set]);
  };
  const template = (id: number) => Buffer.from([0, 2, 0, 12, id >> 8, id & 255, 0, 1, 0, 8, 0, 4]);
  return Buffer.concat(
    data.map((value, index) => {
      if (value % 5 === 0 || index === 0) return message(index, template(256));
      const set = Buffer.alloc(4 + 8);
      set.writeUInt16BE(256, 0);
      set.writeUInt16BE(12, 2);
      set.writeUInt32BE(index, 4);
      return message(index, set);
    }),
  );
}

describe('a stream over sessions that break', () => {
  const check = (
    type: number,
    stream: Buffer,
    walk: (file: Buffer) => string[],
    [cuts, breaks, windowBytes]: [number[], Loss[], number],
    identity: Identity = own(),
    metaHeader?: Buffer,
  ) => {
    const frames = framesOf(type, stream, cuts);
    const uuid = identity.resigns ? pseudonymOf(SENSOR, SECRET) : SENSOR;
    const key = identity.resigns ? Buffer.from('the key of the relay') : KEY;
    const options = {
      type,
      identity,
      window: windowBytes,
      ...(metaHeader ? { meta: metaOf(metaHeader) } : {}),
    };
    const { sessions, continuation } = relay(options, frames, breaks, uuid, key);
    assertInOrder(
      sessions.map(({ offset, data }) => ({
        from: walk(stream.subarray(0, offset)).length,
        records: walk(data),
      })),
      walk(stream),
    );
    assert.equal(continuation.point.fromSeq, frames.length, 'all is done');
    assert.deepEqual(
      [continuation.point.frames, continuation.point.bytes],
      [frames.length, stream.length],
    );
    if (metaHeader) {
      for (const { meta, data } of sessions)
        if (data.length > 0) assert.deepEqual(meta, metaHeader);
    } else assert.ok(sessions.every(({ meta }) => meta.length === 0));
    return sessions;
  };

  it('pcap: whole packets behind a file header, none lost, in order', {
    skip: skipWithoutShared(),
  }, () => {
    const files = captures('pcap').map((path) => readFileSync(path));
    const good = files.filter((file) => pcapRecords(file).length > 0);
    fc.assert(
      fc.property(fc.constantFrom(...good), sizes, losses, window, (file, ...how) => {
        check(PCAP, wholePcap(file), pcapRecords, how);
      }),
      RUNS,
    );
  });

  it('pcapng: each packet with its interface, over several sections', {
    skip: skipWithoutShared(),
  }, () => {
    const files = captures('pcapng').map((path) => readFileSync(path));
    fc.assert(
      fc.property(
        fc.constantFrom(...files),
        fc.constantFrom(...files),
        sizes,
        losses,
        window,
        (one, other, ...how) => {
          check(PCAPNG, Buffer.concat([one, other]), pcapngRecords, how);
        },
      ),
      RUNS,
    );
  });

  it('lines: each session begins at a line', () => {
    const text = fc.array(fc.string({ unit: 'binary-ascii', maxLength: 80 }), { maxLength: 200 });
    fc.assert(
      fc.property(text, sizes, losses, window, (lines, ...how) => {
        const stream = Buffer.from(lines.map((line) => `${line.replaceAll('\n', '')}\n`).join(''));
        // Numbered, so that each line is told from each other.
        const numbered = Buffer.from(
          lineRecords(stream)
            .map((line, index) => `${index} ${line}\n`)
            .join(''),
          'latin1',
        );
        check(LINES, numbered, lineRecords, how);
      }),
      RUNS,
    );
  });

  it('IPFIX: the templates come before the data that needs them', () => {
    const data = fc.array(fc.integer({ min: 0, max: 99 }), { maxLength: 200 });
    fc.assert(
      fc.property(data, sizes, losses, window, (values, ...how) => {
        check(YAF, ipfixStream(values), ipfixRecords, how);
      }),
      RUNS,
    );
  });

  it('type 254: each session begins with the meta header', () => {
    fc.assert(
      fc.property(
        fc.boolean(),
        fc.integer({ min: 0, max: 200 }),
        sizes,
        losses,
        window,
        (resigned, count, ...how) => {
          const lines = Array.from({ length: count }, (_, index) => `{"line":${index}}\n`);
          const identity = resigned ? new Pseudonym(SENSOR, SECRET, RELAY_KEY) : own();
          check(EXTENDED, Buffer.from(lines.join('')), lineRecords, how, identity, META);
        },
      ),
      RUNS,
    );
  });

  it('re-signed: every frame under the pseudonym, with the key of the relay', {
    skip: skipWithoutShared(),
  }, () => {
    const file = wholePcap(readFileSync(captures('pcap')[0]!));
    fc.assert(
      fc.property(sizes, losses, window, (...how) => {
        check(PCAP, file, pcapRecords, how, new Pseudonym(SENSOR, SECRET, RELAY_KEY));
      }),
      RUNS,
    );
  });

  it('without a break every frame is the original, and is counted as nothing else', () => {
    const stream = Buffer.from('one line\nand another\n');
    const frames = framesOf(LINES, stream, [4]);
    const options = { type: LINES, identity: own(), window: 1000 };
    const { sessions, continuation } = relay(options, frames, [], SENSOR, KEY);
    assert.deepEqual([sessions[0]!.originals, sessions[0]!.made], [frames.length, 0]);
    assert.deepEqual(continuation.resent, { frames: 0, bytes: 0 });
    assert.deepEqual(continuation.recut, { frames: 0, bytes: 0 });
  });

  it('after a break one frame alone is cut anew', () => {
    const stream = Buffer.from('a line\n'.repeat(5000));
    const frames = framesOf(LINES, stream, [10]);
    const options = { type: LINES, identity: own(), window: 0 };
    const breaks = [{ frames: 1200, lost: 0 }];
    const { sessions, continuation } = relay(options, frames, breaks, SENSOR, KEY);
    assert.equal(sessions[1]!.made, 1);
    assert.equal(continuation.recut.frames, 1);
    assert.ok(continuation.resent.frames > 0);
  });
});

/** The header as a sensor sends it, in several frames. */
function metaOf(bytes: Buffer): { bytes: Buffer; wire: Buffer } {
  return { bytes, wire: Buffer.concat(framesOf(2, bytes, [11])) };
}

/** Up to the end of its last whole packet. */
function wholePcap(file: Buffer): Buffer {
  const bytes = pcapRecords(file).reduce((total, record) => total + record.length / 2, 24);
  return file.subarray(0, bytes);
}

describe('what has no records', () => {
  it('goes on at a frame', () => {
    const stream = Buffer.alloc(3000, 7);
    const frames = framesOf(PCAP, stream, [100]);
    const options = { type: PCAP, identity: own(), window: 0 };
    const { sessions } = relay(options, frames, [{ frames: 10, lost: 0 }], SENSOR, KEY);
    assert.deepEqual(
      sessions.map(({ made }) => made),
      [0, 0],
    );
    assert.ok(Buffer.concat(sessions.map(({ data }) => data)).length >= stream.length);
  });

  it('a record without end is not held for ever', () => {
    const stream = Buffer.alloc(3000, 'x');
    const frames = framesOf(LINES, stream, [100]);
    const continuation = new Continuation(
      { type: LINES, identity: own(), resendWindowBytes: 0, recordBytesMax: 500 },
      startPoint(0),
    );
    let wire = 0;
    for (const [seq, frame] of frames.entries()) {
      for (const piece of continuation.take(seq, frame)) wire += piece.length;
    }
    continuation.flushed(wire + 1);
    assert.equal(continuation.point.form, 'raw');
    assert.equal(continuation.point.fromSeq, frames.length);
  });

  it('nothing is confirmed within the window', () => {
    const frames = framesOf(LINES, Buffer.from('a line\n'.repeat(20_000)), [70]);
    const continuation = new Continuation(
      { type: LINES, identity: own(), resendWindowBytes: 10_000 },
      startPoint(0),
    );
    let wire = 0;
    for (const [seq, frame] of frames.entries()) {
      for (const piece of continuation.take(seq, frame)) wire += piece.length;
      continuation.flushed(wire);
      const behind = (seq + 1 - continuation.point.fromSeq) * (62 + 70);
      assert.ok(behind >= Math.min(wire, 10_000) - 62 - 70);
    }
    assert.ok(continuation.point.fromSeq > 0, 'and what is further back is');
    assert.equal(continuation.isConfirmed, false);
    continuation.ended();
    assert.equal(continuation.isConfirmed, true);
  });

  it('nor what can no longer be signed: the original frames go on', () => {
    const frames = framesOf(LINES, Buffer.from('a line\n'), [4]);
    const identity = new OwnIdentity(SENSOR, () => undefined);
    const point = { ...startPoint(0), skip: 1 };
    const options = { type: LINES, identity, resendWindowBytes: 0 };
    const continuation = new Continuation(options, point);
    assert.deepEqual(continuation.take(0, frames[0]!), [frames[0]], 'whole, as it was sent');
    assert.equal(continuation.unsigned, 1);
    assert.deepEqual(new Continuation(options, startPoint(0)).take(0, frames[0]!), [frames[0]]);
  });
});
