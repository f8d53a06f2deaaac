import { openSync, writeSync } from 'node:fs';
import type { FilesSinkOptions } from '../../../src/sinks/files/context.js';
import type { FileJournal } from '../../../src/sinks/sink.js';
import { crashStream } from './crash-stream.js';
import { Rig, SENSOR } from './rig.js';

/**
 * Writes through a sink until it is killed. What the journal is told goes to a file with plain
 * writes, so that it outlives the process as the real one does.
 */
const [dir, journalPath, compress, pace] = process.argv.slice(2) as [
  string,
  string,
  FilesSinkOptions['compress'],
  'trickle' | 'burst',
];
const isBurst = pace === 'burst';
const fd = openSync(journalPath, 'a');
const tell = (entry: object) => writeSync(fd, `${JSON.stringify(entry)}\n`);

let files = 0;
const journal: FileJournal = {
  open: ({ path, session, framesBefore, bytesBefore }) => {
    const file = files;
    files += 1;
    tell({ file, path, session: session.id, framesBefore, bytesBefore });
    return {
      intent: (fileBytes, frames, bytes) => tell({ file, fileBytes, frames, bytes }),
      release: () => tell({ file, released: true }),
    };
  },
};

const limits = isBurst
  ? { flushMs: 50, rotateBytes: 1_500_000 }
  : { flushMs: 3, rotateBytes: 60_000 };
const rig = new Rig(dir, { compress, ...limits }, { journal, poolBytes: 32 * 1024 * 1024 });
const streams = [0, 1, 2].map((index) => {
  const sensor = SENSOR.replace('3b0a4a52', index.toString(16).padStart(8, '0'));
  return rig.sink.open(rig.session(1, undefined, sensor));
});
const content = crashStream();
let saidDirect = false;
process.send?.('writing');
for (let at = 0; at < content.length; ) {
  const size = 1 + ((at * 31) % (isBurst ? 90_000 : 1400));
  for (const stream of streams) rig.write(stream, content.subarray(at, at + size));
  at += size;
  if (isBurst) await new Promise((resolve) => setTimeout(resolve, 1));
  else if (at % 3 === 0) await new Promise((resolve) => setImmediate(resolve));
  if (rig.sink.stats.bytesDirect > 0 && !saidDirect) saidDirect = process.send?.('direct') ?? true;
}
process.send?.('done');
setInterval(() => {}, 1000);
