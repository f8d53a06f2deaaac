import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { trackerOf } from '../../src/streams/boundary.js';
import { captures, skipWithoutShared } from '../support/shared.js';
import { tempDir } from '../support/tmp.js';
import { requireTool } from '../support/tools.js';

/** What a second connection would carry, had the first been cut behind `cut` bytes. */
function continued(type: number, stream: Buffer, cut: number, chunk: number): [Buffer, Buffer] {
  const tracker = trackerOf(type);
  let resume = tracker.feed(Buffer.alloc(0));
  for (let at = 0; at < cut; at += chunk) {
    resume = tracker.feed(stream.subarray(at, Math.min(cut, at + chunk)));
  }
  // The rest is fed before the resume is used, as it is while a connection breaks.
  tracker.feed(stream.subarray(cut));
  const { offset, prelude, preludeCount } = resume;
  assert.ok(offset <= cut, `resumes at ${offset}, behind the cut at ${cut}`);
  const first = stream.subarray(0, offset);
  const second = [...prelude.slice(0, preludeCount), stream.subarray(offset)];
  return [first, Buffer.concat(second)];
}

/** A walk of pcap by its published layout, apart from the code under test. */
function pcapPackets(file: Buffer): string[] {
  if (file.length === 0) return [];
  const little = [0xd4c3b2a1, 0x4d3cb2a1].includes(file.readUInt32BE(0));
  const packets: string[] = [];
  for (let at = 24; at < file.length; ) {
    const length = 16 + (little ? file.readUInt32LE(at + 8) : file.readUInt32BE(at + 8));
    assert.ok(at + length <= file.length, 'the last record is whole');
    packets.push(file.toString('hex', at, at + length));
    at += length;
  }
  return packets;
}

/** Each packet of a pcapng file, together with the interface that its section gives it. */
function pcapngPackets(file: Buffer): string[] {
  let little = true;
  let interfaces: string[] = [];
  const packets: string[] = [];
  const u32 = (at: number) => (little ? file.readUInt32LE(at) : file.readUInt32BE(at));
  for (let at = 0; at < file.length; at += u32(at + 4)) {
    if (file.readUInt32BE(at) === 0x0a0d0d0a) {
      little = file.readUInt32LE(at + 8) === 0x1a2b3c4d;
      interfaces = [];
      continue;
    }
    const block = file.toString('hex', at, at + u32(at + 4));
    if (u32(at) === 1) interfaces.push(block);
    else if (u32(at) === 6) packets.push(`${interfaces[u32(at + 8)]} ${block}`);
    else if (u32(at) === 3) packets.push(`${interfaces[0]} ${block}`);
  }
  return packets;
}

describe('trackerOf', () => {
  it('pcap: both connections hold whole records, all of them once', {
    skip: skipWithoutShared(),
  }, () => {
    const files = captures('pcap').map((path) => readFileSync(path));
    fc.assert(
      fc.property(
        fc.constantFrom(...files),
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.integer({ min: 1, max: 100 }),
        (file, place, chunk) => {
          const cut = Math.floor(place * file.length);
          const [first, second] = continued(1, file, cut, chunk);
          const all = [...pcapPackets(first), ...pcapPackets(second)];
          assert.deepEqual(all, pcapPackets(file));
        },
      ),
      { numRuns: 500 },
    );
  });

  it('pcapng: both connections hold whole blocks, each packet with its interface', {
    skip: skipWithoutShared(),
  }, () => {
    const files = captures('pcapng').map((path) => readFileSync(path));
    fc.assert(
      fc.property(
        fc.constantFrom(...files),
        fc.constantFrom(...files),
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.integer({ min: 1, max: 100 }),
        (one, other, place, chunk) => {
          const stream = Buffer.concat([one, other]); // several sections, of both byte orders
          const cut = Math.floor(place * stream.length);
          const [first, second] = continued(5, stream, cut, chunk);
          const all = [...pcapngPackets(first), ...pcapngPackets(second)];
          assert.deepEqual(all, pcapngPackets(stream));
        },
      ),
      { numRuns: 500 },
    );
  });

  it('tcpdump reads what goes on in a second connection', {
    skip: skipWithoutShared() || requireTool('tcpdump'),
  }, () => {
    const dir = tempDir('boundary');
    const dump = (bytes: Buffer) => {
      const path = join(dir, 'piece');
      writeFileSync(path, bytes);
      const args = ['-n', '-t', '-S', '-x', '-r', path];
      return execFileSync('tcpdump', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
    };
    for (const path of captures('pcap').filter((path) => /bgp|babel|nano|isup/.test(path))) {
      const file = readFileSync(path);
      for (const cut of [24, 25, Math.floor(file.length / 2), file.length - 1]) {
        const [first, second] = continued(1, file, cut, 1_000);
        const all = (first.length > 0 ? dump(first) : '') + dump(second);
        assert.equal(all, dump(file), `${basename(path)} cut at ${cut}`);
      }
    }
  });

  it('dnscap: tells captures from text', { skip: skipWithoutShared() }, () => {
    const capture = readFileSync(
      captures('pcap').find((path) => path.includes('dns-uri')) as string,
    );
    const [, second] = continued(4, capture, capture.length - 1, 3);
    assert.deepEqual(second.subarray(0, 24), capture.subarray(0, 24));
    const [first, rest] = continued(4, Buffer.from('ab\ncd\nef'), 7, 1);
    assert.deepEqual([`${first}`, `${rest}`], ['ab\ncd\n', 'ef']);
  });

  it('lines go on at a line start, for every cut and every size of reads', () => {
    const text = Buffer.from('one\ntwo\n\nthree');
    for (const type of [3, 6, 8, 254]) {
      for (let cut = 0; cut <= text.length; cut++) {
        for (const chunk of [1, 2, 5, 100]) {
          const [first, second] = continued(type, text, cut, chunk);
          assert.equal(`${first}${second}`, `${text}`);
          const lineStart = text.subarray(0, cut).lastIndexOf('\n') + 1;
          assert.equal(first.length, lineStart);
        }
      }
    }
  });

  it('IPFIX goes on at a message, behind the templates so far', () => {
    const set = (id: number, body: string) => {
      const header = Buffer.alloc(4);
      header.writeUInt16BE(id, 0);
      header.writeUInt16BE(4 + body.length, 2);
      return Buffer.concat([header, Buffer.from(body)]);
    };
    const message = (...sets: Buffer[]) => {
      const header = Buffer.alloc(16, 7);
      const all = Buffer.concat([header, ...sets]);
      all.writeUInt16BE(10, 0);
      all.writeUInt16BE(all.length, 2);
      return all;
    };
    const template = set(2, 'template');
    const option = set(3, 'options template');
    const data = set(256, 'data');
    const messages = [message(template, data), message(data), message(data, option), message(data)];
    const stream = Buffer.concat(messages);
    for (let cut = 0; cut <= stream.length; cut++) {
      const [first, second] = continued(7, stream, cut, 3);
      let whole = 0;
      let bytes = 0;
      while (whole < 4 && bytes + messages[whole]!.length <= cut)
        bytes += messages[whole++]!.length;
      const templates = [
        ...(whole > 0 ? [message(template)] : []),
        ...(whole > 2 ? [message(option)] : []),
      ];
      assert.equal(first.length, bytes);
      assert.deepEqual(second, Buffer.concat([...templates, ...messages.slice(whole)]));
    }
  });

  it('a meta header of the input itself goes on at its start', () => {
    const [first, second] = continued(2, Buffer.from('{"type":\n"a"}\n'), 12, 4);
    assert.deepEqual([`${first}`, `${second}`], ['', '{"type":\n"a"}\n']);
  });

  it('goes on at any byte of what has no records, without a header before it', {
    skip: skipWithoutShared(),
  }, () => {
    const text = Buffer.from('no capture at all');
    const [plain] = continued(1, text, 9, 2);
    assert.equal(plain.length, 9);
    const file = readFileSync(captures('pcap').find((path) => path.includes('bgp')) as string);
    const damaged = Buffer.concat([file, Buffer.alloc(200, 0xff)]);
    const cut = file.length + 100;
    const [first, second] = continued(1, damaged, cut, 64);
    assert.equal(first.length, cut);
    assert.equal(second.length, 100);
    // Within the damaged header it can't be known yet: it goes on at the last record's end.
    const [whole, rest] = continued(1, damaged, file.length + 10, 64);
    assert.equal(whole.length, file.length);
    assert.deepEqual(rest.subarray(0, 24), file.subarray(0, 24));
  });

  it('takes any bytes without an error, and resumes within them', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(1, 4, 5, 7),
        fc.constantFrom('', 'd4c3b2a1', 'a1b2c3d4', '0a0d0d0a1c0000004d3c2b1a', '000a0010'),
        fc.uint8Array({ maxLength: 300 }),
        fc.integer({ min: 1, max: 50 }),
        (type, magic, rest, chunk) => {
          const stream = Buffer.concat([Buffer.from(magic, 'hex'), rest]);
          const [first, second] = continued(type, stream, stream.length >> 1, chunk);
          assert.ok(first.length + second.length >= stream.length);
        },
      ),
    );
  });
});
