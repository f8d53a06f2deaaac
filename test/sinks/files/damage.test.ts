import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { test } from 'node:test';
import {
  block,
  interfaceBlock,
  packetBlock,
  pcapHeader,
  pcapRecord,
  section,
} from './cutters/build.js';
import { contentOf, filesBelow, newSeed, Rig, random, tempDir, tool } from './rig.js';

/** All pieces of the session less what they repeat. */
function joined(rig: Rig, dir: string): Buffer {
  const parts = filesBelow(dir).map((path) => {
    const content = contentOf(path);
    return content.subarray(rig.journal.preambleOf(path));
  });
  return Buffer.concat(parts);
}

function packetsIn(path: string): number {
  const text = tool('tcpdump', ['-n', '-tt', '-r', path]).toString('latin1');
  return text.split('\n').filter((line) => /^\d+\.\d+/.test(line)).length;
}

test('a damaged stream is raw from its damaged record on, and nothing of it is lost', async (context) => {
  const seed = newSeed();
  context.diagnostic(`D4GW_SEED=${seed}`);
  const next = random(seed);
  for (let round = 0; round < 24; round += 1) {
    const isNg = round % 2 === 0;
    const compress = (['none', 'lz4', 'gzip'] as const)[round % 3]!;
    // Some records are longer than a block, so that their start is written before they end.
    const bodies = Array.from({ length: 12 }, () =>
      Buffer.alloc(next(4) === 0 ? 9000 + next(90_000) : 1 + next(900), 3),
    );
    const records = bodies.map((body) => (isNg ? packetBlock(body) : pcapRecord(body)));
    const good = 1 + next(10);
    const bad = records[good]!;
    if (isNg) bad.writeUInt32LE(7, bad.length - 4);
    else bad.writeUInt32LE(0x7fff_ffff, 8);
    const head = isNg ? [section(), interfaceBlock()] : [pcapHeader()];
    const payload = Buffer.concat([...head, ...records]);
    const goodBytes = Buffer.concat([...head, ...records.slice(0, good)]).length;
    const dir = tempDir();
    const rig = new Rig(dir.path, {
      compress,
      flushMs: 10,
      rotateBytes: next(2) === 0 ? 20_000 : 2 ** 30,
    });
    const session = rig.session(isNg ? 5 : 1);
    const stream = rig.sink.open(session);
    for (let at = 0; at < payload.length; at += 1500) {
      rig.write(stream, payload.subarray(at, at + 1500));
      if (next(10) === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await stream.end();
    await rig.sink.close();
    const about = `round ${round}: ${compress}, ${good} good`;
    const files = filesBelow(dir.path);
    const raw = files.filter((path) => /\.raw(\.gz|\.lz4)?$/.test(path));
    const parsed = files.filter((path) => !raw.includes(path));
    assert.ok(joined(rig, dir.path).equals(payload), about);
    assert.equal(Buffer.concat(raw.map(contentOf)).length, payload.length - goodBytes, about);
    if (compress === 'none') {
      const packets = parsed.map(packetsIn).reduce((sum, count) => sum + count, 0);
      assert.equal(packets, good, about);
    }
    assert.equal(rig.notes.length, 1, about);
    assert.match(rig.notes[0]!, new RegExp(`damaged at byte ${goodBytes}:`));
    const frames = Math.ceil(payload.length / 1500);
    assert.deepEqual(rig.delivered.get(session.id), { frames, bytes: payload.length }, about);
    assert.ok(
      rig.journal.files.every((file) => file.released),
      about,
    );
    dir.remove();
  }
});

test('a file that is all damage leaves a raw one alone', async () => {
  const dir = tempDir();
  const rig = new Rig(dir.path, { flushMs: 10 });
  const broken = block(
    0x0a0d0d0a,
    Buffer.concat([section().subarray(8, 24), Buffer.alloc(60_000)]),
  );
  broken.writeUInt32LE(4, broken.length - 4);
  await rig.send(5, Buffer.concat([broken, Buffer.from('more')]), () => 5000);
  const files = filesBelow(dir.path);
  assert.deepEqual(
    files.map((path) => basename(path).split('.')[1]),
    ['raw'],
  );
  assert.ok(readFileSync(files[0]!).equals(Buffer.concat([broken, Buffer.from('more')])));
  await rig.sink.close();
  dir.remove();
});

test('streams too short to be told are raw', async () => {
  for (const [type, text] of [
    [1, 'tiny'],
    [4, 'abc'],
    [5, '\n\r\r\n'],
    [7, ''],
  ] as const) {
    const dir = tempDir();
    const rig = new Rig(dir.path);
    await rig.send(type, Buffer.from(text), () => 1);
    const files = filesBelow(dir.path);
    assert.deepEqual(
      files.map((path) => readFileSync(path, 'latin1')),
      text === '' ? [] : [text],
    );
    assert.ok(files.every((path) => path.endsWith('.raw')));
    await rig.sink.close();
    dir.remove();
  }
});
