import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { interfaceBlock, packetBlock, pcapHeader, pcapRecord, section } from './cutters/build.js';
import { contentOf, filesBelow, metaOf, Rig, SENSOR, tempDir } from './rig.js';

const MIB = 1024 * 1024;

/** A file system of a few MiB for one test, or why there is none. */
function smallFileSystem(context: TestContext, bytes: number): { path: string } | string {
  const dir = tempDir();
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', dir.path]);
  context.after(() => {
    if (mounted.status === 0) spawnSync('umount', ['-l', dir.path]);
    dir.remove();
  });
  return mounted.status === 0 ? { path: dir.path } : 'cannot mount a tmpfs';
}

const sensor = (index: number) => SENSOR.replace('3b0a4a52', index.toString(16).padStart(8, '0'));

for (const compress of ['none', 'lz4'] as const) {
  test(`a full disk stops the sink until there is room, ${compress}`, async (context) => {
    const disk = smallFileSystem(context, 3 * MIB);
    if (typeof disk === 'string') return context.skip(disk);
    const filler = join(disk.path, 'filler');
    writeFileSync(filler, Buffer.alloc(2 * MIB));
    const dir = join(disk.path, 'sensors');
    const rig = new Rig(dir, { compress, flushMs: 20 }, { poolBytes: 8 * MIB });
    const sessions = Array.from({ length: 5 }, (_, index) =>
      rig.session(1, undefined, sensor(index)),
    );
    const streams = sessions.map((session) => rig.sink.open(session));
    const sent = sessions.map(() => [pcapHeader()]);
    for (const [index, stream] of streams.entries()) rig.write(stream, sent[index]![0]!);
    // Noise does not shrink. What comes after the first refusal is taken all the same.
    let refusals = 0;
    for (let round = 0; round < 2000 && refusals < 20; round += 1) {
      const index = round % streams.length;
      const noise = randomBytes(2500);
      const record = pcapRecord(noise);
      sent[index]!.push(record);
      if (!rig.write(streams[index]!, record)) refusals += 1;
      if (round % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    }
    assert.equal(refusals, 20, 'the sink asked for no more');
    while (!rig.logs.some(({ msg }) => /takes no more/.test(msg))) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const stopped = rig.logs.filter(({ msg }) => /takes no more/.test(msg));
    assert.equal(stopped.length, 1, 'said once');
    assert.match(String(stopped[0]!.error), /ENOSPC/);
    assert.equal(rig.drains, 0);
    const ends = Promise.all(streams.map((stream) => stream.end()));
    rmSync(filler);
    await rig.until(() => rig.drains > 0);
    await ends;
    assert.ok(statfsSync(disk.path).bfree > 0);
    assert.equal(rig.logs.filter(({ msg }) => /goes on/.test(msg)).length, 1);
    const stored = filesBelow(dir);
    assert.equal(stored.length, streams.length);
    for (const [index, path] of stored.entries()) {
      assert.ok(contentOf(path).equals(Buffer.concat(sent[index]!)), path);
      const { frames } = rig.delivered.get(sessions[index]!.id)!;
      assert.equal(frames, sent[index]!.length);
    }
    assert.equal(rig.sink.memory.usedBytes, 0);
    await rig.sink.close();
  });
}

test('a damaged end is moved once there is room', async (context) => {
  const disk = smallFileSystem(context, 3 * MIB);
  if (typeof disk === 'string') return context.skip(disk);
  for (const compress of ['none', 'lz4'] as const) {
    const dir = join(disk.path, compress);
    const rig = new Rig(dir, { compress, flushMs: 5 });
    const session = rig.session(5);
    const stream = rig.sink.open(session);
    const good = Buffer.concat([section(), interfaceBlock(), packetBlock(Buffer.alloc(500, 1))]);
    const bad = packetBlock(randomBytes(700_000));
    bad.writeUInt32LE(1, bad.length - 4);
    rig.write(stream, good);
    rig.write(stream, bad.subarray(0, 600_000));
    await rig.until(() => rig.delivered.get(session.id)!.frames === 2);
    const filler = join(disk.path, 'filler');
    assert.throws(() => writeFileSync(filler, Buffer.alloc(4 * MIB)), { code: 'ENOSPC' });
    truncateSync(filler, statSync(filler).size - 400_000); // room for a part of it
    rig.write(stream, bad.subarray(600_000));
    const end = stream.end();
    while (!rig.logs.some(({ msg }) => /takes no more/.test(msg))) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    rmSync(filler);
    await end;
    await rig.sink.close();
    const stored = filesBelow(dir).map(contentOf);
    assert.equal(stored.length, 2);
    assert.ok(stored[0]!.equals(good) && stored[1]!.equals(bad), compress);
    const bytes = good.length + bad.length;
    assert.deepEqual(rig.delivered.get(session.id), { frames: 3, bytes });
  }
});

test('closing during an outage ends at its deadline and leaves .part files', async (context) => {
  const disk = smallFileSystem(context, MIB);
  if (typeof disk === 'string') return context.skip(disk);
  const rig = new Rig(join(disk.path, 'sensors'), { flushMs: 10 });
  const session = rig.session(3);
  const stream = rig.sink.open(session);
  const line = Buffer.alloc(100_000, 120);
  line[line.length - 1] = 10;
  for (let frame = 0; frame < 30; frame += 1) rig.write(stream, line, 3);
  const end = stream.end();
  await rig.sink.close(300);
  await end;
  const { frames } = rig.delivered.get(session.id)!;
  assert.ok(frames < 30);
  const said = rig.logs.find(({ msg }) => /closed before/.test(msg));
  assert.equal(said?.frames, 30 - frames);
  assert.deepEqual(
    filesBelow(disk.path).map((path) => path.endsWith('.part')),
    [true],
  );
  const [file] = rig.journal.files.filter((each) => each.intents.length > 0);
  assert.equal(file!.released, false);
});

test('when its directory is removed, the sink makes it again and keeps what is left', async () => {
  const dir = tempDir();
  const root = join(dir.path, 'sensors');
  const rig = new Rig(root, { flushMs: 5 });
  const session = rig.session(3);
  const stream = rig.sink.open(session);
  rig.write(stream, Buffer.from('lost with the directory\nhalf of '), 3);
  await rig.until(() => rig.delivered.get(session.id)!.frames === 1);
  rmSync(root, { recursive: true });
  rig.write(stream, Buffer.from('a line\nwhole\n'), 3);
  await rig.until(() => rig.delivered.get(session.id)!.frames === 2);
  rig.write(stream, Buffer.from('and more\n'), 3);
  await stream.end();
  const stored = filesBelow(root);
  assert.deepEqual(
    stored.map((path) => path.replace(/^.*?\./, '')),
    ['syslog.txt', 'raw'],
  );
  assert.equal(
    readFileSync(stored[1]!, 'utf8'),
    'half of a line\nwhole\n'.slice('half of '.length),
  );
  assert.equal(readFileSync(stored[0]!, 'utf8'), 'and more\n');
  assert.equal(rig.sink.stats.filesVanished, 1);
  assert.equal(rig.notes.length, 1);
  assert.equal(rig.delivered.get(session.id)!.frames, 3);
  await rig.sink.close();
  dir.remove();
});

test('when its directory is moved away, the sink waits until it is back', async () => {
  const dir = tempDir();
  const root = join(dir.path, 'sensors');
  const rig = new Rig(root, { flushMs: 5 });
  const first = rig.sink.open(rig.session(3));
  rig.write(first, Buffer.from('before\n'), 3);
  await rig.until(() => rig.delivered.get('s0')!.frames === 1);
  const away = join(dir.path, 'away');
  renameSync(root, away);
  const second = rig.sink.open(rig.session(3, undefined, sensor(1)));
  rig.write(second, Buffer.from('meanwhile\n'), 3);
  rig.write(first, Buffer.from('after\n'), 3);
  const ends = Promise.all([first.end(), second.end()]);
  while (!rig.logs.some(({ msg }) => /takes no more/.test(msg))) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.equal(rig.write(rig.sink.open(rig.session(3)), Buffer.from('x'), 3), false);
  renameSync(away, root);
  await ends;
  await rig.sink.close();
  const stored = filesBelow(root).map((path) => readFileSync(path, 'utf8'));
  assert.deepEqual(stored.sort(), ['before\nafter\n', 'meanwhile\n', 'x']);
  assert.equal(rig.sink.stats.filesVanished, 0);
  dir.remove();
});

test('a file in the place of a directory is waited for, and the sensors after it', async () => {
  const dir = tempDir();
  const root = join(dir.path, 'sensors');
  mkdirSync(root);
  const blocker = join(root, SENSOR.replaceAll('-', ''));
  writeFileSync(blocker, '');
  const rig = new Rig(root, { flushMs: 60_000 });
  const meta = metaOf(Buffer.from('{"type":"ja3-jl"}'), 1);
  const end = rig.sink.open(rig.session(254, meta)).end();
  while (!rig.logs.some(({ msg }) => /takes no more/.test(msg))) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const other = rig.sink.open(rig.session(3, undefined, sensor(1)));
  assert.equal(rig.write(other, Buffer.from('kept\n'), 3), false);
  rmSync(blocker);
  await rig.until(() => rig.drains === 1); // though nothing was written that frees memory
  await end;
  await rig.sink.close();
  const stored = filesBelow(root).map((path) => readFileSync(path, 'utf8'));
  assert.deepEqual(stored.sort(), ['kept\n', '{"type":"ja3-jl"}']);
  dir.remove();
});
