import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { test } from 'node:test';
import { checkFilesDirectory } from '../../../src/sinks/files/files-sink.js';
import { pcapHeader, pcapRecord, section } from './cutters/build.js';
import {
  contentOf,
  filesBelow,
  ManualClock,
  metaOf,
  newSeed,
  Rig,
  random,
  SENSOR,
  tempDir,
} from './rig.js';

const HEX = SENSOR.replaceAll('-', '');
const WHEN = '2026-11-05-060708';

const PCAP = Buffer.concat([pcapHeader(), pcapRecord(Buffer.alloc(30, 1))]);
const LINE = Buffer.from('{"a":1}\n');
const IPFIX = Buffer.from('000a00106553f1000000000000000001', 'hex');

test('each type has its path and extension, and the bytes that were sent', async () => {
  const cases: [type: number, payload: Buffer, ext: string][] = [
    [1, PCAP, 'cap'],
    [3, LINE, 'syslog.txt'],
    [4, LINE, 'dnscap.txt'],
    [4, PCAP, 'cap'],
    [5, section(), 'pcapng'],
    [6, LINE, 'jsonl'],
    [7, IPFIX, 'yaf'],
    [8, LINE, 'passivedns.txt'],
    [1, LINE, 'raw'],
  ];
  for (const compress of ['none', 'gzip', 'lz4'] as const) {
    const suffix = { none: '', gzip: '.gz', lz4: '.lz4' }[compress];
    for (const [type, payload, ext] of cases) {
      const dir = tempDir();
      const rig = new Rig(dir.path, { compress }, { clock: new ManualClock() });
      const session = await rig.send(type, payload, () => 3);
      const expected = `${HEX}/${type}/2026/11/05/${HEX}-${WHEN}.${ext}${suffix}`;
      const [path, ...more] = filesBelow(dir.path);
      assert.equal(relative(dir.path, path!), expected);
      assert.deepEqual(more, []);
      assert.ok(contentOf(path!).equals(payload), expected);
      const frames = Math.ceil(payload.length / 3);
      assert.deepEqual(rig.delivered.get(session.id), { frames, bytes: payload.length });
      assert.ok(rig.journal.files.every((file) => file.released && !file.existed));
      await rig.sink.close();
      dir.remove();
    }
  }
});

test('type 254 lies below its meta type, with the meta header beside each piece', async () => {
  const dir = tempDir();
  const rig = new Rig(dir.path, { rotateBytes: 10 }, { clock: new ManualClock() });
  const meta = metaOf(Buffer.from('{"type": "ja3-jl"}\n '), 3);
  const payload = Buffer.from('first line\nsecond line\nthird');
  const session = await rig.send(254, payload, () => payload.length, meta);
  const names = filesBelow(dir.path)
    .map((path) => relative(dir.path, path))
    .sort();
  const stem = `${HEX}/254/2026/11/05/ja3-jl/${HEX}-${WHEN}`;
  const stems = [stem, `${stem}-1`, `${stem}-2`];
  assert.deepEqual(names, stems.flatMap((each) => [`${each}.json`, `${each}.txt`]).sort());
  const read = (ext: string) =>
    stems.map((each) => readFileSync(join(dir.path, each + ext), 'utf8'));
  assert.deepEqual(read('.json'), Array(3).fill(meta.bytes.toString()));
  assert.deepEqual(read('.txt'), ['first line\n', 'second line\n', 'third']);
  const bytes = payload.length + meta.bytes.length;
  assert.deepEqual(rig.delivered.get(session.id), { frames: 1 + meta.frames, bytes });
  await rig.sink.close();
  dir.remove();
});

test('a session without payload makes no file; its meta header alone is kept', async () => {
  const dir = tempDir();
  const rig = new Rig(dir.path, {}, { clock: new ManualClock() });
  const empty = rig.session(1);
  const stream = rig.sink.open(empty);
  rig.write(stream, Buffer.alloc(0));
  await stream.end();
  assert.deepEqual(rig.delivered.get(empty.id), { frames: 1, bytes: 0 });
  assert.deepEqual(filesBelow(dir.path), []);

  const meta = metaOf(Buffer.from('{"type":"ja3-jl"}'), 2);
  const headed = await rig.send(254, Buffer.alloc(0), () => 1, meta);
  assert.deepEqual(
    filesBelow(dir.path).map((path) => basename(path)),
    [`${HEX}-${WHEN}.json`],
  );
  assert.deepEqual(rig.delivered.get(headed.id), { frames: 2, bytes: meta.bytes.length });
  await rig.sink.close();
  dir.remove();
});

test('no file is overwritten: -N tells two of one second apart', async () => {
  const dir = tempDir();
  const rigs = [0, 1].map(() => new Rig(dir.path, {}, { clock: new ManualClock() }));
  const taken = join(dir.path, HEX, '3/2026/11/05', `${HEX}-${WHEN}.syslog.txt`);
  mkdirSync(dirname(taken), { recursive: true });
  writeFileSync(taken, 'somebody else');
  const lines = Array.from({ length: 20 }, (_, index) => `line ${index}\n`);
  await Promise.all(
    lines.map((line, index) => rigs[index % 2]!.send(3, Buffer.from(line), () => line.length)),
  );
  const files = filesBelow(dir.path);
  assert.equal(readFileSync(taken, 'utf8'), 'somebody else');
  const stored = files.filter((path) => path !== taken).map((path) => readFileSync(path, 'utf8'));
  assert.deepEqual(stored.sort(), lines.sort());
  assert.deepEqual(
    files.map((path) => basename(path)),
    lines.concat('').map((_, n) => `${HEX}-${WHEN}${n === 0 ? '' : `-${n}`}.syslog.txt`),
  );
  for (const rig of rigs) await rig.sink.close();
  dir.remove();
});

test('files are finished at their age, and at the next boundary when in mid-record', async () => {
  const dir = tempDir();
  const clock = new ManualClock();
  const rig = new Rig(dir.path, { rotateSeconds: 60, flushMs: 100 }, { clock });
  const idle = rig.sink.open(rig.session(1));
  const busy = rig.sink.open(rig.session(3));
  rig.write(idle, PCAP);
  rig.write(busy, Buffer.from('half a '));
  clock.advance(59_000);
  await rig.until(() => [...rig.delivered.values()].every(({ frames }) => frames === 1));
  assert.equal(filesBelow(dir.path).filter((path) => path.endsWith('.part')).length, 2);
  clock.advance(1000);
  await idleFinished(dir.path, '.cap');
  assert.equal(filesBelow(dir.path).filter((path) => path.endsWith('.txt.part')).length, 1);
  rig.write(busy, Buffer.from('line\nnext'));
  await busy.end();
  rig.write(idle, pcapRecord(Buffer.alloc(5, 2)));
  await idle.end();
  const stored = filesBelow(dir.path).map((path) => contentOf(path).toString('latin1'));
  const second = Buffer.concat([pcapHeader(), pcapRecord(Buffer.alloc(5, 2))]);
  const wanted = [PCAP.toString('latin1'), second.toString('latin1'), 'half a line\n', 'next'];
  assert.deepEqual(stored.sort(), wanted.sort());
  await rig.sink.close();
  dir.remove();
});

async function idleFinished(dir: string, ext: string): Promise<void> {
  while (!filesBelow(dir).some((path) => path.endsWith(ext))) {
    await new Promise((resolve) => setImmediate(resolve));
  }
}

test('what trickles is written after flushMs', async () => {
  const dir = tempDir();
  const clock = new ManualClock();
  const rig = new Rig(dir.path, { flushMs: 500 }, { clock });
  const session = rig.session(3);
  const stream = rig.sink.open(session);
  rig.write(stream, Buffer.from('no newline yet'), 3);
  clock.advance(499);
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(rig.delivered.get(session.id), { frames: 0, bytes: 0 });
  clock.advance(1);
  await rig.until(() => rig.delivered.get(session.id)!.frames === 1);
  assert.equal(readFileSync(filesBelow(dir.path)[0]!, 'utf8'), 'no newline yet');
  assert.equal(rig.sink.memory.usedBytes, 0);
  rig.write(stream, Buffer.alloc(0), 3);
  assert.equal(rig.delivered.get(session.id)!.frames, 2, 'nothing before it waits');
  await stream.end();
  await rig.sink.close();
  dir.remove();
});

test('each frame is counted once, with its last byte, in intents as in deliveries', async (context) => {
  const seed = newSeed();
  context.diagnostic(`D4GW_SEED=${seed}`);
  const next = random(seed);
  for (let round = 0; round < 30; round += 1) {
    const dir = tempDir();
    const compress = (['none', 'gzip', 'lz4'] as const)[next(3)]!;
    const fsync = (['never', 'interval', 'always'] as const)[next(3)]!;
    const rig = new Rig(dir.path, { compress, fsync, rotateBytes: 2000 + next(20_000) });
    const records = Array.from({ length: 200 }, () => pcapRecord(Buffer.alloc(next(300), round)));
    const payload = Buffer.concat([pcapHeader(), ...records]);
    const session = rig.session(1);
    const stream = rig.sink.open(session);
    const ends: number[] = [];
    for (let at = 0; at < payload.length; ) {
      const size = Math.min(payload.length - at, 1 + next(next(4) === 0 ? 5000 : 20));
      rig.write(stream, payload.subarray(at, at + size));
      at += size;
      ends.push(at);
      if (next(50) === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await stream.end();
    assert.deepEqual(rig.delivered.get(session.id), { frames: ends.length, bytes: payload.length });
    for (const file of rig.journal.files) {
      for (const { frames, bytes } of file.intents) {
        assert.equal(frames, ends.filter((end) => end <= bytes).length, `at ${bytes} bytes`);
      }
    }
    await rig.sink.close();
    dir.remove();
  }
});

test('with few descriptors, files are closed and opened again', async () => {
  const dir = tempDir();
  const rig = new Rig(dir.path, { flushMs: 10 }, { openFiles: 8 });
  const sessions = Array.from({ length: 60 }, (_, index) => {
    const sensor = SENSOR.replace('3b0a4a52', index.toString(16).padStart(8, '0'));
    return rig.session(3, undefined, sensor);
  });
  const streams = sessions.map((session) => rig.sink.open(session));
  for (let round = 1; round <= 3; round += 1) {
    for (const [index, stream] of streams.entries()) {
      rig.write(stream, Buffer.from(`${index} says ${round}\n`), 3);
    }
    await rig.until(() => sessions.every(({ id }) => rig.delivered.get(id)!.frames === round));
    assert.ok(rig.sink.openFiles <= 8, `${rig.sink.openFiles} open`);
  }
  await Promise.all(streams.map((stream) => stream.end()));
  const stored = filesBelow(dir.path).map((path) => readFileSync(path, 'utf8'));
  const wanted = streams.map((_, index) =>
    [1, 2, 3].map((round) => `${index} says ${round}\n`).join(''),
  );
  assert.deepEqual(stored.sort(), wanted.sort());
  await rig.sink.close();
  dir.remove();
});

test('the directory is proved writable', async () => {
  const dir = tempDir();
  await checkFilesDirectory('disk', join(dir.path, 'a', 'b'));
  assert.ok(existsSync(join(dir.path, 'a', 'b')));
  writeFileSync(join(dir.path, 'file'), '');
  await assert.rejects(checkFilesDirectory('disk', join(dir.path, 'file', 'below')), {
    code: 'D4GW_E_SINK',
  });
  dir.remove();
});
