import assert from 'node:assert/strict';
import { existsSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { LedgerJournal } from '../../src/ledger/journal.js';
import { listJournals } from '../../src/ledger/journal-names.js';
import { readJournal } from '../../src/ledger/journal-reader.js';
import { start } from '../support/process.js';
import { tempDir } from '../support/tmp.js';
import { sensorUuid } from './simulation.js';

const CHILD = new URL('./child.js', import.meta.url).pathname;

function newJournal(sessions = 300, sinks = ['disk', 'null']) {
  const dataDir = tempDir('journal');
  const path = join(dataDir, 'ledger', 'worker-3.journal');
  return { dataDir, path, journal: new LedgerJournal(path, { sinks, sessions, maxFiles: 2 }) };
}

const opening = (slot: number) => ({
  id: `session-${slot}`,
  slot,
  sensor: sensorUuid(slot),
  type: 1,
  openedAt: 1_700_000_000_000,
});

const streamOf = (slot: number) => ({
  ...opening(slot),
  openedAt: new Date(opening(slot).openedAt),
});

test('what is read back is what was counted, row by row', () => {
  const { dataDir, path, journal } = newJournal();
  assert.deepEqual(listJournals(dataDir), [path]);
  const rows = [0, 1, 127, 128, 299].map((slot) => journal.openSession(opening(slot), [1]));
  for (const [index, row] of rows.entries()) {
    row.route(1);
    row.received(10 + index, 1000);
    row.delivered(0, 5, 500);
    row.delivered(0, 1, 0);
    row.delivered(1, 10, 1000);
    row.truncate(33);
  }
  assert.equal(journal.sync(), true);
  const snapshot = readJournal(path)!;
  assert.deepEqual(snapshot.header.sinks, ['disk', 'null']);
  assert.equal(snapshot.header.worker, '3');
  assert.deepEqual([snapshot.damaged, snapshot.files], [0, []]);
  assert.deepEqual(
    snapshot.sessions.map(({ totals }) => totals),
    rows.map((row, index) => ({
      id: row.id,
      sensor: row.sensor,
      type: 1,
      openedAt: row.openedAt,
      endedAt: 0,
      end: '',
      received: { frames: 10 + index, bytes: 1000 },
      delivered: { disk: { frames: 6, bytes: 500 }, null: { frames: 10, bytes: 1000 } },
      rejected: {},
      lost: {},
      truncated: { count: 1, bytes: 33 },
    })),
  );
  assert.equal(statSync(path).mode & 0o777, 0o600);
  journal.close();
});

test('totals are final in the journal before anybody is told of them', () => {
  const { path, journal } = newJournal();
  const row = journal.openSession(opening(7), [0]);
  row.received(12, 120);
  row.delivered(0, 4, 40);
  for (const code of [16, 17, 18, 19, 20, 48]) row.reject(code, 1, 10);
  row.reject(17, 2, 20);
  assert.deepEqual([row.inFlightFrames(0), row.inFlightBytes(0)], [0, 0]);
  const totals = row.totals('bad-hmac');
  assert.deepEqual(Object.keys(totals.rejected), [
    'bad-version',
    'bad-type',
    'bad-uuid',
    'too-large',
    'other',
  ]);
  assert.deepEqual(totals.rejected['bad-type'], { frames: 3, bytes: 30 });
  assert.deepEqual(totals.rejected.other, { frames: 2, bytes: 20 });
  const [image] = readJournal(path)!.sessions;
  assert.deepEqual(image, { index: 7, totals, ended: true });
  row.release();
  assert.throws(() => row.delivered(0, 1, 1), /has left the journal/);
  const again = journal.openSession({ ...opening(7), id: 'next' }, []);
  assert.deepEqual(again.totals('closed').received, { frames: 0, bytes: 0 });
  again.release();
  journal.close();
  assert.equal(existsSync(path), false);
});

test('an excess of deliveries shows once the session has ended', () => {
  const { path, journal } = newJournal();
  const row = journal.openSession(opening(0), [0]);
  row.received(3, 30);
  row.delivered(0, 4, 40);
  journal.sync();
  // Until then received may only be behind.
  assert.deepEqual(readJournal(path)!.sessions[0]!.totals.received, { frames: 4, bytes: 40 });
  assert.deepEqual(row.totals('closed').received, { frames: 3, bytes: 30 });
  assert.deepEqual(readJournal(path)!.sessions[0]!.totals.received, { frames: 3, bytes: 30 });
});

test('an intent finds its session in the journal, with no less received', () => {
  const { path, journal } = newJournal();
  const row = journal.openSession(opening(5));
  const place = { sink: 'disk', path: '/f.cap.part', session: streamOf(5) };
  const record = journal.open({ ...place, framesBefore: 0, bytesBefore: 0 });
  assert.equal(readJournal(path)!.sessions.length, 1);
  row.reject(48, 1, 5);
  record.intent(100, 9, 90);
  const { sessions, files } = readJournal(path)!;
  assert.deepEqual(sessions[0]!.totals.received, { frames: 10, bytes: 95 });
  assert.deepEqual(
    files[0]!.intents.map(({ fileBytes, frames, bytes }) => [fileBytes, frames, bytes]),
    [
      [100, 9, 90],
      [0, 0, 0],
    ],
  );
  record.intent(200, 19, 190);
  record.intent(300, 29, 290);
  assert.deepEqual(
    readJournal(path)!.files[0]!.intents.map(({ fileBytes }) => fileBytes),
    [300, 200],
  );
  // What was delivered is in the session's row before the file's row is gone.
  row.delivered(0, 29, 290);
  record.release();
  const after = readJournal(path)!;
  assert.deepEqual(after.files, []);
  assert.deepEqual(after.sessions[0]!.totals.delivered.disk, { frames: 29, bytes: 290 });
});

test('file rows are few, are used again, and go in the order of their files', () => {
  const { path, journal } = newJournal();
  journal.openSession(opening(0));
  const open = (name: string) =>
    journal.open({
      sink: 'disk',
      path: name,
      session: streamOf(0),
      framesBefore: 0,
      bytesBefore: 0,
    });
  const names = () => readJournal(path)!.files.map((file) => file.path);
  const first = open('/1.part');
  const second = open('/2.part');
  assert.throws(() => open('/3.part'), /2 files are open/);
  second.release();
  assert.deepEqual(names(), ['/1.part', '/2.part']);
  first.release();
  first.release();
  assert.deepEqual(names(), []);
  const third = open('/3.part');
  open('/4.part');
  assert.throws(() => open('/5.part'), /2 files are open/);
  third.release();
  assert.throws(() => open(`/${'ü'.repeat(400)}.part`), /cannot be journaled/);
  assert.deepEqual(names(), ['/4.part']);
});

test('a journal is never written over, and stays while it holds something', () => {
  const { path, journal } = newJournal();
  assert.throws(() => new LedgerJournal(path, { sinks: [], sessions: 1 }), /cannot create/);
  const many = Array.from({ length: 17 }, (_, index) => `sink-${index}`);
  assert.throws(() => new LedgerJournal(`${path}2`, { sinks: many, sessions: 1 }), /at most 16/);
  journal.openSession(opening(0)).totals('closed');
  journal.close();
  const { closed, sessions } = readJournal(path)!;
  assert.deepEqual([closed, sessions.length], [true, 1]);
  assert.equal(journal.sync(), false);
  truncateSync(path, 100);
  assert.equal(readJournal(path), undefined);
});

test('a reader beside the writer sees whole rows alone', async () => {
  const dataDir = tempDir('journal');
  const path = join(dataDir, 'worker-0.journal');
  const writer = start(process.execPath, [CHILD, 'count', path]);
  await writer.waitFor('counting\n');
  let last = 0;
  for (let reads = 0; reads < 300; reads += 1) {
    const { sessions, damaged } = readJournal(path)!;
    assert.equal(damaged, 0);
    assert.equal(sessions.length, 64);
    for (const { totals } of sessions) {
      const { received, delivered } = totals;
      assert.equal(received.bytes, received.frames * 10);
      assert.deepEqual(delivered.null, received);
    }
    const { frames } = sessions[0]!.totals.received;
    assert.ok(frames >= last);
    last = frames;
  }
  assert.ok(last > 10, 'the writer wrote on');
  writer.kill('SIGKILL');
});
