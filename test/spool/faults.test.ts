import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { after, test } from 'node:test';
import { pino } from 'pino';
import { inFlightOf } from '../../src/spool/account.js';
import { checkSpools } from '../../src/spool/check.js';
import { headerCrc } from '../../src/spool/checksum.js';
import { BLOCK_CRC, BLOCK_VERSION, RecordKind } from '../../src/spool/layout.js';
import { indexPath, segmentPath } from '../../src/spool/segment.js';
import { Spool } from '../../src/spool/spool.js';
import { segmentsOf } from '../../src/spool/spool-recovery.js';
import type { SpoolOptions } from '../../src/spool/types.js';
import { HEADER_BYTES } from '../../src/wire/layout.js';
import { Random, seedOfRun } from '../assembly/harness.js';
import { tempDir } from '../sinks/files/rig.js';
import { skipUnless } from '../support/require.js';
import { frameOf, sensorOf, within } from './model.js';

const MIB = 1024 * 1024;
const SENSOR = sensorOf(1);
const PAYLOAD_BYTES = 1_000;
const seed = seedOfRun();
console.log(`seed ${seed}`);
const random = new Random(seed);

function optionsFor(
  dir: string,
  lines: string[],
  changes: Partial<SpoolOptions> = {},
): SpoolOptions {
  const log = pino({ level: 'info' }, { write: (line: string) => lines.push(line) });
  const base = { maxBytes: 64 * MIB, segmentBytes: 50_000, memoryBytes: MIB, log } as const;
  return { dir, persist: 'always', compress: 'none', ...base, ...changes };
}

/** Opens a session and appends frames to it, numbered. */
function fill(spool: Spool, frames: number, id = 'a'): number {
  const ref = spool.openSession({ id, sensor: SENSOR, type: 3, openedAt: new Date() });
  for (let index = 0; index < frames; index += 1) {
    const payload = Buffer.alloc(PAYLOAD_BYTES);
    payload.writeUInt32LE(index);
    const frame = frameOf(SENSOR, 3, payload);
    spool.append(ref, frame, 0, frame.length);
  }
  return ref;
}

/** The numbers of the frames that a reader gives. */
async function readFrames(spool: Spool, isChecked = true): Promise<number[]> {
  const frames: number[] = [];
  const reader = spool.blocks(spool.cursor + 1, isChecked);
  let last = spool.cursor;
  while (last < spool.lastSeq) {
    const block = await within(reader.next());
    for (const { kind, data } of block!.records()) {
      if (kind === RecordKind.FRAME) frames.push(data.readUInt32LE(HEADER_BYTES));
    }
    last = block!.lastSeq;
  }
  reader.close();
  return frames;
}

function amounts(spool: Spool) {
  return spool.account.streams[0]!.amounts;
}

/** A closed spool with 500 frames in some segments; its session has an END. */
async function filled(dir: string): Promise<void> {
  const spool = await Spool.open(optionsFor(dir, []));
  for (let part = 0; part < 10; part += 1) {
    const ref = fill(spool, 50, `s${part}`);
    spool.endSession(ref, 'closed', '');
    await spool.flush();
  }
  await spool.close();
}

test('a damaged segment costs what is damaged, which is counted; the rest is read once', async () => {
  for (let round = 0; round < 8; round += 1) {
    const { path: dir, remove } = tempDir();
    await filled(dir);
    const segments = await segmentsOf(dir);
    assert.ok(segments.length > 5);
    // Not the last: that nothing follows would hide how much is missing.
    const path = segmentPath(dir, random.pick(segments.slice(0, -1)));
    const bytes = readFileSync(path);
    bytes[random.below(bytes.length)]! ^= 1 << random.below(8);
    writeFileSync(path, bytes);
    // Also where the index is lost, and the segment is read at the opening.
    if (round % 2 === 1) rmSync(indexPath(path));
    const lines: string[] = [];
    const spool = await Spool.open(optionsFor(dir, lines));
    const frames = await readFrames(spool);
    assert.ok(frames.length >= 400 && frames.length <= 500, `${frames.length} frames`);
    const lost = 500 - frames.length;
    const dropped = amounts(spool)['dropped/damaged'] ?? { frames: 0, bytes: 0 };
    assert.deepEqual(dropped, { frames: lost, bytes: lost * PAYLOAD_BYTES });
    const left = { frames: frames.length, bytes: frames.length * PAYLOAD_BYTES };
    assert.deepEqual(inFlightOf(amounts(spool)), left);
    assert.ok(lines.some((line) => line.includes('damaged')));
    // Read again, it costs nothing more.
    assert.equal((await readFrames(spool)).length, frames.length);
    assert.deepEqual(inFlightOf(amounts(spool)), left);
    await spool.close();
    remove();
  }
});

test('a reader that leaves checking to others gets damage as it is; the next one counts it', async () => {
  const { path: dir, remove } = tempDir();
  await filled(dir);
  const segments = await segmentsOf(dir);
  const path = segmentPath(dir, segments[1]!);
  const bytes = readFileSync(path);
  // In the payload of its first frame.
  const at = bytes.indexOf(Buffer.alloc(500));
  bytes[at + 100]! ^= 1;
  writeFileSync(path, bytes);
  const spool = await Spool.open(optionsFor(dir, []));
  assert.equal((await readFrames(spool, false)).length, 500);
  assert.equal(amounts(spool)['dropped/damaged'], undefined);
  assert.equal((await readFrames(spool)).length, 499);
  assert.equal(amounts(spool)['dropped/damaged']!.frames, 1);
  await spool.close();
  remove();
});

test('a segment that is gone, or cut, is skipped and counted', async () => {
  const { path: dir, remove } = tempDir();
  await filled(dir);
  const [, second, third] = await segmentsOf(dir);
  rmSync(segmentPath(dir, second!));
  truncateSync(segmentPath(dir, third!), 10_000);
  const spool = await Spool.open(optionsFor(dir, []));
  const frames = await readFrames(spool);
  assert.equal(amounts(spool)['dropped/damaged']!.frames, 500 - frames.length);
  // Of the one that was cut, what was whole is there.
  assert.ok(frames.length > 400 && frames.length < 450, `${frames.length} frames`);
  const removed = (await segmentsOf(dir))[1]!;
  rmSync(segmentPath(dir, removed));
  const again = await readFrames(spool);
  assert.equal(amounts(spool)['dropped/unreadable']!.frames, frames.length - again.length);
  await spool.close();
  remove();
});

test('a segment of a newer release is refused by name, and kept', async () => {
  const { path: dir, remove } = tempDir();
  await filled(dir);
  const path = segmentPath(dir, (await segmentsOf(dir))[2]!);
  const bytes = readFileSync(path);
  bytes[BLOCK_VERSION] = 2;
  bytes.writeUInt32LE(headerCrc(bytes, 0), BLOCK_CRC);
  writeFileSync(path, bytes);
  rmSync(indexPath(path));
  await assert.rejects(Spool.open(optionsFor(dir, [])), (error: Error & { code?: string }) => {
    assert.equal(error.code, 'D4GW_E_SPOOL');
    assert.match(error.message, /newer release/);
    assert.ok(error.message.includes(path));
    return true;
  });
  assert.deepEqual(readFileSync(path), bytes);
  // The gateway tells before it begins.
  renameSync(dir, `${dir}-moved`);
  mkdirSync(dir);
  renameSync(`${dir}-moved`, join(dir, '0'));
  await assert.rejects(checkSpools(dir), { code: 'D4GW_E_SPOOL', message: /newer release/ });
  rmSync(join(dir, '0', basename(path)));
  await checkSpools(dir);
  await checkSpools(join(dir, 'nowhere'));
  remove();
});

test('a directory that cannot be made is told of', async () => {
  const { path: dir, remove } = tempDir();
  writeFileSync(join(dir, 'file'), '');
  await assert.rejects(Spool.open(optionsFor(join(dir, 'file'), [])), { code: 'D4GW_E_SPOOL' });
  remove();
});

/** Resolves once the disk has refused. */
async function failing(spool: Spool): Promise<void> {
  while (!spool.isFailing) await new Promise((resolve) => setImmediate(resolve));
}

/** Whether this user may mount a small file system. */
function cannotMount(): string | false {
  const { path, remove } = tempDir();
  const { status, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', path]);
  if (status === 0) execFileSync('umount', [path]);
  remove();
  return skipUnless(status === 0, `no tmpfs can be mounted: ${stderr}`.trim());
}

test('a full disk costs nothing that was taken', { skip: cannotMount() }, async () => {
  const { path: dir, remove } = tempDir();
  after(() => {
    execFileSync('umount', ['-l', dir]);
    remove();
  });
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=12m', 'tmpfs', dir]);
  const lines: string[] = [];
  const memoryBytes = 4 * MIB;
  const spool = await Spool.open(optionsFor(join(dir, 'spool'), lines, { memoryBytes }));
  writeFileSync(join(dir, 'filler'), Buffer.alloc(11 * MIB));
  let room = 0;
  spool.onRoom(() => {
    room += 1;
  });
  let frames = 0;
  const ref = fill(spool, 0);
  const append = () => {
    const payload = Buffer.alloc(PAYLOAD_BYTES);
    payload.writeUInt32LE(frames);
    const frame = frameOf(SENSOR, 3, payload);
    spool.append(ref, frame, 0, frame.length);
    frames += 1;
  };
  while (!spool.isFull) {
    append();
    if (frames % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  // It still takes what was on its way, and is read from memory.
  for (let more = 0; more < 50; more += 1) append();
  assert.ok(spool.usage.memoryBytes < memoryBytes + MIB);
  await within(failing(spool));
  assert.equal(room, 0);
  const taken = await readFrames(spool);
  assert.deepEqual(taken, [...Array(frames).keys()]);
  rmSync(join(dir, 'filler'));
  await within(spool.flush());
  assert.equal(spool.isFailing, false);
  assert.equal(room, 1);
  const said = lines.filter((line) => line.includes("can't be written"));
  assert.equal(said.length, 1, 'said once');
  await spool.close();
  const again = await Spool.open(optionsFor(join(dir, 'spool'), []));
  assert.deepEqual(await readFrames(again), taken);
  assert.equal(inFlightOf(amounts(again)).frames, frames);
  await again.close();
});

test('a read-only disk is told of at the opening', { skip: cannotMount() }, async () => {
  const { path: dir, remove } = tempDir();
  after(() => {
    execFileSync('umount', ['-l', dir]);
    remove();
  });
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', dir]);
  await filled(join(dir, 'spool'));
  execFileSync('mount', ['-o', 'remount,ro', dir]);
  for (const name of ['spool', 'other']) {
    const opening = Spool.open(optionsFor(join(dir, name), []));
    await assert.rejects(opening, { code: 'D4GW_E_SPOOL' });
  }
});

test('what a full disk never took is given up at the deadline, and never was in custody', {
  skip: cannotMount(),
}, async () => {
  const { path: dir, remove } = tempDir();
  after(() => {
    execFileSync('umount', ['-l', dir]);
    remove();
  });
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', dir]);
  const lines: string[] = [];
  let inCustody = 0;
  const options = optionsFor(join(dir, 'spool'), lines);
  const spool = await Spool.open({
    ...options,
    custody: (_session, frames) => (inCustody += frames),
  });
  writeFileSync(join(dir, 'filler'), Buffer.alloc(7 * MIB));
  fill(spool, 2_000);
  const waiting = spool.held(spool.lastSeq);
  await spool.close(300);
  assert.equal(await waiting, false);
  assert.ok(inCustody < 2_000);
  assert.ok(lines.some((line) => line.includes('was closed before all was written')));
});
