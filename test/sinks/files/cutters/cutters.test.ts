import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import type { Cutter } from '../../../../src/sinks/files/cutters/cutter.js';
import { IpfixCutter } from '../../../../src/sinks/files/cutters/ipfix.js';
import { LinesCutter } from '../../../../src/sinks/files/cutters/lines.js';
import { PcapCutter } from '../../../../src/sinks/files/cutters/pcap.js';
import { PcapngCutter } from '../../../../src/sinks/files/cutters/pcapng.js';
import { StreamWalker } from '../../../../src/sinks/files/walker.js';
import { captures, newSeed, random } from '../rig.js';
import {
  block,
  interfaceBlock,
  ipfixMessage,
  ipfixSet,
  packetBlock,
  pcapHeader,
  pcapRecord,
  section,
  template,
} from './build.js';
import {
  type Reference,
  referenceIpfix,
  referenceLines,
  referencePcap,
  referencePcapng,
} from './reference.js';

const FUZZ_MS = 1500;
const LINE_MAX = 40;

interface Kind {
  name: string;
  cutter: () => Cutter;
  reference: (stream: Buffer) => Reference;
  /** A well-formed stream. */
  make: (next: (below: number) => number) => Buffer;
}

function noise(length: number, next: (below: number) => number): Buffer {
  return Buffer.from(Array.from({ length }, () => next(256)));
}

const kinds: Kind[] = [
  {
    name: 'pcap',
    cutter: () => new PcapCutter(),
    reference: referencePcap,
    make: (next) => {
      const big = next(2) === 1;
      const magic = [0xa1b2c3d4, 0xa1b23c4d, 0xa1b2cd34][next(3)]!;
      const header = magic === 0xa1b2cd34 ? 24 : 16;
      const records = Array.from({ length: next(8) }, () =>
        pcapRecord(noise(next(40), next), big, header),
      );
      return Buffer.concat([pcapHeader(big, magic), ...records]);
    },
  },
  {
    name: 'pcapng',
    cutter: () => new PcapngCutter(),
    reference: referencePcapng,
    make: (next) => {
      const parts: Buffer[] = [];
      for (let sections = 1 + next(3); sections > 0; sections -= 1) {
        const big = next(2) === 1;
        parts.push(section(big));
        const interfaces = next(3);
        for (let index = 0; index < interfaces; index += 1) parts.push(interfaceBlock(big));
        for (let packets = next(5); packets > 0; packets -= 1) {
          if (interfaces === 0 || next(4) === 0)
            parts.push(block(4 + next(2), noise(next(20), next), big));
          else parts.push(packetBlock(noise(next(30), next), big, next(interfaces)));
        }
      }
      return Buffer.concat(parts);
    },
  },
  {
    name: 'lines',
    cutter: () => new LinesCutter('txt', LINE_MAX),
    reference: (stream) => referenceLines(stream, LINE_MAX),
    make: (next) => {
      const lines = Array.from({ length: next(12) }, () => `${'x'.repeat(next(LINE_MAX))}\n`);
      return Buffer.from(lines.join('') + 'y'.repeat(next(LINE_MAX)));
    },
  },
  {
    name: 'ipfix',
    cutter: () => new IpfixCutter(),
    reference: referenceIpfix,
    make: (next) => {
      const messages = Array.from({ length: next(6) }, (_, sequence) => {
        const sets = Array.from({ length: next(4) }, () => {
          const kind = next(4);
          if (kind === 0) return ipfixSet(2, template(256 + next(4), [1 + next(8), 4]));
          if (kind === 1) return ipfixSet(3, template(256 + next(4), [2, 2, 2], 1));
          return ipfixSet(256 + next(4), noise(next(40), next));
        });
        return ipfixMessage(next(2), sequence, sets);
      });
      return Buffer.concat(messages);
    },
  },
];

interface Found {
  cuts: number[];
  damage: number | undefined;
  appended: Buffer;
}

/** Walks a stream in the given frames; `rotate`: bytes after which a file may end. */
function walk(cutter: Cutter, frames: readonly Buffer[], rotate: number): Found {
  const found: Found = { cuts: [], damage: undefined, appended: Buffer.alloc(0) };
  const parts: Buffer[] = [];
  let start: number | undefined;
  const walker = new StreamWalker(cutter, {
    cutAt: () => (start === undefined ? 0 : start + rotate),
    append: (bytes, from, to) => {
      assert.notEqual(start, undefined, 'bytes without a file');
      parts.push(Buffer.from(bytes.subarray(from, to)));
    },
    cut: () => {
      start = walker.cutter.position;
      if (found.damage === undefined) found.cuts.push(start);
    },
    damaged: (damagedBytes) => {
      found.damage = walker.cutter.position - damagedBytes;
      start = Number.POSITIVE_INFINITY;
    },
  });
  for (const frame of frames) {
    // Inside a larger view, whose other bytes mean nothing.
    const view = Buffer.concat([Buffer.alloc(7, 10), frame, Buffer.alloc(5, 10)]);
    walker.feed(view, 7, 7 + frame.length);
  }
  assert.ok(walker.restLength < 28);
  found.appended = Buffer.concat([...parts, walker.rest]);
  return found;
}

function expected({ starts, damage }: Reference, rotate: number): Omit<Found, 'appended'> {
  const cuts: number[] = [];
  for (const start of starts) {
    // The damaged record's own header may be good.
    if (cuts.length === 0 || start >= cuts.at(-1)! + rotate) cuts.push(start);
  }
  return { cuts, damage };
}

function check(kind: Kind, stream: Buffer, frames: readonly Buffer[], rotate: number): void {
  const found = walk(kind.cutter(), frames, rotate);
  const { cuts, damage } = expected(kind.reference(stream), rotate);
  const about = `${kind.name}, rotate ${rotate}: ${stream.toString('hex')} in ${frames.map((frame) => frame.length)}`;
  assert.deepEqual({ cuts: found.cuts, damage: found.damage }, { cuts, damage }, about);
  assert.ok(found.appended.equals(stream), about);
}

/** Cut at random places. */
function cutUp(stream: Buffer, next: (below: number) => number): Buffer[] {
  const frames: Buffer[] = [];
  const most = 1 + next(60);
  for (let at = 0; at < stream.length; ) {
    const size = 1 + next(most);
    frames.push(stream.subarray(at, at + size));
    at += size;
  }
  return frames;
}

for (const kind of kinds) {
  test(`${kind.name}: cuts and damage as told from the whole stream`, (context) => {
    const seed = newSeed();
    context.diagnostic(`D4GW_SEED=${seed}`);
    const next = random(seed);
    const until = performance.now() + FUZZ_MS / 2;
    let damaged = 0;
    let rounds = 0;
    while (performance.now() < until) {
      const stream = kind.make(next);
      const flips = next(2) === 0 ? 0 : 1 + next(3);
      for (let flip = 0; flip < flips && stream.length > 0; flip += 1) {
        const at = next(stream.length);
        stream[at] = stream[at]! ^ (1 << next(8));
      }
      const whole = stream.subarray(0, next(3) === 0 ? next(stream.length + 1) : stream.length);
      check(kind, whole, cutUp(whole, next), 1 + next(100));
      if (kind.reference(whole).damage !== undefined) damaged += 1;
      rounds += 1;
    }
    assert.ok(
      rounds > 50 && (damaged > 5 || kind.name === 'lines'),
      `${rounds}, ${damaged} damaged`,
    );
  });

  test(`${kind.name}: every two cuts of a small stream`, () => {
    const next = random(7);
    let stream: Buffer = Buffer.alloc(0);
    while (stream.length < 90 || stream.length > 220) stream = kind.make(next);
    for (let a = 0; a <= stream.length; a += 1) {
      for (let b = a; b <= stream.length; b += 1) {
        const frames = [stream.subarray(0, a), stream.subarray(a, b), stream.subarray(b)];
        check(kind, stream, frames, 30);
      }
    }
    for (let end = 0; end <= stream.length; end += 1) {
      const bytes = [...stream.subarray(0, end)].map((byte) => Buffer.of(byte));
      check(kind, stream.subarray(0, end), bytes, 1);
    }
  });
}

test('a line that is too long is damaged from its start on, however it is cut', () => {
  const kind = kinds[2]!;
  const next = random(11);
  for (let round = 0; round < 400; round += 1) {
    const stream = Buffer.from(
      Array.from({ length: 6 }, () => 'z'.repeat(next(LINE_MAX + 8))).join('\n'),
    );
    check(kind, stream, cutUp(stream, next), 1 + next(60));
  }
});

test('the captures parse to their last byte', (context) => {
  if (captures('pcap').length === 0) return context.skip('no shared captures');
  for (const file of captures('pcap')) {
    assert.equal(walk(new PcapCutter(), [readFileSync(file)], 1).damage, undefined, file);
  }
  for (const file of captures('pcapng')) {
    assert.equal(walk(new PcapngCutter(), [readFileSync(file)], 1).damage, undefined, file);
  }
});

test('a section whose interfaces are too many is cut no more, the next one is', () => {
  const many = Array.from({ length: 4000 }, () => interfaceBlock());
  const packet = packetBlock(Buffer.alloc(40));
  const stream = Buffer.concat([
    section(),
    ...many,
    packet,
    packet,
    section(),
    many[0]!,
    packet,
    packet,
  ]);
  const { cuts, damage } = walk(new PcapngCutter(), [stream], 1);
  const lastSection = stream.length - 2 * packet.length - many[0]!.length - section().length;
  assert.equal(damage, undefined);
  assert.ok(cuts.filter((cut) => cut > 70_000).every((cut) => cut > lastSection));
  assert.equal(cuts.at(-1), stream.length - packet.length);
});
