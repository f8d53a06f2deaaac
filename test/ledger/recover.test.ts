import assert from 'node:assert/strict';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { GatewayError } from '../../src/errors.js';
import { balance } from '../../src/ledger/balance.js';
import { LedgerJournal } from '../../src/ledger/journal.js';
import { FILE_INTENTS, fileRowAt, sessionRowAt } from '../../src/ledger/journal-layout.js';
import { listJournals } from '../../src/ledger/journal-names.js';
import { type RepairPart, recoverJournal } from '../../src/ledger/recover.js';
import { readLedger } from '../../src/ledger/report.js';
import { type LedgerStore, openLedger } from '../../src/ledger/store.js';
import { start } from '../support/process.js';
import { tempDir } from '../support/tmp.js';
import {
  bytesOnDisk,
  META,
  repairPart,
  SINKS,
  Simulation,
  seeded,
  sensorUuid,
} from './simulation.js';

const SEED = Number(process.env.D4GW_SEED ?? Date.now() % 2 ** 31);
const TIME_BOX_MS = 6_000;
const CHILD = new URL('./child.js', import.meta.url).pathname;
const ENDED = { ownerEnded: true };

interface Expected {
  opened: number;
  frames?: (sensor: string, type: number) => { least: number; most: number };
}

/** Every promise of the ledger, against the files themselves. */
function check(store: LedgerStore, files: string, expected: Expected): void {
  const { totals } = store.read();
  let sessions = 0;
  for (const total of totals) {
    assert.deepEqual(balance(total), []);
    sessions += total.sessions;
    const { sensor, type } = total;
    const delivered = total.delivered.disk ?? { frames: 0, bytes: 0 };
    assert.equal(delivered.bytes, bytesOnDisk(files, sensor, type), `${sensor} ${type}`);
    const frames = expected.frames?.(sensor, type);
    if (!frames) continue;
    const said = `${delivered.frames} frames of ${frames.least} to ${frames.most}`;
    assert.ok(delivered.frames >= frames.least && delivered.frames <= frames.most, said);
  }
  assert.ok(sessions <= expected.opened, `${sessions} of ${expected.opened} sessions`);
  // No file of a sensor that the totals do not have.
  for (const sensor of readdirSync(files)) {
    for (const type of readdirSync(join(files, sensor))) {
      const known = totals.some((total) => total.sensor === sensor && total.type === Number(type));
      assert.ok(known || bytesOnDisk(files, sensor, Number(type)) === 0, `${sensor} ${type}`);
    }
  }
}

type Death = 'before' | 'cut' | 'after';

/** A repair that hangs at its n-th file, as where its process is killed. */
function dyingRepair(repairs: number, death: Death, hung: () => void): RepairPart {
  let left = repairs;
  const hang = () => {
    hung();
    return new Promise<never>(() => {});
  };
  return async (path) => {
    left -= 1;
    if (left >= 0) return await repairPart(path);
    if (death === 'after') {
      const result = await repairPart(path);
      // A second recovery cannot find what has another name: it goes by the intents.
      if (!existsSync(path.slice(0, -'.part'.length))) return result;
    } else if (death === 'cut') {
      const cutShort = () => {
        throw new Error('killed');
      };
      await repairPart(path, undefined, undefined, cutShort).catch(() => {});
    }
    return await hang();
  };
}

/** A repair that fails at its first files, before or after it has cut them. */
function failingRepair(failures: number, random: (below: number) => number): RepairPart {
  let left = failures;
  return async (path, signal) => {
    left -= 1;
    if (left < 0) return await repairPart(path, signal);
    const fail = () => {
      throw new Error('no room');
    };
    if (random(2) === 0) await repairPart(path, signal, undefined, fail);
    return fail();
  };
}

const isKept = (name: string) => /^worker-0\.[0-9a-f-]{36}\.journal$/.test(name);

test('a worker killed at any point is settled: all balances, nothing is counted twice', async (t) => {
  t.diagnostic(`seed ${SEED}`);
  const until = Date.now() + TIME_BOX_MS;
  for (let run = 0; run < 400 && Date.now() < until; run += 1) {
    const seed = SEED + run;
    try {
      await oneLife(seed);
    } catch (error) {
      t.diagnostic(`D4GW_SEED=${seed} repeats it`);
      throw error;
    }
  }
});

async function oneLife(seed: number): Promise<void> {
  const random = seeded(seed);
  const dataDir = tempDir('ledger');
  const files = join(dataDir, 'files');
  mkdirSync(files);
  const store = openLedger(dataDir);
  try {
    const path = join(dataDir, 'ledger', 'worker-0.journal');
    const journal = new LedgerJournal(path, { sinks: SINKS, sessions: 8 });
    const deaf = random(3) === 0;
    const death = (['before', 'cut', 'after'] as const)[random(3)]!;
    const simulation = new Simulation(journal, files, random, {
      prefix: `${seed}`,
      slots: 8,
      // The primary may be gone before it hears of an end, or the worker before it is told.
      fold: async (totals) => {
        if (!deaf || random(2) === 0) await store.fold([totals]);
        return !deaf;
      },
    });
    for (let steps = random(150); steps > 0; steps -= 1) await simulation.step();
    simulation.die();
    const copy = `${path}.copy`;
    copyFileSync(path, copy);
    if (random(3) === 0) {
      await new Promise<void>((hung) => {
        const repair = dyingRepair(random(4), death, hung);
        const once = { ...ENDED, repairsAtOnce: 1 };
        void recoverJournal(path, store, repair, once).then(() => hung());
      });
    }
    // Its disk may be full or away: what is settled then stays so, the rest comes later.
    const refusals = random(2) * random(6);
    let report = await recoverJournal(path, store, failingRepair(refusals, random), ENDED);
    assert.equal(report.errors.length, report.unsettledFiles);
    if (report.kept !== undefined) {
      assert.ok(report.unsettledFiles > 0 && report.unsettledFiles <= refusals);
      assert.equal(existsSync(path), false);
      for (const total of store.read().totals) assert.deepEqual(balance(total), []);
      report = await recoverJournal(report.kept, store, repairPart, ENDED);
    }
    assert.deepEqual([report.errors, report.kept], [[], undefined]);
    assert.deepEqual(readdirSync(join(dataDir, 'ledger')).filter(isKept), []);
    const expected = {
      opened: simulation.opened,
      frames: (sensor: string, type: number) => simulation.framesInFiles(sensor, type),
    };
    check(store, files, expected);
    assert.equal(existsSync(path), false);
    const before = store.read();
    assert.equal(before.workerDeaths, 1);
    const lost = before.totals.map(({ lost }) => lost.disk ?? { frames: 0, bytes: 0 });
    const told = before.recoveries[0]!.lost;
    assert.ok(told.bytes >= lost.reduce((sum, { bytes }) => sum + bytes, 0), `${told.bytes} told`);
    // Killed after all was added, before the journal was removed.
    copyFileSync(copy, path);
    await recoverJournal(path, store, repairPart, ENDED);
    assert.deepEqual(store.read(), before);
  } finally {
    await store.close();
  }
}

test('a worker killed by SIGKILL under load is settled', async () => {
  const dataDir = tempDir('ledger');
  const files = join(dataDir, 'files');
  mkdirSync(files);
  const store = openLedger(dataDir);
  const path = join(dataDir, 'ledger', 'worker-0.journal');
  try {
    let opened = 0;
    for (let life = 0; life < 3; life += 1) {
      const seed = SEED + life;
      const worker = start(process.execPath, [CHILD, 'simulate', path, files, `${seed}`]);
      await worker.waitFor(/ended 20\n/);
      await assert.rejects(recoverJournal(path, store, repairPart), /still writes/);
      worker.kill('SIGKILL');
      await worker.exit();
      opened += Number(/opened (\d+)\n(?!.*opened)/s.exec(worker.stdout)?.[1]);
      const report = await recoverJournal(path, store, repairPart);
      assert.deepEqual(report.errors, []);
      assert.equal(report.died, true);
      check(store, files, { opened });
      const { workerDeaths, recoveries, totals } = store.read();
      assert.equal(workerDeaths, life + 1);
      assert.deepEqual(recoveries.at(-1)?.lost, {
        frames: report.lostFrames,
        bytes: report.lostBytes,
      });
      // The child folds nothing: every end that it reported is known from its journal alone.
      const ended = totals.reduce((sum, total) => sum + (total.ends.closed ?? 0), 0);
      assert.ok(ended >= 20 * (life + 1), `${ended} ended`);
    }
  } finally {
    await store.close();
  }
});

test('a meta header counts as delivered when its file stands, and not before', async () => {
  const dataDir = tempDir('ledger');
  const store = openLedger(dataDir);
  const path = join(dataDir, 'ledger', 'worker-0.journal');
  try {
    const journal = new LedgerJournal(path, { sinks: ['disk'], sessions: 8 });
    // Where the worker dies: as its sink goes on, and last where only the stream's file is.
    const moments = [
      'journaled',
      'begun',
      'whole',
      'renamed',
      'released',
      'next file',
      'file alone',
    ];
    for (const [slot, moment] of moments.entries()) {
      const reached = (other: string) => slot < 6 && slot >= moments.indexOf(other);
      const id = `s${slot}`;
      const sensor = sensorUuid(slot);
      const row = journal.openSession({ id, slot, sensor, type: 254, openedAt: 1 }, [0]);
      row.received(9, 90);
      const session = { id, slot, sensor, type: 254, openedAt: new Date(1), meta: META };
      const file = join(dataDir, id);
      const open = (part: string, framesBefore: number, bytesBefore: number) =>
        journal.open({ sink: 'disk', path: part, session, framesBefore, bytesBefore });
      const record = reached('journaled') ? open(`${file}.json.part`, 3, 0) : undefined;
      if (reached('begun')) writeFileSync(`${file}.json.part`, META.bytes.subarray(0, 5));
      if (reached('whole')) writeFileSync(`${file}.json.part`, META.bytes);
      if (reached('renamed')) renameSync(`${file}.json.part`, `${file}.json`);
      if (reached('released')) {
        // The three frames before it had no bytes.
        row.delivered(0, 3 + META.frames, META.bytes.length);
        record?.release();
      }
      if (moment === 'next file') open(`${file}_0.dat.part`, 3 + META.frames, META.bytes.length);
      if (moment === 'file alone') open(`${file}_0.dat.part`, 3, 0);
      if (moment.includes('file')) writeFileSync(`${file}_0.dat.part`, '');
    }
    journal.sync();
    const report = await recoverJournal(path, store, repairPart, ENDED);
    assert.deepEqual(report.errors, []);
    const nothing = { frames: 3, bytes: 0 };
    const stored = { frames: 3 + META.frames, bytes: META.bytes.length };
    assert.deepEqual(
      store.read().totals.map(({ delivered }) => delivered.disk),
      [nothing, nothing, nothing, stored, stored, stored, nothing],
    );
    const left = readdirSync(dataDir).filter((name) => /json|dat/.test(name));
    assert.deepEqual(left.sort(), ['s3.json', 's4.json', 's5.json']);
  } finally {
    await store.close();
  }
});

test('a damaged row costs its own session alone, and is said', async () => {
  const dataDir = tempDir('ledger');
  const files = join(dataDir, 'files');
  const store = openLedger(dataDir);
  const path = join(dataDir, 'ledger', 'worker-0.journal');
  try {
    const journal = new LedgerJournal(path, { sinks: SINKS, sessions: 8 });
    mkdirSync(files);
    const records = Array.from({ length: 4 }, (_, slot) => {
      const id = `s${slot}`;
      const sensor = sensorUuid(slot);
      const row = journal.openSession({ id, slot, sensor, type: 1, openedAt: 1 }, [1]);
      const part = join(files, `${slot}_0.dat.part`);
      const session = { id, slot, sensor, type: 1, openedAt: new Date(1) };
      const place = { sink: 'disk', path: part, session, framesBefore: 0, bytesBefore: 0 };
      const record = journal.open(place);
      record.intent(8, 1, 8);
      writeFileSync(part, 'abcdefgh');
      row.received(2, 20);
      return record;
    });
    journal.sync();
    damage(path, sessionRowAt(1) + 40);
    damage(path, fileRowAt({ sessions: 8 }, records[2]!.index) + 100);
    // The newest intent alone: the one before it, of an empty file, counts.
    damage(path, fileRowAt({ sessions: 8 }, records[3]!.index) + FILE_INTENTS + 8);
    const report = await recoverJournal(path, store, repairPart, ENDED);
    assert.equal(report.errors.length, 1);
    assert.match(report.errors[0]!, /damaged rows: 2,/);
    const { totals } = store.read();
    const disk = totals.map((total) => [total.sensor, total.delivered.disk, total.lost.disk]);
    assert.deepEqual(disk, [
      [sensorUuid(0), { frames: 1, bytes: 8 }, { frames: 1, bytes: 12 }],
      [sensorUuid(2), { frames: 0, bytes: 0 }, { frames: 2, bytes: 20 }],
      [sensorUuid(3), { frames: 0, bytes: 0 }, { frames: 2, bytes: 20 }],
    ]);
    // All files but that of the damaged row are finished.
    assert.deepEqual(readdirSync(files).sort(), ['0_0.dat', '1_0.dat', '2_0.dat.part', '3_0.dat']);
  } finally {
    await store.close();
  }
});

/** A dead worker that wrote 6 of 8 bytes to a file in each directory, each of a session. */
async function deadWorker(directories: readonly string[]) {
  const dataDir = tempDir('ledger');
  const store = openLedger(dataDir);
  const path = join(dataDir, 'ledger', 'worker-0.journal');
  const journal = new LedgerJournal(path, { sinks: ['disk'], sessions: 3 });
  const parts = directories.map((directory, slot) => {
    const id = `s${slot}`;
    const sensor = sensorUuid(slot);
    const row = journal.openSession({ id, slot, sensor, type: 1, openedAt: 1 });
    mkdirSync(join(dataDir, directory), { recursive: true });
    const part = join(dataDir, directory, `${slot}_0.dat.part`);
    const session = { id, slot, sensor, type: 1, openedAt: new Date(1) };
    const place = { sink: 'disk', path: part, session, framesBefore: 5, bytesBefore: 50 };
    journal.open(place).intent(8, 6, 58);
    writeFileSync(part, 'abcdef');
    row.received(9, 90);
    row.delivered(0, 5, 50);
    return part;
  });
  journal.sync();
  const settled = () =>
    store.read().totals.map(({ delivered, lost }) => [delivered.disk, lost.disk]);
  return { dataDir, store, path, parts, settled };
}

const amounts = (delivered: [number, number], lost: [number, number]) =>
  [delivered, lost].map(([frames, bytes]) => ({ frames, bytes }));

test('a session waits for its file that cannot be repaired; others do not', async () => {
  const { dataDir, store, path, parts, settled } = await deadWorker(['a', 'b']);
  try {
    rmSync(parts[1]!);
    const refuse = async () => {
      throw Object.assign(new Error('no room'), { code: 'ENOSPC' });
    };
    const first = await recoverJournal(path, store, refuse, ENDED);
    assert.match(first.errors.join(), /could not be repaired: no room.*is gone/);
    assert.deepEqual([first.unsettledFiles, first.sessions], [1, 1]);
    assert.deepEqual(settled(), [amounts([5, 50], [4, 40])]);

    // Kept, beside the journal of the worker that runs again, and told by `d4gw ledger`.
    const again = new LedgerJournal(path, { sinks: ['disk'], sessions: 3 });
    assert.deepEqual(listJournals(dataDir), [first.kept, path].sort());
    const shown = await readLedger(dataDir);
    assert.deepEqual(
      shown.sessions.map(({ id, inFlight }) => [id, inFlight.disk]),
      [['s0', { frames: 4, bytes: 40 }]],
    );
    assert.equal(shown.balanced, true);
    assert.equal(shown.problems.length, 1);
    assert.match(shown.problems[0]!, /process \d+ has died; it left files: 1,/);

    const second = await recoverJournal(first.kept!, store, refuse, ENDED);
    assert.deepEqual([second.kept, second.sessions, second.lostFrames], [first.kept, 0, 0]);
    const last = await recoverJournal(first.kept!, store, repairPart, ENDED);
    assert.deepEqual([last.kept, last.sessions, last.lostBytes], [undefined, 1, 36]);
    assert.deepEqual(listJournals(dataDir), [path]);
    assert.deepEqual(settled(), [amounts([5, 54], [4, 36]), amounts([5, 50], [4, 40])]);
    const { recoveries, workerDeaths } = store.read();
    assert.deepEqual(
      [workerDeaths, recoveries.map(({ sessions, lost }) => [sessions, lost])],
      [1, [[2, { frames: 8, bytes: 76 }]]],
    );
    again.close();
  } finally {
    await store.close();
  }
});

test('a file whose directory is away waits for it; one given up counts as lost', async () => {
  for (const giveUp of [false, true]) {
    const { dataDir, store, path, parts, settled } = await deadWorker(['a', 'volume/b']);
    try {
      renameSync(join(dataDir, 'volume'), join(dataDir, 'unmounted'));
      const first = await recoverJournal(path, store, repairPart, ENDED);
      assert.equal(first.unsettledFiles, 1);
      assert.match(first.errors.join(), /1_0\.dat\.part.*its directory is missing/);
      if (!giveUp) renameSync(join(dataDir, 'unmounted'), join(dataDir, 'volume'));
      const next = await recoverJournal(first.kept!, store, repairPart, { ...ENDED, giveUp });
      assert.deepEqual([next.unsettledFiles, next.kept], [0, undefined]);
      const whole = amounts([5, 54], [4, 36]);
      assert.deepEqual(settled(), [whole, giveUp ? amounts([5, 50], [4, 40]) : whole]);
      assert.equal(existsSync(parts[1]!.slice(0, -'.part'.length)), !giveUp);
    } finally {
      await store.close();
    }
  }
});

test('a file that is none to repair, or given up, counts with what was written to it', async () => {
  for (const giveUp of [false, true]) {
    const { dataDir, store, path, settled } = await deadWorker(['a']);
    try {
      const refuse = async () => {
        if (giveUp) throw new Error('no room');
        throw new GatewayError('D4GW_E_SINK', 'left alone');
      };
      const report = await recoverJournal(path, store, refuse, { ...ENDED, giveUp });
      assert.deepEqual([report.errors.length, report.unsettledFiles], [1, 0]);
      assert.deepEqual(settled(), [amounts([5, 56], [4, 34])]);
      assert.deepEqual(listJournals(dataDir), []);
    } finally {
      await store.close();
    }
  }
});

test('a repair that takes too long is told to end, and waited for', async () => {
  const { store, path, settled } = await deadWorker(['a']);
  // As the file operation of a repair would, it keeps the process up.
  const busy = setInterval(() => {}, 1_000);
  try {
    let ended = false;
    const slow: RepairPart = async (_part, signal) => {
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      await new Promise((resolve) => setImmediate(resolve));
      ended = true;
      throw signal.reason;
    };
    const report = await recoverJournal(path, store, slow, { ...ENDED, repairTimeoutMs: 10 });
    assert.equal(ended, true);
    assert.match(report.errors.join(), /it took over 10 ms/);
    assert.deepEqual([report.unsettledFiles, settled()], [1, []]);
  } finally {
    clearInterval(busy);
    await store.close();
  }
});

test('a recovery that is given up leaves all to the next', async () => {
  const { dataDir, store, path, settled } = await deadWorker(['a', 'b']);
  try {
    const abort = new AbortController();
    let repairs = 0;
    const slow: RepairPart = async (part, signal) => {
      repairs += 1;
      if (repairs === 1) return await repairPart(part);
      const aborted = new Promise((resolve) => signal.addEventListener('abort', resolve));
      abort.abort(new Error('stopped'));
      await aborted;
      throw signal.reason;
    };
    const options = { ...ENDED, repairsAtOnce: 1, signal: abort.signal };
    await assert.rejects(recoverJournal(path, store, slow, options), /stopped/);
    assert.deepEqual([settled(), listJournals(dataDir)], [[], [path]]);
    await recoverJournal(path, store, repairPart, ENDED);
    const whole = amounts([5, 54], [4, 36]);
    assert.deepEqual([settled(), listJournals(dataDir)], [[whole, whole], []]);
  } finally {
    await store.close();
  }
});

test('what is no journal is put aside; what was never begun is nothing', async () => {
  const dataDir = tempDir('ledger');
  const store = openLedger(dataDir);
  const path = join(dataDir, 'ledger', 'worker-0.journal');
  try {
    const none = await recoverJournal(path, store, repairPart);
    assert.deepEqual([none.died, none.errors], [false, []]);
    writeFileSync(path, '');
    assert.deepEqual((await recoverJournal(path, store, repairPart)).errors, []);
    assert.equal(existsSync(path), false);
    writeFileSync(path, 'x'.repeat(5000));
    assert.match((await recoverJournal(path, store, repairPart)).errors.join(), /is no journal/);
    assert.equal(existsSync(`${path}.damaged`), true);
    assert.equal(store.read().workerDeaths, 0);
  } finally {
    await store.close();
  }
});

function damage(path: string, at: number): void {
  const bytes = readFileSync(path);
  bytes[at]! ^= 1;
  writeFileSync(path, bytes);
}
