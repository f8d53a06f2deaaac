import { LedgerJournal } from '../../src/ledger/journal.js';
import { SINKS, Simulation, seeded, sensorUuid } from './simulation.js';

/**
 * A worker in a process of its own, to be killed or read beside.
 *
 *     simulate JOURNAL FILES SEED   works on for ever, nobody folds its sessions
 *     count JOURNAL                 one session whose bytes are always ten a frame
 */
const [mode, path, files, seed] = process.argv.slice(2);

async function simulate(): Promise<void> {
  const random = seeded(Number(seed));
  const journal = new LedgerJournal(path!, { sinks: SINKS, sessions: 4096 });
  const simulation = new Simulation(journal, files!, random, {
    prefix: seed!,
    slots: 4096,
    fold: async () => false,
  });
  let opened = 0;
  let ended = 0;
  for (let step = 0; ; step += 1) {
    await simulation.step();
    if (simulation.opened > opened) {
      // Said before anything of the session is written, so never too late.
      opened = simulation.opened;
      process.stdout.write(`opened ${opened}\n`);
    }
    if (step % 10 === 0) journal.sync();
    if (simulation.opened - simulation.sessions.size > ended) {
      ended += 1;
      process.stdout.write(`ended ${ended}\n`);
    }
    if (step % 100 === 0) await new Promise(setImmediate);
  }
}

async function count(): Promise<void> {
  const journal = new LedgerJournal(path!, { sinks: ['null'], sessions: 64 });
  const rows = Array.from({ length: 64 }, (_, slot) =>
    journal.openSession(
      { id: `${slot}`, slot, sensor: sensorUuid(slot), type: 1, openedAt: 1 },
      [0],
    ),
  );
  for (let frames = 1; ; frames += 1) {
    for (const row of rows) {
      row.received(frames, frames * 10);
      row.delivered(0, 1, 10);
    }
    journal.sync();
    if (frames === 10) process.stdout.write('counting\n');
    if (frames % 100 === 0) await new Promise(setImmediate);
  }
}

await (mode === 'simulate' ? simulate() : count());
