import assert from 'node:assert/strict';
import {
  appendFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, test } from 'node:test';
import fc from 'fast-check';
import { GATEWAY_ACTOR, type TrailHead } from '../../src/audit/entry.js';
import { readTrail, verifyTrail } from '../../src/audit/reader.js';
import { AuditTrail } from '../../src/audit/trail.js';
import { tempDir } from '../support/tmp.js';

const root = tempDir('audit');
let dataDir: string;
beforeEach(() => {
  dataDir = mkdtempSync(join(root, 'data-'));
});

const fileOf = (number: number) =>
  join(dataDir, 'audit', `audit-${String(number).padStart(6, '0')}.ndjson`);
const files = () => readdirSync(join(dataDir, 'audit')).sort();

/** Appends acts, each from a writing end of its own where `apart`, as processes would. */
function append(count: number, { apart = false, bytesMax = 4096 } = {}): TrailHead {
  let trail = new AuditTrail(dataDir, bytesMax);
  let head: TrailHead | undefined;
  for (let index = 0; index < count; index += 1) {
    if (apart) trail = new AuditTrail(dataDir, bytesMax);
    head = trail.append(GATEWAY_ACTOR, {
      act: index % 2 === 0 ? 'sensor.block' : 'address.block',
      subject: `subject ${index % 3}`,
      before: { state: 'approved' },
      after: { state: 'blocked', text: 'ä "quoted", "hash":"' },
    });
  }
  return head!;
}

describe('the trail', () => {
  test('numbers and chains its lines over files and writers', async () => {
    append(10);
    const head = append(40, { apart: true });
    assert.equal(head.seq, 50);
    assert.ok(files().length > 2, 'it was rotated');
    const verdict = await verifyTrail(dataDir, head);
    assert.deepEqual(verdict, {
      intact: true,
      files: files().length,
      entries: 50,
      first: 1,
      last: 50,
      problems: [],
      notes: [],
    });
  });

  test('two writers that take turns each see what the other wrote', async () => {
    const writers = [new AuditTrail(dataDir, 2048), new AuditTrail(dataDir, 2048)];
    for (let index = 0; index < 30; index += 1) {
      writers[index % 2]!.append(GATEWAY_ACTOR, { act: 'x', subject: `${index}` });
    }
    const verdict = await verifyTrail(dataDir);
    assert.deepEqual([verdict.intact, verdict.entries], [true, 30]);
  });

  test('goes on behind a line that a process died over', async () => {
    append(3);
    appendFileSync(fileOf(1), '{"seq":4,"at":"2026-');
    const noted = await verifyTrail(dataDir);
    assert.equal(noted.intact, true);
    assert.match(noted.notes[0]!, /no whole line/);
    const head = append(1);
    assert.equal(head.seq, 4);
    assert.deepEqual((await verifyTrail(dataDir, head)).notes, []);
  });

  test('refuses an act that it cannot write, and says so', () => {
    writeFileSync(join(dataDir, 'audit'), 'a file stands in its place');
    assert.throws(() => append(1), { code: 'D4GW_E_AUDIT', message: /nothing was changed/ });
    rmSync(join(dataDir, 'audit'));
    append(1);
    const trail = new AuditTrail(dataDir);
    const after = 'x'.repeat(70_000);
    assert.throws(() => trail.append(GATEWAY_ACTOR, { act: 'x', subject: 'y', after }), /bytes/);
    assert.equal(append(1).seq, 2, 'the next is written all the same');
  });

  test('does not go on behind a last line that was changed', () => {
    append(2);
    const text = readFileSync(fileOf(1), 'utf8');
    writeFileSync(fileOf(1), text.replace(/blocked(?=[^\n]*\n$)/, 'blOcked'));
    assert.throws(() => append(1), /was changed: see `audit verify`/);
  });
});

describe('verify', () => {
  test('finds any one bit that was changed', async () => {
    const head = append(12, { bytesMax: 1500 });
    const originals = new Map(
      files().map((name) => [name, readFileSync(join(dataDir, 'audit', name))]),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...originals.keys()),
        fc.nat(),
        fc.nat({ max: 7 }),
        async (name, place, bit) => {
          const original = originals.get(name)!;
          const changed = Buffer.from(original);
          changed[place % changed.length]! ^= 1 << bit;
          writeFileSync(join(dataDir, 'audit', name), changed);
          const { intact } = await verifyTrail(dataDir, head);
          writeFileSync(join(dataDir, 'audit', name), original);
          assert.equal(intact, false, `${name}, byte ${place % changed.length}, bit ${bit}`);
        },
      ),
      { numRuns: 200, interruptAfterTimeLimit: 10_000 },
    );
    assert.equal((await verifyTrail(dataDir, head)).intact, true);
  });

  test('finds lines and files that were taken out or moved', async () => {
    const head = append(30, { bytesMax: 2500 });
    const count = files().length;
    assert.ok(count > 3);
    const lines = readFileSync(fileOf(2), 'utf8').trimEnd().split('\n');
    const problemsOf = async (kept: string[]) => {
      writeFileSync(fileOf(2), kept.map((line) => `${line}\n`).join(''));
      return (await verifyTrail(dataDir, head)).problems.join('\n');
    };
    assert.match(await problemsOf(lines.toSpliced(1, 1)), /missing or moved/);
    assert.match(await problemsOf([lines[1]!, lines[0]!, ...lines.slice(2)]), /missing or moved/);
    assert.equal(await problemsOf(lines), '');
    rmSync(fileOf(2));
    assert.match(
      (await verifyTrail(dataDir, head)).problems.join('\n'),
      /audit-000002.* is missing/,
    );
  });

  test('finds a cut end by what the registry remembers, and takes an old start that is gone', async () => {
    const head = append(30, { bytesMax: 2500 });
    const last = fileOf(files().length);
    const text = readFileSync(last, 'utf8');
    writeFileSync(last, text.slice(0, text.lastIndexOf('\n', text.length - 2) + 1));
    assert.match((await verifyTrail(dataDir, head)).problems[0]!, /number 30.* is missing/);
    assert.equal((await verifyTrail(dataDir)).intact, true, 'nothing else tells');
    writeFileSync(last, text);
    rmSync(fileOf(1));
    const verdict = await verifyTrail(dataDir, head);
    assert.equal(verdict.intact, true);
    assert.match(verdict.notes[0]!, /older files were taken away/);
  });
});

test('readTrail tells the newest first, by act and subject, over files', async () => {
  append(30, { bytesMax: 2500 });
  const numbers = async (query: Parameters<typeof readTrail>[1]) =>
    (await readTrail(dataDir, query)).map(({ seq }) => seq);
  assert.deepEqual(await numbers({ limit: 3 }), [30, 29, 28]);
  assert.deepEqual(await numbers({ limit: 3, before: 29 }), [28, 27, 26]);
  assert.deepEqual(await numbers({ limit: 3, act: 'sensor' }), [29, 27, 25]);
  assert.deepEqual(
    await numbers({ limit: 2, act: 'address.block', subject: 'subject 0' }),
    [28, 22],
  );
  assert.equal((await numbers({ limit: 100 })).length, 30);
});
