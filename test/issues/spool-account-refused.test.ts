import assert from 'node:assert/strict';
import { type Mock, mock, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { SpoolAccount } from '../../src/spool/account.js';
import { Spool } from '../../src/spool/spool.js';
import { segmentsOf } from '../../src/spool/spool-recovery.js';
import { frameOf, sensorOf, within } from '../spool/model.js';
import { tempDir } from '../support/tmp.js';

const SENSOR = sensorOf(1);
const DEADLINE_MS = 10_000;

function open(dir: string, persist: 'always' | 'behind' = 'always'): Promise<Spool> {
  return Spool.open({
    dir,
    maxBytes: 64 * 1024 * 1024,
    memoryBytes: 1024 * 1024,
    segmentBytes: 10_000,
    persist,
    compress: 'none',
    log: pino({ level: 'silent' }),
  });
}

function fill(spool: Spool, id: string, frames: number): void {
  const ref = spool.openSession({ id, sensor: SENSOR, type: 3, openedAt: new Date() });
  const frame = frameOf(SENSOR, 3, Buffer.alloc(1_000));
  for (let index = 0; index < frames; index += 1) spool.append(ref, frame, 0, frame.length);
  spool.endSession(ref, 'closed', '');
}

/** A disk that takes nothing of any account. */
function refuse(): Mock<SpoolAccount['commit']> {
  return mock.method(SpoolAccount.prototype, 'commit', () => {
    throw new Error('the disk refuses');
  });
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + DEADLINE_MS;
  while (!(await condition())) {
    assert.ok(performance.now() < deadline, 'in time');
    await sleep(20);
  }
}

/** The next start counted what was in them as dropped, though it was sent. */
test('a segment stays until the commit that releases it', async () => {
  const dir = tempDir('spool');
  const spool = await open(dir);
  fill(spool, 'a', 100);
  await within(spool.flush());
  await sleep(200);
  const before = await segmentsOf(dir);
  assert.ok(before.length > 0);
  const refusal = refuse();
  spool.count({ sensor: SENSOR, type: 3 }, 'sent', 100, 100_000);
  spool.release(spool.lastSeq);
  await until(() => refusal.mock.callCount() > 0);
  await sleep(100);
  assert.deepEqual(await segmentsOf(dir), before);
  refusal.mock.restore();
  await until(async () => (await segmentsOf(dir)).length === 0);
  await spool.close();
});

/** It threw, and with it the sink and the worker. */
test('a spool opens while the disk refuses its account: it sends what it has, and takes no more', async () => {
  const dir = tempDir('spool');
  const before = await open(dir);
  fill(before, 'a', 20);
  await before.close();
  const refusal = refuse();
  const spool = await open(dir);
  assert.equal(spool.isFailing, true);
  assert.equal(spool.isFull, true);
  assert.match(spool.lastError!.text, /the disk refuses/);
  const reader = spool.blocks(0);
  const first = await within(reader.next());
  assert.equal(first!.firstSeq, 1);
  let hasRoom = false;
  spool.onRoom(() => {
    hasRoom = true;
  });
  refusal.mock.restore();
  await until(() => hasRoom);
  assert.equal(spool.isFailing, false);
  assert.equal(spool.isFull, false);
  fill(spool, 'b', 1);
  const last = spool.lastSeq;
  await until(async () => (await within(reader.next()))!.lastSeq === last);
  reader.close();
  await spool.close();
});

/** Its numbers would be given out again after a crash, and a receiver would take the new for the old. */
test('nothing that is new leaves a spool before its numbers are set aside', async () => {
  const refusal = refuse();
  const spool = await open(tempDir('spool'), 'behind');
  const reader = spool.blocks(0);
  fill(spool, 'a', 1);
  let isGiven = false;
  const given = reader.next().then(() => {
    isGiven = true;
  });
  await sleep(300);
  assert.equal(isGiven, false);
  refusal.mock.restore();
  await within(given);
  reader.close();
  await spool.close();
});
