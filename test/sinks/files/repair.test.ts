import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { encode } from '../../../src/sinks/files/compress.js';
import { repairPart } from '../../../src/sinks/files/repair.js';
import {
  interfaceBlock,
  ipfixMessage,
  ipfixSet,
  packetBlock,
  pcapHeader,
  pcapRecord,
  section,
} from './cutters/build.js';
import { contentOf, newSeed, random, tempDir } from './rig.js';

const BASE = '3b0a4a5289a44d2e9a5c2f5b5c6d7e8f-2026-11-05-060708';

const kinds: { ext: string; records: Buffer[] }[] = [
  {
    ext: 'cap',
    records: [pcapHeader(), ...[3, 0, 40].map((size) => pcapRecord(Buffer.alloc(size, 9)))],
  },
  {
    ext: 'pcapng',
    records: [
      section(),
      interfaceBlock(),
      ...[5, 30].map((size) => packetBlock(Buffer.alloc(size))),
    ],
  },
  { ext: 'jsonl', records: ['{}\n', '\n', '{"a":"b"}\n'].map((line) => Buffer.from(line)) },
  {
    ext: 'yaf',
    records: [1, 2].map((sequence) => ipfixMessage(7, sequence, [ipfixSet(300, Buffer.alloc(9))])),
  },
  { ext: 'raw', records: [...'raw bytes'].map((byte) => Buffer.from(byte)) },
];

test('a file cut anywhere is repaired to its last whole record, and stays so', async () => {
  for (const { ext, records } of kinds) {
    const whole = Buffer.concat(records);
    for (let size = 0; size <= whole.length; size += 1) {
      const dir = tempDir();
      const final = join(dir.path, `${BASE}.${ext}`);
      writeFileSync(`${final}.part`, whole.subarray(0, size));
      let kept = 0;
      for (const record of records) {
        if (kept + record.length > size) break;
        kept += record.length;
      }
      const found = await repairPart(`${final}.part`);
      const about = `${ext}, ${size} bytes`;
      assert.ok(!existsSync(`${final}.part`), about);
      if (size === 0) assert.equal(found.path, undefined, about);
      else if (kept === 0) {
        // Not one whole record: it is evidence all the same.
        assert.equal(found.path, join(dir.path, `${BASE}.raw`), about);
        assert.ok(readFileSync(found.path!).equals(whole.subarray(0, size)), about);
        assert.equal(found.payloadBytes, size);
      } else {
        assert.equal(found.path, final, about);
        assert.ok(readFileSync(final).equals(whole.subarray(0, kept)), about);
        assert.deepEqual(
          { payload: found.payloadBytes, file: found.fileBytes, cut: found.cutBytes },
          { payload: kept, file: kept, cut: size - kept },
          about,
        );
        const again = await repairPart(`${final}.part`);
        assert.deepEqual([again.path, again.payloadBytes, again.fileBytes], [final, kept, kept]);
      }
      dir.remove();
    }
  }
});

test('a compressed file is cut to whole frames, then to whole records', async (context) => {
  const seed = newSeed();
  context.diagnostic(`D4GW_SEED=${seed}`);
  const next = random(seed);
  for (const compress of ['gzip', 'lz4'] as const) {
    const records = Array.from({ length: 20 }, () =>
      pcapRecord(Buffer.alloc(next(300), next(256))),
    );
    const whole = Buffer.concat([pcapHeader(), ...records]);
    const frames: { plainEnd: number; bytes: Buffer }[] = [];
    for (let at = 0; at < whole.length; ) {
      const end = Math.min(whole.length, at + 1 + next(900));
      frames.push({ plainEnd: end, bytes: await encode(whole.subarray(at, end), compress) });
      at = end;
    }
    const file = Buffer.concat(frames.map(({ bytes }) => bytes));
    const final = `${BASE}.cap.${compress === 'lz4' ? 'lz4' : 'gz'}`;
    for (let round = 0; round < 150; round += 1) {
      const size = round === 0 ? file.length : next(file.length + 1);
      const dir = tempDir();
      const path = join(dir.path, final);
      // After some crashes the end of the file is there, and is nothing.
      const garbage = Buffer.alloc(round % 3 === 0 ? next(50) : 0, 0xa5);
      writeFileSync(`${path}.part`, Buffer.concat([file.subarray(0, size), garbage]));
      let plain = 0;
      let disk = 0;
      for (const frame of frames) {
        disk += frame.bytes.length;
        if (disk > size) break;
        plain = frame.plainEnd;
      }
      let kept = plain < 24 ? 0 : 24;
      for (const record of records) {
        if (kept === 0 || kept + record.length > plain) break;
        kept += record.length;
      }
      const found = await repairPart(`${path}.part`);
      if (plain === 0) assert.equal(found.path, undefined);
      else {
        const wanted = kept === 0 ? plain : kept;
        assert.equal(found.payloadBytes, wanted);
        assert.ok(contentOf(found.path!).equals(whole.subarray(0, wanted)), `${size} bytes`);
        assert.equal(readFileSync(found.path!).length, found.fileBytes);
        assert.equal((await repairPart(`${path}.part`)).payloadBytes, kept === 0 ? 0 : kept);
      }
      dir.remove();
    }
  }
});

test('what does not parse at the end of a file is kept beside it', async () => {
  const good = Buffer.concat([section(), interfaceBlock(), packetBlock(Buffer.alloc(90_000, 1))]);
  const bad = packetBlock(Buffer.alloc(400_000, 2));
  bad.writeUInt32LE(1, bad.length - 4);
  const tail = Buffer.concat([bad, Buffer.from('whatever follows')]);
  const whole = Buffer.concat([good, tail]);
  for (const compress of ['none', 'lz4'] as const) {
    const dir = tempDir();
    const suffix = compress === 'none' ? '' : '.lz4';
    const frames = [
      whole.subarray(0, 200_000),
      whole.subarray(200_000, 400_000),
      whole.subarray(400_000),
    ];
    const file =
      compress === 'none'
        ? whole
        : Buffer.concat(await Promise.all(frames.map((frame) => encode(frame, 'lz4'))));
    const path = join(dir.path, `${BASE}.pcapng${suffix}`);
    writeFileSync(`${path}.part`, file);
    writeFileSync(join(dir.path, `${BASE}.raw${suffix}.part`), 'another one');
    const found = await repairPart(`${path}.part`);
    assert.ok(contentOf(found.path!).equals(good));
    assert.equal(found.rawPath, join(dir.path, `${BASE}-1.raw${suffix}`));
    assert.ok(contentOf(found.rawPath!).equals(tail));
    assert.equal(found.payloadBytes, whole.length);
    assert.equal(readdirSync(dir.path).length, 3);
    dir.remove();
  }
});

test('a repair does not overwrite, and leaves alone what is not a sink’s', async () => {
  const dir = tempDir();
  const final = join(dir.path, `${BASE}.txt`);
  writeFileSync(final, 'there already\n');
  writeFileSync(`${final}.part`, 'mine\n');
  writeFileSync(join(dir.path, `${BASE}.json`), '{"type":"x"}');
  const found = await repairPart(`${final}.part`);
  assert.equal(found.path, join(dir.path, `${BASE}-1.txt`));
  assert.equal(readFileSync(final, 'utf8'), 'there already\n');
  assert.equal(readFileSync(join(dir.path, `${BASE}-1.json`), 'utf8'), '{"type":"x"}');

  const foreign = ['notes.txt.part', `${BASE}.exe.part`, `${BASE}.cap`];
  for (const name of foreign) {
    writeFileSync(join(dir.path, name), 'hands off');
    await assert.rejects(repairPart(join(dir.path, name)), { code: 'D4GW_E_SINK' });
    assert.equal(readFileSync(join(dir.path, name), 'utf8'), 'hands off');
  }
  const odd = join(dir.path, `${BASE}-7.cap.part`);
  symlinkSync(final, odd);
  await assert.rejects(repairPart(odd), { code: 'D4GW_E_SINK' });
  mkdirSync(join(dir.path, `${BASE}-8.cap.part`));
  await assert.rejects(repairPart(join(dir.path, `${BASE}-8.cap.part`)), { code: 'D4GW_E_SINK' });

  const meta = join(dir.path, `${BASE}-9.json.part`);
  writeFileSync(meta, '{"ty');
  assert.equal((await repairPart(meta)).path, undefined);
  assert.ok(!existsSync(meta));
  assert.equal((await repairPart(join(dir.path, `${BASE}-10.cap.part`))).payloadBytes, 0);
  dir.remove();
});

test('a repair that was killed is taken up by the next', async () => {
  // The last frame was overwritten by a shorter one, and the file not cut yet.
  const dir = tempDir();
  const path = join(dir.path, `${BASE}.syslog.txt.lz4`);
  const first = await encode(Buffer.from('one\n'), 'lz4');
  const last = await encode(Buffer.from('two\nthr'), 'lz4');
  const head = await encode(Buffer.from('two\n'), 'lz4');
  const torn = Buffer.concat([first, last]);
  head.copy(torn, first.length);
  writeFileSync(`${path}.part`, torn);
  const found = await repairPart(`${path}.part`);
  assert.equal(contentOf(found.path!).toString(), 'one\ntwo\n');
  renameSync(path, `${path}.part`);
  assert.equal((await repairPart(`${path}.part`)).payloadBytes, 8);
  dir.remove();
});
