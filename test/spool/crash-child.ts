import { pino } from 'pino';
import { Spool } from '../../src/spool/spool.js';
import { Random } from '../assembly/harness.js';
import { framePayload } from './crash-frames.js';
import { frameOf, sensorOf } from './model.js';

/**
 * Appends to a spool as fast as it can, reads and releases some of it, and tells its parent what is
 * synced and what is released. It goes on until it is killed.
 */
const [dir, seedText, persist, run] = process.argv.slice(2) as [
  string,
  string,
  'always' | 'behind',
  string,
];
const random = new Random(Number(seedText));
const spool = await Spool.open({
  dir,
  maxBytes: 64 * 1024 * 1024,
  segmentBytes: 300_000,
  persist,
  memoryBytes: 2 * 1024 * 1024,
  compress: random.pick(['none', 'lz4']),
  log: pino({ level: 'silent' }),
});

interface Live {
  id: string;
  ref: number;
  sensor: string;
  frames: number;
}

let ids = 0;
let sessions: Live[] = [];
const reader = spool.blocks(spool.cursor + 1);
const isReading = random.below(2) === 1;

function append(): void {
  if (sessions.length < 4) {
    const id = `${run}.${ids}`;
    ids += 1;
    const sensor = sensorOf(random.below(5));
    const ref = spool.openSession({ id, sensor, type: 3, openedAt: new Date() });
    sessions.push({ id, ref, sensor, frames: 0 });
  }
  const session = random.pick(sessions);
  const frame = frameOf(session.sensor, 3, framePayload(session.id, session.frames));
  spool.append(session.ref, frame, 0, frame.length);
  session.frames += 1;
  if (random.below(200) !== 0) return;
  spool.endSession(session.ref, 'closed', '');
  sessions = sessions.filter((other) => other !== session);
}

async function release(): Promise<void> {
  const block = await reader.next();
  if (block === undefined) return;
  for (const { sensor, type, frames, bytes } of amounts(block.sessions)) {
    spool.account.add(sensor, type, 'sent', frames, bytes);
  }
  spool.release(block.lastSeq);
}

function amounts(
  spans: readonly { session: { sensor: string; type: number }; frames: number; bytes: number }[],
) {
  return spans.map(({ session: { sensor, type }, frames, bytes }) => ({
    sensor,
    type,
    frames,
    bytes,
  }));
}

process.send!({ t: 'open' });
for (;;) {
  for (let frames = 1 + random.below(60); frames > 0; frames -= 1) append();
  if (isReading && random.below(3) === 0) await release();
  if (random.below(4) === 0) {
    const seq = spool.lastSeq;
    // The same of each session: what was appended before, held after.
    const frames = sessions.map(({ id, frames }) => [id, frames]);
    await spool.sync();
    process.send!({ t: 'synced', seq, frames });
  }
  process.send!({ t: 'given', seq: spool.lastSeq });
  await new Promise((resolve) => setImmediate(resolve));
}
