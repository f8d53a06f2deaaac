import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { test } from 'node:test';
import { captures, contentOf, filesBelow, newSeed, Rig, random, tempDir } from './rig.js';

/**
 * What tcpdump reads from a file, and whether it read to the end: of each packet its time and its
 * bytes. (What it says of their meaning depends on the packets before.)
 */
function packets(path: string): { text: string; status: number | null } {
  const args = ['-n', '-tt', '-xx', '--nano', '-r', path];
  const result = spawnSync('tcpdump', args, { encoding: 'latin1', maxBuffer: 2 ** 28 });
  const lines = result.stdout.split('\n').filter((line) => /^(\t0x|\d+\.|\[Invalid)/i.test(line));
  const text = lines.map((line) => (line.startsWith('\t') ? line : line.split(' ')[0])).join('\n');
  return { text: text.length > 0 ? `${text}\n` : '', status: result.status };
}

for (const kind of ['pcap', 'pcapng'] as const) {
  const files = captures(kind);
  const skip = files.length === 0 ? 'no shared captures' : false;
  test(`each ${kind} capture in pieces is the capture`, { skip }, async (context) => {
    const seed = newSeed();
    context.diagnostic(`D4GW_SEED=${seed}`);
    const next = random(seed);
    let packetBytes = 0;
    for (const file of files) {
      const original = packets(file);
      const dir = tempDir();
      const rotateBytes = 1 + next(400);
      const rig = new Rig(dir.path, { rotateBytes });
      const payload = readFileSync(file);
      const session = await rig.send(kind === 'pcap' ? 1 : 5, payload, () => next(200));
      await rig.sink.close();
      const about = `${basename(file)}, rotateBytes ${rotateBytes}`;
      assert.deepEqual(rig.notes, [], about);
      assert.equal(rig.delivered.get(session.id)!.bytes, payload.length, about);
      const pieces = filesBelow(dir.path);
      assert.ok(pieces.every((piece) => piece.endsWith(kind === 'pcap' ? '.cap' : '.pcapng')));
      const read = pieces.map(packets);
      if (original.status === 0) {
        for (const [index, piece] of read.entries()) {
          assert.equal(piece.status, 0, `${about}: ${pieces[index]}`);
        }
        const text = read.map((piece) => piece.text).join('');
        assert.ok(text === original.text, `${about}: packets`);
        packetBytes += text.length;
      }
      const kept = pieces.map((piece) => contentOf(piece).subarray(rig.journal.preambleOf(piece)));
      assert.ok(Buffer.concat(kept).equals(payload), `${about}: bytes`);
      dir.remove();
    }
    assert.ok(packetBytes > 10_000, 'tcpdump printed packets');
  });
}

test('sections of both byte orders in one stream are told apart by their pieces', async (context) => {
  const files = captures('pcapng').filter((file) => packets(file).status === 0);
  if (files.length === 0) return context.skip('no shared captures');
  // Little- and big-endian in turn: no program of libpcap reads the two from one file.
  const isBig = (file: string) => basename(file).startsWith('be-');
  const big = files.filter(isBig);
  const mixed = files.filter((file) => !isBig(file)).flatMap((file, index) => [file, big[index]!]);
  const dir = tempDir();
  const rig = new Rig(dir.path, { rotateBytes: 1 });
  const payload = Buffer.concat(mixed.map((file) => readFileSync(file)));
  await rig.send(5, payload, () => 100);
  await rig.sink.close();
  assert.deepEqual(rig.notes, []);
  const read = filesBelow(dir.path).map(packets);
  assert.deepEqual(new Set(read.map(({ status }) => status)), new Set([0]));
  const text = mixed.map((file) => packets(file).text).join('');
  assert.ok(text.length > 1000 && read.map((piece) => piece.text).join('') === text);
  dir.remove();
});
