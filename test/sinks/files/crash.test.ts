import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { repairPart } from '../../../src/sinks/files/repair.js';
import { crashStream, lastWhole } from './crash-stream.js';
import { contentOf, filesBelow, newSeed, random, tempDir, tool } from './rig.js';

interface Entry {
  file: number;
  path: string;
  session: string;
  bytesBefore: number;
  fileBytes: number;
  frames: number;
  bytes: number;
  released: boolean;
}

interface Left {
  opened: Entry;
  intents: Entry[];
  released: boolean;
}

function readJournal(path: string): Left[] {
  const files: Left[] = [];
  for (const line of readFileSync(path, 'utf8').split('\n').slice(0, -1)) {
    const entry = JSON.parse(line) as Entry;
    if (entry.path !== undefined)
      files[entry.file] = { opened: entry, intents: [], released: false };
    else if (entry.released) files[entry.file]!.released = true;
    else files[entry.file]!.intents.push(entry);
  }
  return files;
}

for (const [compress, pace] of [
  ['none', 'trickle'],
  ['none', 'burst'],
  ['lz4', 'trickle'],
  ['gzip', 'trickle'],
] as const) {
  test(`after kill -9 the files hold whole records, and the journal knows, ${compress}, ${pace}`, async (context) => {
    let sawDirect = false;
    const seed = newSeed();
    context.diagnostic(`D4GW_SEED=${seed}`);
    const next = random(seed);
    const whole = crashStream();
    for (let round = 0; round < 3; round += 1) {
      const dir = tempDir();
      const journalPath = join(dir.path, 'journal');
      const store = join(dir.path, 'sensors');
      mkdirSync(store); // it may be killed before it makes it
      const program = fileURLToPath(new URL('crash-child.js', import.meta.url));
      const child = fork(program, [store, journalPath, compress, pace], { stdio: 'inherit' });
      await once(child, 'message');
      child.on('message', (message) => {
        sawDirect ||= message === 'direct';
      });
      await new Promise((resolve) => setTimeout(resolve, 20 + next(150)));
      child.kill('SIGKILL');
      await once(child, 'exit');

      const journal = readJournal(journalPath).filter(({ released }) => !released);
      for (const { opened, intents } of journal) {
        const size = sizeOf(opened.path);
        if (size === undefined) continue; // it was about to be made, or had its final name already
        const newest = intents.at(-1);
        assert.ok(size <= (newest?.fileBytes ?? 0), 'no write without its intent');
        const found = await repairPart(opened.path);
        if (compress !== 'none' || size === 0) continue;
        const preamble = opened.bytesBefore === 0 ? 0 : 24;
        const end = lastWhole(opened.bytesBefore + size - preamble);
        assert.equal(found.payloadBytes, Math.max(0, end - opened.bytesBefore) + preamble);
        assert.ok((intents.at(-2)?.fileBytes ?? 0) <= size, 'one write at most was under way');
      }
      for (const session of [0, 1, 2]) {
        const uuid = session.toString(16).padStart(8, '0');
        const files = filesBelow(store).filter((path) => path.includes(`sensors/${uuid}`));
        assert.ok(
          files.every((path) => !path.endsWith('.part')),
          String(files),
        );
        const contents = files.map((path, index) => contentOf(path).subarray(index === 0 ? 0 : 24));
        const kept = Buffer.concat(contents);
        assert.ok(kept.equals(whole.subarray(0, kept.length)), 'what is stored is what was sent');
        assert.equal(lastWhole(kept.length), kept.length, 'whole records');
        if (compress === 'none')
          for (const path of files) tool('tcpdump', ['-n', '-r', path, '-c', '3']);
      }
      dir.remove();
    }
    if (pace === 'burst') assert.ok(sawDirect, 'killed while it wrote directly');
  });
}

function sizeOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.size;
}
