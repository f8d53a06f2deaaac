import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { constants, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { DIRECT_BYTES_MIN, nextStep, openDirect } from '../../../src/sinks/files/direct.js';
import type { SinkSession, SinkStream } from '../../../src/sinks/sink.js';
import { interfaceBlock, packetBlock, section } from './cutters/build.js';
import { filesBelow, ManualClock, newSeed, Rig, random, SENSOR, tempDir } from './rig.js';

const PAGE = 4096;
const KIB = 1024;
const MIB = 1024 * KIB;
const TEXT = 3;
const RAW = 8;

const sensor = (index: number) => SENSOR.replace('3b0a4a52', index.toString(16).padStart(8, '0'));

/** Bytes that tell where they belong: no two pages are alike. */
function pattern(bytes: number, salt: number): Buffer {
  const content = Buffer.alloc(bytes);
  for (let at = 0; at + 4 <= bytes; at += 4) {
    content.writeInt32LE(Math.imul(at + salt, 0x9e3779b1) | 0x01010101, at);
  }
  return content;
}

/** One line: a pattern without a newline but the last byte. */
function line(bytes: number, salt: number): Buffer {
  const content = pattern(bytes, salt).map((byte) => (byte === 10 ? 11 : byte)) as Buffer;
  content[bytes - 1] = 10;
  return content;
}

/** Whether the file system of temporary files takes direct writes; else why not. */
async function noDirect(): Promise<string | false> {
  const dir = tempDir();
  const file = await open(join(dir.path, 'probe'), 'wx');
  try {
    await (await openDirect(file)).close();
    return false;
  } catch (error) {
    return `no direct writes here: ${(error as Error).message}`;
  } finally {
    await file.close();
    dir.remove();
  }
}

const skip = await noDirect();

test('steps cover every write, and direct ones are whole pages', (context) => {
  const seed = newSeed();
  context.diagnostic(`D4GW_SEED=${seed}`);
  const next = random(seed);
  for (let round = 0; round < 20_000; round += 1) {
    let position = next(3 * MIB);
    let left = 1 + next(next(4) === 0 ? 2 * MIB : 300 * KIB);
    const all = left;
    let direct = 0;
    let steps = 0;
    while (left > 0) {
      const step = nextStep(position, left);
      assert.ok(step.length > 0 && step.length <= left);
      if (step.isDirect) {
        assert.ok(step.length >= DIRECT_BYTES_MIN);
        assert.deepEqual([position % PAGE, step.length % PAGE], [0, 0]);
        direct += step.length;
      }
      position += step.length;
      left -= step.length;
      steps += 1;
    }
    assert.ok(steps <= 3);
    if (all >= DIRECT_BYTES_MIN + 2 * PAGE) assert.ok(direct > all - 2 * PAGE);
  }
});

test('files of every length modulo a page, each made by one direct write', {
  skip,
}, async (context) => {
  const seed = newSeed();
  context.diagnostic(`D4GW_SEED=${seed}`);
  const next = random(seed);
  const dir = tempDir();
  const rig = new Rig(dir.path, { rotateBytes: 1 }, { poolBytes: 64 * MIB });
  const stream = rig.sink.open(rig.session(TEXT));
  const tails = Array.from({ length: 1 + PAGE / 8 }, (_, index) => index * 8 + next(8));
  tails.push(1, PAGE - 1, PAGE, PAGE + 1);
  const lines = [line(3 * MIB, 1), ...tails.map((tail) => line(DIRECT_BYTES_MIN + tail, tail))];
  for (const content of lines) {
    const drains = rig.drains;
    if (!rig.write(stream, content, TEXT)) await rig.until(() => rig.drains > drains);
  }
  await stream.end();
  const stored = filesBelow(dir.path);
  assert.equal(stored.length, lines.length);
  for (const [index, path] of stored.entries()) {
    assert.ok(readFileSync(path).equals(lines[index]!), `${lines[index]!.length} bytes`);
  }
  assert.ok(rig.sink.stats.bytesDirect >= tails.length * DIRECT_BYTES_MIN);
  await rig.sink.close();
  dir.remove();
});

test('a burst after a trickle of every length modulo a page', { skip }, async () => {
  const dir = tempDir();
  const clock = new ManualClock();
  const rig = new Rig(dir.path, {}, { poolBytes: 64 * MIB, clock });
  const session = rig.session(RAW);
  const stream = rig.sink.open(session);
  const sent: Buffer[] = [];
  let bytes = 0;
  const write = (content: Buffer) => {
    rig.write(stream, content, RAW);
    sent.push(content);
    bytes += content.length;
  };
  const settled = () => rig.until(() => rig.delivered.get(session.id)!.bytes === bytes);
  write(pattern(3 * MIB, 7));
  for (let trickle = 1; trickle < 2 * PAGE; trickle += 61) {
    const direct = rig.sink.stats.bytesDirect;
    write(pattern(trickle, trickle));
    clock.advance(1000);
    await settled();
    write(pattern(700 * KIB, trickle));
    clock.advance(1000);
    await settled();
    assert.ok(rig.sink.stats.bytesDirect > direct, `after ${trickle} bytes`);
  }
  await stream.end();
  const [path] = filesBelow(dir.path);
  assert.ok(readFileSync(path!).equals(Buffer.concat(sent)));
  await rig.sink.close();
  dir.remove();
});

interface Sent {
  session: SinkSession;
  stream: SinkStream;
  content: Buffer[];
}

function openStreams(rig: Rig, count: number): Sent[] {
  return Array.from({ length: count }, (_, index) => {
    const session = rig.session(RAW, undefined, sensor(index));
    return { session, stream: rig.sink.open(session), content: [] };
  });
}

/** Each session's files together are what it sent, and the journal knew their sizes. */
function assertStored(rig: Rig, dir: string, all: readonly Sent[], about: string): void {
  const stored = filesBelow(dir);
  for (const { session, content } of all) {
    const uuid = session.sensor.replaceAll('-', '');
    const files = stored.filter((path) => path.includes(`/${uuid}/`));
    const kept = files.map((path) => readFileSync(path));
    assert.ok(Buffer.concat(kept).equals(Buffer.concat(content)), `${about}, ${uuid}`);
    for (const [index, path] of files.entries()) {
      const entry = rig.journal.files.findLast((each) => each.path === `${path}.part`);
      assert.equal(entry?.intents.at(-1)?.fileBytes, kept[index]!.length, path);
    }
    assert.equal(rig.delivered.get(session.id)!.frames, content.length);
  }
  assert.equal(rig.sink.memory.usedBytes, 0);
}

/** Trickles and bursts at random over some streams, with flushes and ages in between. */
async function sendMixed(rig: Rig, all: Sent[], clock: ManualClock, next: (n: number) => number) {
  let left = 12 * MIB;
  while (left > 0) {
    const { stream, content } = all[next(all.length)]!;
    const sizes = [next(100), next(PAGE), next(60_000), next(1_000_000)];
    const payload = pattern(1 + sizes[next(4)]!, left);
    content.push(payload);
    left -= payload.length;
    const drains = rig.drains;
    if (!rig.write(stream, payload, RAW)) await rig.until(() => rig.drains > drains);
    if (next(8) === 0) clock.advance(next(1500));
    if (next(4) === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await Promise.all(all.map(({ stream }) => stream.end()));
}

test('trickles and bursts, rotation and flushes: what is stored is what was sent', async (context) => {
  const seed = newSeed();
  context.diagnostic(`D4GW_SEED=${seed}`);
  const next = random(seed);
  for (const fsync of ['never', 'interval', 'always'] as const) {
    const dir = tempDir();
    const clock = new ManualClock();
    const rotateBytes = [2 ** 30, 1_300_001][next(2)]!;
    const poolBytes = [2 * MIB, 48 * MIB][next(2)]!;
    const options = { fsync, rotateBytes, rotateSeconds: 7 };
    const rig = new Rig(dir.path, options, { poolBytes, clock, openFiles: 1 + next(6) });
    const all = openStreams(rig, 5);
    await sendMixed(rig, all, clock, next);
    const about = `${fsync}, rotation at ${rotateBytes}, pool of ${poolBytes}`;
    assertStored(rig, dir.path, all, about);
    if (!skip && poolBytes > 2 * MIB) assert.ok(rig.sink.stats.bytesDirect > 0, about);
    await rig.sink.close();
    assert.equal(rig.sink.openFiles, 0);
    dir.remove();
  }
});

test('a damaged end that was written directly is moved to a raw file', { skip }, async () => {
  const dir = tempDir();
  const rig = new Rig(dir.path, {}, { poolBytes: 32 * MIB });
  const stream = rig.sink.open(rig.session(5));
  const packets = Array.from({ length: 3 }, (_, index) => packetBlock(pattern(900_000, index)));
  const good = Buffer.concat([section(), interfaceBlock(), ...packets]);
  const bad = packetBlock(pattern(1_900_001, 9));
  bad.writeUInt32LE(1, bad.length - 4);
  const sent = Buffer.concat([good, bad, pattern(2_000_003, 4)]);
  for (let at = 0; at < sent.length; at += 90_001) {
    rig.write(stream, sent.subarray(at, at + 90_001), 5);
  }
  await stream.end();
  const stored = filesBelow(dir.path).map((path) => readFileSync(path));
  assert.equal(stored.length, 2);
  assert.ok(stored[0]!.equals(good) && stored[1]!.equals(sent.subarray(good.length)));
  assert.ok(rig.sink.stats.bytesDirect > 3 * MIB, `${rig.sink.stats.bytesDirect}`);
  await rig.sink.close();
  dir.remove();
});

/** A handle whose direct writes do what `write` says. */
function withWrite(handle: FileHandle, write: FileHandle['write']): FileHandle {
  return new Proxy(handle, {
    get: (target, name) => {
      if (name === 'write') return write;
      const value = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

function failure(code: 'EINVAL' | 'EMFILE'): Error {
  return Object.assign(new Error(`${code}: made up`), { code, errno: -22 });
}

const refusals: [string, { opens: number; says: number }, typeof openDirect][] = [
  [
    'refuses to open',
    { opens: 1, says: 1 },
    async () => {
      throw failure('EINVAL');
    },
  ],
  [
    'refuses the first write',
    { opens: 1, says: 1 },
    async (handle) => {
      const plain = await open(`/proc/self/fd/${handle.fd}`, constants.O_WRONLY);
      return withWrite(plain, () => Promise.reject(failure('EINVAL')));
    },
  ],
  [
    'has no descriptor left',
    { opens: 2, says: 0 },
    async () => {
      throw failure('EMFILE');
    },
  ],
];

for (const [what, expected, direct] of refusals) {
  test(`a file system that ${what} is written through its cache`, async () => {
    const dir = tempDir();
    let opens = 0;
    const counted: typeof openDirect = (handle) => {
      opens += 1;
      return direct(handle);
    };
    const rig = new Rig(dir.path, {}, { poolBytes: 64 * MIB, direct: counted });
    const all = openStreams(rig, 1);
    for (let frame = 0; frame < 4; frame += 1) {
      const payload = pattern(MIB, frame);
      all[0]!.content.push(payload);
      rig.write(all[0]!.stream, payload, RAW);
    }
    await all[0]!.stream.end();
    assertStored(rig, dir.path, all, what);
    assert.equal(rig.sink.stats.bytesDirect, 0);
    assert.ok(expected.opens === 1 ? opens === 1 : opens >= expected.opens, `${opens} opens`);
    const said = rig.logs.filter(({ msg }) => /no direct writes/.test(msg));
    assert.equal(said.length, expected.says);
    assert.ok(rig.logs.every(({ msg }) => !/takes no more/.test(msg)));
    await rig.sink.close();
    dir.remove();
  });
}

test('direct writes that come less far than asked go on where they were', {
  skip,
}, async (context) => {
  const seed = newSeed();
  context.diagnostic(`D4GW_SEED=${seed}`);
  const next = random(seed);
  const dir = tempDir();
  const direct: typeof openDirect = async (handle) => {
    const opened = await openDirect(handle);
    return withWrite(opened, ((data: Buffer, from: number, length: number, position: number) => {
      const pages = 1 + next(length / PAGE);
      return opened.write(data, from, Math.min(length, pages * PAGE), position);
    }) as FileHandle['write']);
  };
  const clock = new ManualClock();
  const rig = new Rig(dir.path, {}, { poolBytes: 48 * MIB, clock, direct });
  const all = openStreams(rig, 3);
  await sendMixed(rig, all, clock, next);
  assertStored(rig, dir.path, all, 'short writes');
  assert.ok(rig.sink.stats.bytesDirect > 0);
  await rig.sink.close();
  dir.remove();
});

/** A small ext4 in a file, which takes direct writes; or why there is none. */
function smallExt4(bytes: number): { path: string; remove: () => void } | string {
  const dir = tempDir();
  const image = `${dir.path}.img`;
  writeFileSync(image, Buffer.alloc(bytes));
  const commands = [
    ['mkfs.ext4', '-q', '-F', image],
    ['mount', '-o', 'loop', image, dir.path],
  ];
  for (const [program, ...args] of commands) {
    const result = spawnSync(program!, args, { encoding: 'utf8' });
    if (result.status === 0) continue;
    rmSync(image);
    dir.remove();
    return `${program}: ${result.error?.message ?? result.stderr}`;
  }
  const remove = () => {
    spawnSync('umount', [dir.path]);
    rmSync(image);
    dir.remove();
  };
  return { path: dir.path, remove };
}

test('a disk that is full under direct writes stops the sink until there is room', async (context) => {
  const disk = smallExt4(48 * MIB);
  if (typeof disk === 'string') return context.skip(disk);
  try {
    const filler = join(disk.path, 'filler');
    writeFileSync(filler, Buffer.alloc(20 * MIB));
    const dir = join(disk.path, 'sensors');
    const rig = new Rig(dir, { fsync: 'interval', flushMs: 50 }, { poolBytes: 48 * MIB });
    const all = openStreams(rig, 3);
    let refused = false;
    for (let frame = 0; frame < 100 && !refused; frame += 1) {
      const payload = pattern(300_001, frame);
      const { stream, content } = all[frame % 3]!;
      content.push(payload);
      refused = !rig.write(stream, payload, RAW);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    while (!rig.logs.some(({ msg }) => /takes no more/.test(msg))) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    assert.match(String(rig.logs.find(({ msg }) => /takes no more/.test(msg))!.error), /ENOSPC/);
    const ends = Promise.all(all.map(({ stream }) => stream.end()));
    rmSync(filler);
    await ends;
    assertStored(rig, dir, all, 'after the outage');
    assert.ok(rig.sink.stats.bytesDirect > MIB, `${rig.sink.stats.bytesDirect} bytes`);
    await rig.sink.close();
  } finally {
    disk.remove();
  }
});
