import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { LedgerJournal } from '../../src/ledger/journal.js';
import { sessionRowAt } from '../../src/ledger/journal-layout.js';
import { openLedger } from '../../src/ledger/store.js';
import type { SessionTotals } from '../../src/ledger/totals.js';
import { Reject } from '../../src/wire/reject.js';
import { run } from '../support/process.js';
import { d4gw } from '../support/program.js';
import { tempDir } from '../support/tmp.js';

const ONE = '072e9a4f-1111-4111-8111-000000000001';
const TWO = '072e9a4f-1111-4111-8111-000000000002';

const of = (frames: number, bytes: number) => ({ frames, bytes });

function session(id: string, changes: Partial<SessionTotals> = {}): SessionTotals {
  return {
    id,
    sensor: ONE,
    type: 1,
    openedAt: 1,
    endedAt: 2,
    end: 'closed',
    received: of(1_500, 3_000_000),
    delivered: { disk: of(1_400, 2_900_000) },
    rejected: { 'bad-hmac': of(1, 500) },
    lost: { disk: of(99, 99_500) },
    truncated: { count: 1, bytes: 70 },
    ...changes,
  };
}

async function ledgerOf(...sessions: SessionTotals[]): Promise<string> {
  const dataDir = tempDir('cli-ledger');
  const store = openLedger(dataDir);
  store.refuse('handshake-failed', 12);
  await store.fold(sessions, {
    id: 'j',
    at: Date.UTC(2026, 0, 2),
    worker: '1',
    sessions: 1,
    lost: of(99, 99_500),
  });
  await store.close();
  return dataDir;
}

function openJournal(dataDir: string) {
  const path = join(dataDir, 'ledger', 'worker-0.journal');
  const journal = new LedgerJournal(path, { sinks: ['disk', 'null'], sessions: 4 });
  const open = { id: 'live', slot: 0, sensor: TWO, type: 3, openedAt: Date.UTC(2026, 0, 1) };
  const row = journal.openSession(open, [0]);
  row.received(10, 1_000);
  row.delivered(0, 4, 400);
  row.reject(Reject.BAD_HMAC, 1, 100);
  journal.sync();
  return { journal, row, path };
}

test('a ledger in balance is shown whole, with what is in flight, and exits 0', async () => {
  const dataDir = await ledgerOf(session('a'), session('b', { type: 2, delivered: {}, lost: {} }));
  const { journal } = openJournal(dataDir);
  const { code, stdout, stderr } = await d4gw(['ledger', '--data-dir', dataDir, '--sessions']);
  assert.deepEqual([code, stderr], [0, '']);
  assert.equal(
    stdout,
    `sensor ${ONE}, type 1 (pcap): 1 session, received 1,500 frames, 3,000,000 bytes
  sink  unit     received  delivered  rejected    lost  in flight
  disk  frames      1,500      1,400         1      99          0
        bytes   3,000,000  2,900,000       500  99,500          0
  rejected, bad-hmac: 1 frame, 500 bytes
  cut in mid-frame: 1 connection, 70 bytes
  sessions ended: closed 1

sensor ${ONE}, type 2 (meta header): 1 session, received 1,500 frames, 3,000,000 bytes
  no sink: no route took it, or nothing verified came
  rejected, bad-hmac: 1 frame, 500 bytes
  cut in mid-frame: 1 connection, 70 bytes
  sessions ended: closed 1

sensor ${TWO}, type 3 (log): 1 session, 1 open, received 10 frames, 1,000 bytes
  sink  unit    received  delivered  rejected  lost  in flight
  disk  frames        10          4         1     0          5
        bytes      1,000        400       100     0        500
  rejected, bad-hmac: 1 frame, 100 bytes

all sensors: received 3,010 frames, 6,001,000 bytes
  sink  unit     received  delivered  rejected    lost  in flight
  disk  frames      1,510      1,404         2      99          5
        bytes   3,001,000  2,900,400       600  99,500        500

open sessions: 1
  live: sensor ${TWO}, type 3 (log), worker 0, since 2026-01-01T00:00:00.000Z, received 10 frames, 1,000 bytes
    disk: in flight 5 frames, 500 bytes

connections refused before a session:
  handshake-failed: 12
workers that died: 1
  2026-01-02T00:00:00.000Z worker 1: 1 open session, lost 99 frames, 99,500 bytes

in balance
`,
  );
  journal.close();
});

test('JSON has the same, for one sensor where it is asked for', async () => {
  const dataDir = await ledgerOf(session('a'));
  const { journal, row } = openJournal(dataDir);
  const args = ['ledger', '--data-dir', dataDir, '--json'];
  const all = JSON.parse((await d4gw(args)).stdout);
  assert.equal(all.balanced, true);
  assert.equal(all.openSessions, 1);
  assert.deepEqual(all.received, of(1_510, 3_001_000));
  assert.deepEqual(all.refusals, { 'handshake-failed': 12 });
  const hex = TWO.replaceAll('-', '').toUpperCase();
  const one = JSON.parse((await d4gw([...args, '--sensor', hex, '--sessions'])).stdout);
  assert.deepEqual(
    one.sensors.map(({ sensor }: { sensor: string }) => sensor),
    [TWO],
  );
  assert.deepEqual(one.sessions[0].inFlight, { disk: of(5, 500) });

  // Folded and not yet released: in both places, and counted once.
  row.delivered(0, 5, 500);
  const store = openLedger(dataDir);
  await store.fold([row.totals('closed')]);
  await store.close();
  const folded = JSON.parse((await d4gw(args)).stdout);
  assert.equal(folded.openSessions, 0);
  assert.deepEqual(folded.received, of(1_510, 3_001_000));
  journal.close();
});

test('what does not balance is said with its place, and exits 1', async () => {
  const forged = session('b', { delivered: { disk: of(1_399, 2_900_000) } });
  const dataDir = await ledgerOf(session('a'), forged);
  const { code, stdout } = await d4gw(['ledger', '--data-dir', dataDir]);
  assert.equal(code, 1);
  const line =
    `out of balance: sensor ${ONE}, type 1 (pcap), sink disk: 3,000 frames received, ` +
    '2,799 delivered + 2 rejected + 198 lost + 0 in flight: 1 missing';
  assert.ok(stdout.endsWith(`\n${line}\nOUT OF BALANCE\n`), stdout);
  const json = await d4gw(['ledger', '--data-dir', dataDir, '--json']);
  assert.equal(json.code, 1);
  assert.equal(JSON.parse(json.stdout).imbalances.length, 1);
});

test('missing figures exit 1: a damaged row, a report that was none', async () => {
  const dataDir = await ledgerOf(session('a'));
  const { journal, path } = openJournal(dataDir);
  const bytes = readFileSync(path);
  bytes[sessionRowAt(0) + 50]! ^= 4;
  writeFileSync(path, bytes);
  const damaged = await d4gw(['ledger', '--data-dir', dataDir]);
  assert.equal(damaged.code, 1);
  assert.match(damaged.stdout, /note: .*worker-0\.journal: damaged rows: 1,/);
  journal.close();

  const spoiled = await ledgerOf(session('a', { received: of(-1, 0) }));
  const { code, stdout } = await d4gw(['ledger', '--data-dir', spoiled]);
  assert.equal(code, 1);
  assert.match(stdout, /1 session in no total, the last being:\n {2}session a counts -1/);
});

test('a journal whose process has died is told from one that is written', async () => {
  const dataDir = await ledgerOf();
  const { path } = openJournal(dataDir);
  const args = ['ledger', '--data-dir', dataDir];
  assert.doesNotMatch((await d4gw(args)).stdout, /has died/);
  const child = `
    const { LedgerJournal } = await import(process.argv[1]);
    const journal = new LedgerJournal(process.argv[2], { sinks: [], sessions: 1 });
    journal.openSession({ id: 'x', slot: 0, sensor: '${TWO}', type: 1, openedAt: 1 });
    journal.sync();`;
  const module = new URL('../../src/ledger/journal.js', import.meta.url).href;
  const left = join(dirname(path), 'worker-9.journal');
  const made = await run(process.execPath, ['--input-type=module', '-e', child, module, left]);
  assert.equal(made.code, 0, made.stderr);
  const { code, stdout } = await d4gw(args);
  assert.equal(code, 0);
  assert.match(
    stdout,
    /note: .*worker-9\.journal: process \d+ has died; .* when the gateway starts/,
  );
});

test('a wrong question gets its answer on one line', async () => {
  const empty = tempDir('cli-ledger');
  const none = await d4gw(['ledger', '--data-dir', empty]);
  assert.equal(none.code, 1);
  assert.match(none.stderr, /^d4gw: no ledger in .*: start the gateway first.*\n$/);
  const uuid = await d4gw(['ledger', '--data-dir', empty, '--sensor', 'nobody']);
  assert.equal(uuid.code, 2);
  assert.match(uuid.stderr, /^d4gw: --sensor nobody: expected a version 4 UUID\n$/);
  const config = join(empty, 'gateway.yaml');
  writeFileSync(
    config,
    `dataDir: ./elsewhere
listen: [{ tcp: { host: 127.0.0.1, port: 4444 } }]
sinks: { none: { kind: blackhole } }
routes: [{ match: {}, to: [none] }]
`,
  );
  const elsewhere = await d4gw(['ledger', '--config', config]);
  assert.equal(elsewhere.code, 1);
  assert.match(elsewhere.stderr, /elsewhere\/ledger/);
});
