import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, test } from 'node:test';
import { repairPart } from '../../../src/sinks/files/repair.js';
import type { CarriedPart, SinkResume, SinkSession, StreamPart } from '../../../src/sinks/sink.js';
import { captures, contentOf, filesBelow, newSeed, Rig, random, tempDir } from './rig.js';

/** For each form and compression. */
const TIME_MS = 3_000;
const COMPRESSIONS = ['none', 'gzip', 'lz4'] as const;

/** A session whose stream goes on from another's, and what that is to keep for the next. */
function linked(rig: Rig, type: number, carried: CarriedPart | undefined) {
  const kept: StreamPart[] = [];
  const resume: SinkResume = {
    part: carried,
    continues: carried !== undefined,
    before: { frames: 0, bytes: 0 },
    keep: async (part) => {
      kept.push(part);
    },
  };
  const session: SinkSession = { ...rig.session(type), resume: new Map([['disk', resume]]) };
  return { session, kept };
}

function shuffled<T>(items: readonly T[], next: (below: number) => number): T[] {
  const left = [...items];
  return items.map(() => left.splice(next(left.length), 1)[0]!);
}

/** What the next session carries on. */
function carriedBy(kept: readonly StreamPart[], before: CarriedPart | undefined) {
  const part = kept.at(-1);
  if (!part) return before;
  const rest = part.rest?.bytes ?? new Uint8Array(0);
  return { preamble: part.preamble, raw: part.raw, tail: Buffer.concat([part.tail, rest]) };
}

function tcpdumpReads(path: string): boolean {
  return spawnSync('tcpdump', ['-n', '-r', path], { maxBuffer: 2 ** 28 }).status === 0;
}

/** A stream that is suspended again and again, cut anywhere; its bytes as the files hold them. */
async function interrupted(
  type: number,
  payload: Buffer,
  next: (below: number) => number,
  options: { compress: (typeof COMPRESSIONS)[number]; rotateBytes: number },
) {
  const dir = tempDir();
  const rig = new Rig(dir.path, options);
  const parts: Buffer[] = [];
  let carried: CarriedPart | undefined;
  let seen = 0;
  let delivered = 0;
  for (let at = 0, isLast = false; !isLast; ) {
    const { session, kept } = linked(rig, type, carried);
    const stream = rig.sink.open(session);
    const end = Math.min(payload.length, at + next(600));
    isLast = end === payload.length;
    while (at < end) {
      const size = Math.min(end - at, next(150));
      rig.write(stream, payload.subarray(at, at + size), type);
      at += size;
      if (next(6) === 0) await stream.sync!();
    }
    await (isLast ? stream.end() : stream.suspend!());
    const { bytes } = rig.delivered.get(session.id)!;
    delivered += bytes;
    assert.equal(delivered, at, 'all that was taken is held');
    const files = filesBelow(dir.path);
    for (const [index, file] of files.slice(seen).entries()) {
      const isFirst = index === 0 && carried !== undefined;
      const preamble = isFirst ? carried!.preamble.length : rig.journal.preambleOf(file);
      parts.push(contentOf(file).subarray(preamble));
    }
    seen = files.length;
    carried = carriedBy(kept, carried);
  }
  const files = filesBelow(dir.path);
  assert.ok(files.every((file) => !file.endsWith('.part')));
  await rig.sink.close();
  return { dir, rig, files, bytes: Buffer.concat(parts) };
}

describe('a stream that goes on in other sessions', () => {
  for (const compress of COMPRESSIONS) {
    for (const kind of ['pcap', 'pcapng'] as const) {
      const all = captures(kind);
      const skip = all.length === 0 ? 'no shared captures' : false;
      test(`${kind} (${compress}): files stand alone, and are the capture`, { skip }, async (t) => {
        const seed = newSeed();
        t.diagnostic(`D4GW_SEED=${seed}`);
        const next = random(seed);
        const deadline = Date.now() + TIME_MS;
        for (const file of shuffled(all, next)) {
          if (Date.now() > deadline) break;
          const payload = readFileSync(file);
          const rotateBytes = next(2) === 0 ? 1 + next(2_000) : 2 ** 30;
          const type = kind === 'pcap' ? 1 : 5;
          const found = await interrupted(type, payload, next, { compress, rotateBytes });
          const about = `${basename(file)}, rotateBytes ${rotateBytes}`;
          assert.ok(found.bytes.equals(payload), about);
          if (compress === 'none' && tcpdumpReads(file)) {
            for (const piece of found.files) assert.ok(tcpdumpReads(piece), `${about}: ${piece}`);
          }
          found.dir.remove();
        }
      });
    }
  }

  for (const compress of COMPRESSIONS) {
    test(`lines (${compress}): each file ends with a whole line`, async (t) => {
      const seed = newSeed();
      t.diagnostic(`D4GW_SEED=${seed}`);
      const next = random(seed);
      for (let round = 0; round < 20; round += 1) {
        const lines = Array.from(
          { length: next(60) },
          (_, index) => `${index} ${'x'.repeat(next(90))}`,
        );
        const payload = Buffer.from(`${lines.join('\n')}${next(2) === 0 ? '\n' : ' cut'}`);
        const found = await interrupted(3, payload, next, { compress, rotateBytes: 1 + next(900) });
        assert.ok(found.bytes.equals(payload), `round ${round}`);
        for (const file of found.files.slice(0, -1)) {
          assert.ok(contentOf(file).toString().endsWith('\n'), file);
        }
        found.dir.remove();
      }
    });
  }

  test('what parses no more goes on as raw', async () => {
    const dir = tempDir();
    const rig = new Rig(dir.path);
    const first = linked(rig, 1, undefined);
    const stream = rig.sink.open(first.session);
    rig.write(stream, Buffer.from('no pcap at all, whatever its type says'));
    await stream.suspend!();
    const carried = carriedBy(first.kept, undefined);
    assert.equal(carried!.raw, true);
    const second = linked(rig, 1, carried);
    const more = rig.sink.open(second.session);
    rig.write(more, Buffer.from(', and more'));
    await more.end();
    const files = filesBelow(dir.path);
    assert.ok(files.every((file) => file.endsWith('.raw')));
    const text = Buffer.concat(files.map((file) => readFileSync(file))).toString();
    assert.equal(text, 'no pcap at all, whatever its type says, and more');
    dir.remove();
  });
});

describe('a file that a dead process left, whose stream goes on', () => {
  const NAME = '3b0a4a5289a44d2e9a5c2f5b5c6d7e8f-2026-11-05-060708';

  test('its end is kept before it is cut off; together they are what was there', async (t) => {
    const files = captures('pcap').filter(tcpdumpReads);
    if (files.length === 0) return t.skip('no shared captures');
    const seed = newSeed();
    t.diagnostic(`D4GW_SEED=${seed}`);
    const next = random(seed);
    for (const file of files) {
      const dir = tempDir();
      const part = join(dir.path, `${NAME}.cap.part`);
      copyFileSync(file, part);
      const all = readFileSync(file);
      const size = 24 + next(all.length - 23);
      truncateSync(part, size);
      const kept: { end: CarriedPart; contentBytes: number; wasThere: boolean }[] = [];
      const { path, payloadBytes } = await repairPart(
        part,
        undefined,
        async (end, contentBytes) => {
          kept.push({ end, contentBytes, wasThere: readFileSync(part).length === size });
        },
      );
      const [{ end, contentBytes, wasThere }] = kept as [(typeof kept)[0]];
      assert.ok(wasThere && kept.length === 1);
      assert.equal(contentBytes, size);
      const stored = readFileSync(path!);
      assert.equal(stored.length, payloadBytes);
      assert.ok(Buffer.concat([stored, end.tail]).equals(all.subarray(0, size)), file);
      assert.ok(Buffer.from(end.preamble).equals(all.subarray(0, 24)));
      assert.ok(tcpdumpReads(path!));
      dir.remove();
    }
  });

  test('one without a whole record is all kept, and gone', async () => {
    const dir = tempDir();
    const part = join(dir.path, `${NAME}.syslog.txt.part`);
    writeFileSync(part, 'a line that has no end');
    let tail = '';
    const { path } = await repairPart(part, undefined, async (end) => {
      tail = Buffer.from(end.tail).toString();
    });
    assert.equal(path, undefined);
    assert.equal(tail, 'a line that has no end');
    assert.deepEqual(filesBelow(dir.path), []);
    dir.remove();
  });
});
