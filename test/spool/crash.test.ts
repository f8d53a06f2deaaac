import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import { inFlightOf } from '../../src/spool/account.js';
import { RecordKind } from '../../src/spool/layout.js';
import { Spool } from '../../src/spool/spool.js';
import { HEADER_BYTES } from '../../src/wire/layout.js';
import { Random, seedOfRun } from '../assembly/harness.js';
import { tempDir } from '../sinks/files/rig.js';
import { framePayload, parsePayload } from './crash-frames.js';
import { sensorOf, within } from './model.js';

const ROUNDS = 6;
const PROGRAM = fileURLToPath(new URL('crash-child.js', import.meta.url));

interface Told {
  /** All up to it was on the disk. */
  synced: number;
  /** No number up to it may be given out again. */
  given: number;
  frames: Map<string, number>;
}

/** Runs a child until it is killed at a random moment; what it had told by then. */
async function killed(random: Random, args: string[]): Promise<Told> {
  const child = fork(PROGRAM, args, { stdio: 'inherit' });
  const told: Told = { synced: 0, given: 0, frames: new Map() };
  child.on('message', (message: { t: string; seq: number; frames: [string, number][] }) => {
    if (message.t === 'given') told.given = message.seq;
    if (message.t !== 'synced') return;
    told.synced = message.seq;
    for (const [id, frames] of message.frames) told.frames.set(id, frames);
  });
  // One that ended by itself failed, and said why.
  await Promise.race([once(child, 'message'), once(child, 'exit')]);
  assert.equal(child.exitCode, null);
  await new Promise((resolve) => setTimeout(resolve, random.below(250)));
  assert.equal(child.exitCode, null);
  const exit = once(child, 'exit');
  child.kill('SIGKILL');
  await exit;
  return told;
}

for (const persist of ['always', 'behind'] as const) {
  test(`after kill -9 everything synced is there, once, and accounted for: ${persist}`, async () => {
    const seed = seedOfRun();
    console.log(`seed ${seed}`);
    const random = new Random(seed);
    const { path: dir, remove } = tempDir();
    let given = 0;
    for (let round = 0; round < ROUNDS; round += 1) {
      const told = await killed(random, [dir, String(random.below(2 ** 31)), persist, `r${round}`]);
      given = Math.max(given, told.given);
      const spool = await Spool.open({
        dir,
        maxBytes: 64 * 1024 * 1024,
        segmentBytes: 300_000,
        persist,
        memoryBytes: 2 * 1024 * 1024,
        compress: 'none',
        log: pino({ level: 'silent' }),
      });
      assert.ok(spool.lastSeq >= told.synced);
      await readAll(spool, told, persist);
      const probe = { id: `p${round}`, sensor: sensorOf(9), type: 3, openedAt: new Date() };
      const ref = spool.openSession(probe);
      assert.ok(spool.lastSeq > given, 'a number was given out twice');
      spool.endSession(ref, 'closed', '');
      given = Math.max(given, spool.lastSeq);
      // A round in two leaves it all to the next.
      if (random.below(2) === 0) {
        sendAll(spool);
        spool.release(spool.lastSeq);
      }
      await spool.close();
    }
    remove();
  });
}

/** Reads all that is not released, and compares it with what was told and with the account. */
async function readAll(spool: Spool, told: Told, persist: 'always' | 'behind'): Promise<void> {
  await spool.flush();
  const next = new Map<string, number>();
  const there = new Map<string, { frames: number; bytes: number }>();
  const ended = new Set<string>();
  const reader = spool.blocks(spool.cursor + 1);
  let last = spool.cursor;
  while (last < spool.lastSeq) {
    const block = await within(reader.next());
    for (const { seq, kind, session, data } of block!.records()) {
      if (seq <= spool.cursor) continue;
      assert.ok(seq > last, `record ${seq} came twice`);
      last = seq;
      assert.ok(session, `record ${seq} has no session`);
      if (kind === RecordKind.END) {
        assert.ok(!ended.has(session.id), `${session.id} ended twice`);
        ended.add(session.id);
      }
      if (kind !== RecordKind.FRAME) continue;
      const { id, index } = parsePayload(data.subarray(HEADER_BYTES));
      assert.equal(id, session.id);
      assert.ok(data.subarray(HEADER_BYTES).equals(framePayload(id, index)));
      const expected = next.get(id) ?? index;
      // What was released before it had to be written may lie between.
      assert.ok(
        persist === 'behind' ? index >= expected : index === expected,
        `${id}: frame ${index} in place of ${expected}`,
      );
      next.set(id, index + 1);
      const key = session.sensor;
      const sum = there.get(key) ?? { frames: 0, bytes: 0 };
      sum.frames += 1;
      sum.bytes += data.length - HEADER_BYTES;
      there.set(key, sum);
    }
  }
  reader.close();
  for (const [id, frames] of told.frames) {
    const held = spool.account.held(id)?.frames ?? 0;
    assert.ok(held >= frames, `${id}: ${held} held, ${frames} were synced`);
    assert.equal(next.get(id) ?? held, held, `${id}: the account has other frames than the spool`);
    assert.ok(ended.has(id) || next.get(id) === undefined, `${id} has no end`);
  }
  for (const { sensor, amounts } of spool.account.streams) {
    assert.deepEqual(inFlightOf(amounts), there.get(sensor) ?? { frames: 0, bytes: 0 }, sensor);
    assert.equal(amounts['dropped/damaged'], undefined, 'nothing was lost');
  }
}

function sendAll(spool: Spool): void {
  for (const { sensor, type, amounts } of spool.account.streams) {
    const { frames, bytes } = inFlightOf(amounts);
    spool.account.add(sensor, type, 'sent', frames, bytes);
  }
}
