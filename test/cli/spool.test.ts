import assert from 'node:assert/strict';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { headerCrc } from '../../src/spool/checksum.js';
import { BLOCK_CRC, BLOCK_VERSION } from '../../src/spool/layout.js';
import { d4gw } from '../support/program.js';
import { tempDir } from '../support/tmp.js';
import { append, archivePart, frame, KEY, metaSession, sensor } from './archives.js';

const A = sensor(1);
const SESSIONS = 12;
const FRAMES = 20;

describe('d4gw spool', () => {
  const dir = tempDir('spool');
  const sound = join(dir, 'sound');
  const keyFile = join(dir, 'key');
  const contents = new Map<string, Buffer>();

  before(async () => {
    writeFileSync(keyFile, `${KEY}\n`, { mode: 0o600 });
    await fill(sound);
  });

  /** Sessions of one sensor, one with a meta header, each in a block of its own. */
  async function fill(path: string): Promise<void> {
    await archivePart(path, async (spool) => {
      for (let index = 0; index < SESSIONS; index += 1) {
        const frames = Array.from({ length: FRAMES }, (_, at) =>
          frame(A, 3, `${index} ${at} `.repeat(20)),
        );
        const id = `s/${index}`;
        const ref = spool.openSession({ id, sensor: A, type: 3, openedAt: new Date(1e12) });
        append(spool, ref, ...frames);
        contents.set(`${A}-3-s_${index}.d4`, Buffer.concat(frames));
        spool.endSession(ref, 'closed', '');
        await spool.flush();
      }
      const meta = metaSession('meta', A);
      const ref = spool.openSession(meta);
      const data = frame(A, 254, 'x');
      append(spool, ref, data);
      contents.set(`${A}-254-meta.d4`, Buffer.concat([meta.meta!.wire, data]));
    });
  }

  function segments(path: string): string[] {
    const part = join(path, '0');
    return readdirSync(part)
      .filter((name) => name.endsWith('.d4s'))
      .map((name) => join(part, name));
  }

  it('inspects: what is in it, and what became of it', async () => {
    const { code, stdout } = await d4gw(['spool', 'inspect', sound, '--json']);
    assert.equal(code, 0);
    const [part] = JSON.parse(stdout);
    assert.equal(part.dir, join(sound, '0'));
    assert.deepEqual(part.sessions, { all: SESSIONS + 1, withoutEnd: 1 });
    const [extended, logs] = part.streams;
    assert.deepEqual([logs.frames, logs.inFlight.frames], [SESSIONS * FRAMES, SESSIONS * FRAMES]);
    assert.deepEqual([extended.type, extended.frames, extended.metaTypes], [254, 4, ['ja3-jl']]);
    assert.deepEqual(part.damage, { blocks: 0, records: 0, bytes: 0 });
    const text = await d4gw(['spool', 'inspect', join(sound, '0')]);
    assert.match(text.stdout, /type 3 \(log\): 240 frames, .*2023-11-14T22:13:20Z to/);
    assert.match(text.stdout, /account: accepted 240, in flight 240/);
  });

  it('checks: 0 for what is sound, 1 for damage, a newer release, and what is no spool', async () => {
    const fine = await d4gw(['spool', 'check', sound]);
    assert.deepEqual([fine.code, /: sound\n$/.test(fine.stdout)], [0, true]);
    const bad = join(dir, 'bad');
    await fill(bad);
    const [first, second] = segments(bad);
    const bytes = readFileSync(first!);
    bytes[100]! ^= 4;
    writeFileSync(first!, bytes);
    const damaged = await d4gw(['spool', 'check', bad]);
    assert.equal(damaged.code, 1);
    assert.match(
      damaged.stdout,
      new RegExp(`^${first}: \\d+ records and \\d+ bytes can't be read`),
    );
    const newer = readFileSync(second!);
    newer[BLOCK_VERSION] = 3;
    newer.writeUInt32LE(headerCrc(newer, 0), BLOCK_CRC);
    writeFileSync(second!, newer);
    assert.match((await d4gw(['spool', 'check', bad])).stdout, /written by a newer release/);
    const none = await d4gw(['spool', 'check', dir]);
    assert.equal(none.code, 1);
    assert.match(none.stderr, /is no spool or archive/);
  });

  it('exports each session to a file of frames', async () => {
    const out = join(dir, 'out');
    const { code, stdout } = await d4gw(['spool', 'export', sound, '--out', out]);
    assert.equal(code, 0);
    assert.match(stdout, /^244 frames \(\d+ bytes\) in 13 files/);
    assert.deepEqual(readdirSync(out).sort(), [...contents.keys()].sort());
    for (const [name, bytes] of contents)
      assert.ok(readFileSync(join(out, name)).equals(bytes), name);
    const again = await d4gw(['spool', 'export', sound, '--out', out]);
    assert.equal(again.code, 2);
    assert.match(again.stderr, /name a new directory/);
  });

  it('exports what is left of a damaged archive to one that is sound', async () => {
    const bad = join(dir, 'mended');
    await fill(bad);
    const bytes = readFileSync(segments(bad)[1]!);
    bytes[bytes.length - 5]! ^= 1;
    writeFileSync(segments(bad)[1]!, bytes);
    rmSync(join(bad, '0', 'account'), { recursive: true });
    const out = join(dir, 'mended-out');
    const { code, stdout } = await d4gw([
      'spool',
      'export',
      bad,
      '--out',
      out,
      '--archive',
      '--json',
    ]);
    assert.equal(code, 1);
    const written = JSON.parse(stdout);
    assert.equal(written.faults.length, 1);
    assert.ok(written.frames >= 244 - FRAMES && written.frames < 244 + 1, `${written.frames}`);
    assert.equal((await d4gw(['spool', 'check', out])).code, 0);
    const decoded = await d4gw(['decode', '--summary', '--key-file', keyFile, out]);
    assert.equal(decoded.code, 0, decoded.stderr);
    assert.equal(JSON.parse(decoded.stdout).hmac.verified, written.frames);
  });

  it('decodes segments: one, a part, or all, and tells of damage', async () => {
    for (const [paths, frames] of [
      [segments(sound), 244],
      [[join(sound, '0')], 244],
      [[sound], 244],
      [segments(sound).slice(0, 1), 20],
    ] as const) {
      const { code, stdout } = await d4gw(['decode', '--key-file', keyFile, ...paths]);
      assert.equal(code, 0);
      const lines = stdout
        .split('\n')
        .slice(0, -1)
        .map((line) => JSON.parse(line));
      assert.equal(lines.length, frames);
      assert.ok(lines.every(({ verified, session }) => verified && session !== undefined));
    }
    const { code, stderr } = await d4gw(['decode', '--summary', join(dir, 'mended')]);
    assert.equal(code, 1);
    assert.match(stderr, /damaged: \d+ records/);
  });
});
