import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { pino } from 'pino';
import { segmentsOf } from '../../src/spool/spool-recovery.js';
import { Random, seedOfRun } from '../assembly/harness.js';
import { tempDir } from '../sinks/files/rig.js';
import { Model } from './model.js';

const BUDGET_MS = 4_000;
const KIB = 1024;
const log = pino({ level: 'silent' });

const seed = seedOfRun();
console.log(`seed ${seed}`);

for (const persist of ['always', 'behind'] as const) {
  for (const compress of ['none', 'lz4'] as const) {
    test(`does what a list in memory does: ${persist}, ${compress}`, async () => {
      const random = new Random(seed);
      const deadline = performance.now() + BUDGET_MS;
      for (let round = 0; round === 0 || performance.now() < deadline; round += 1) {
        const { path: dir, remove } = tempDir();
        const memoryBytes = (64 + random.below(2_000)) * KIB;
        const maxBytes = (1_000 + random.below(8_000)) * KIB;
        const segmentBytes = (50 + random.below(1_000)) * KIB;
        const options = { dir, maxBytes, segmentBytes, persist, memoryBytes, compress, log };
        const model = new Model(random, options);
        await model.open();
        for (let steps = 20 + random.below(150); steps > 0; steps -= 1) {
          await step(model, random);
        }
        await model.readAll();
        await model.checkAccount();
        model.release(true);
        await model.checkAccount();
        await model.spool.close();
        assert.deepEqual(await segmentsOf(dir), [], 'all was released');
        assert.deepEqual(readdirSync(dir), ['account']);
        remove();
      }
    });
  }
}

async function step(model: Model, random: Random): Promise<void> {
  const { spool } = model;
  const dice = random.below(100);
  if (spool.isFull) {
    // Everything that was read goes, or else the oldest.
    if (random.below(2) === 0) model.drop();
    else {
      await model.readOne();
      model.release(true);
    }
  } else if (dice < 10) model.openSession();
  else if (dice < 55) {
    for (let frames = random.below(40); frames > 0; frames -= 1) {
      model.append(random.below(8) === 0 ? random.below(300_000) : random.below(2_000));
    }
  } else if (dice < 62) model.endSession();
  else if (dice < 78) await model.readOne();
  else if (dice < 84) model.release();
  else if (dice < 87) model.reread();
  else if (dice < 90) await spool.flush();
  else if (dice < 92) await spool.sync();
  else if (dice < 94) model.drop();
  else if (dice < 96) await model.checkAccount();
  else if (dice < 98) await model.reopen();
  else await new Promise((resolve) => setImmediate(resolve));
}
