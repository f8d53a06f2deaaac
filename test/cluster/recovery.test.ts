import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { pino } from 'pino';
import { KEPT_JOURNALS_MAX, Recoveries } from '../../src/cluster/recovery.js';
import { LedgerJournal } from '../../src/ledger/journal.js';
import { journalPath, listJournals } from '../../src/ledger/journal-names.js';
import { openLedger } from '../../src/ledger/store.js';
import { tempDir } from '../support/tmp.js';

function setUp() {
  const dataDir = tempDir('recoveries');
  const ledger = openLedger(dataDir);
  const logged: string[] = [];
  const log = pino({ level: 'trace' }, { write: (line) => void logged.push(JSON.parse(line).msg) });
  const volume = join(dataDir, 'volume');
  mkdirSync(volume);
  return { dataDir, ledger, log, logged, volume };
}

/** A worker that ends with a file open, of which it has written all but the last record. */
function die(dataDir: string, volume: string, name: string): LedgerJournal {
  const journal = new LedgerJournal(journalPath(dataDir, 0), { sinks: ['disk'], sessions: 1 });
  const session = { id: randomUUID(), slot: 0, sensor: randomUUID(), type: 3, openedAt: 1 };
  const row = journal.openSession(session, [0]);
  const path = join(volume, `${name}.syslog.txt.part`);
  const place = { sink: 'disk', path, framesBefore: 0, bytesBefore: 0 };
  journal.open({ ...place, session: { ...session, openedAt: new Date(1) } }).intent(10, 1, 10);
  writeFileSync(path, 'whole\nhalf');
  row.received(1, 10);
  journal.sync();
  return journal;
}

const fileName = (number: number) =>
  `3b0a4a5289a44d2e9a5c2f5b5c6d7e8f-2026-01-01-0000${String(number).padStart(2, '0')}`;

test("a worker's journal is out of the way at once; what was kept is settled at a start", async () => {
  const { dataDir, ledger, log, logged, volume } = setUp();
  try {
    const away = join(dataDir, 'away');
    const recoveries = new Recoveries(dataDir, ledger, log);
    die(dataDir, volume, fileName(1));
    renameSync(volume, away);
    recoveries.workerEnded(0);
    assert.equal(existsSync(journalPath(dataDir, 0)), false);
    // The next worker has its own.
    const next = die(dataDir, dataDir, fileName(2));
    assert.equal(await recoveries.finish(20_000), true);
    assert.equal(listJournals(dataDir).length, 2);
    assert.equal(logged.filter((line) => /journal is kept/.test(line)).length, 1);
    assert.deepEqual(ledger.read().totals, []);
    recoveries.workerEnded(0);
    assert.equal(await recoveries.finish(20_000), true);
    assert.deepEqual(listJournals(dataDir).includes(next.path), false);

    renameSync(away, volume);
    await new Recoveries(dataDir, ledger, log).start();
    assert.deepEqual(listJournals(dataDir), []);
    assert.deepEqual(readdirSync(volume), [`${fileName(1)}.syslog.txt`]);
    assert.ok(existsSync(join(dataDir, `${fileName(2)}.syslog.txt`)));
    assert.equal(ledger.read().workerDeaths, 2);
  } finally {
    await ledger.close();
  }
});

test('no more journals are kept than the limit: the oldest is settled as it is', async () => {
  const { dataDir, ledger, log, logged, volume } = setUp();
  try {
    const recoveries = new Recoveries(dataDir, ledger, log);
    for (let death = 0; death < KEPT_JOURNALS_MAX + 2; death += 1) {
      const own = join(volume, `${death}`);
      mkdirSync(own);
      die(dataDir, own, fileName(death));
      renameSync(own, `${own}-away`);
      recoveries.workerEnded(0);
    }
    assert.equal(await recoveries.finish(20_000), true);
    assert.equal(listJournals(dataDir).length, KEPT_JOURNALS_MAX);
    assert.equal(logged.filter((line) => /^too many journals/.test(line)).length, 2);
    const lost = ledger.read().totals.map((total) => total.lost.disk);
    assert.deepEqual(lost, Array(2).fill({ frames: 1, bytes: 10 }));
    assert.equal(ledger.read().workerDeaths, KEPT_JOURNALS_MAX + 2);
  } finally {
    await ledger.close();
  }
});

test('what is not recovered when the gateway stops is left to the next start', async () => {
  const { dataDir, ledger, log, volume } = setUp();
  try {
    const recoveries = new Recoveries(dataDir, ledger, log);
    die(dataDir, volume, fileName(1));
    recoveries.workerEnded(0);
    recoveries.abort();
    assert.equal(await recoveries.finish(20_000), false);
    die(dataDir, volume, fileName(2));
    recoveries.workerEnded(0);
    assert.equal(existsSync(journalPath(dataDir, 0)), true, 'nothing more is begun');
    assert.deepEqual([ledger.read().totals, listJournals(dataDir).length], [[], 2]);
  } finally {
    await ledger.close();
  }
});
