import { writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { describeMachine, loadAverage, machineLines } from '../machine.js';
import { removeDirectory } from '../proc/owned.js';
import { catchUp } from './catch-up.js';
import { deadRelay } from './dead.js';
import { type RelayKind, surroundings } from './surroundings.js';

/** `npm run bench:outage`: what a relay does whose server is away, and comes back. */

const GIB = 1024 ** 3;
const MIB = 1024 ** 2;
/** Of the rate with an empty spool. */
const DRAIN_SHARE_MIN = 0.8;
/** Of a third of the time against the next: memory that grows by more is not flat. */
const GROWTH_MAX = 1.05;

interface Options {
  to: RelayKind;
  gib: string;
  live: string;
  minutes: string;
  spool: string;
  dir: string;
}

const print = (text: string) => process.stdout.write(`${text}\n`);
const median = (values: readonly number[]) =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

function machine(): void {
  print(machineLines(describeMachine()).join('\n'));
  print(`load    ${loadAverage().toFixed(1)} before, ${availableParallelism()} cores`);
}

async function measureCatchUp({ to, gib, live, dir }: Options): Promise<boolean> {
  machine();
  const around = await surroundings(dir);
  const bytes = Number(gib) * GIB;
  const result = await catchUp({ kind: to, bytes, liveGbps: Number(live) }, around);
  const share = result.drainGbps / median(result.liveRateGbps);
  print(
    `filled  ${(result.filledBytes / GIB).toFixed(2)} GiB in ${result.fillSeconds.toFixed(1)} s`,
  );
  print(`found   the server after ${result.reconnectSeconds.toFixed(1)} s`);
  print(`drained in ${result.drainSeconds.toFixed(1)} s, ${result.drainGbps.toFixed(2)} Gbps`);
  print(
    `with an empty spool ${result.liveRateGbps.map((rate) => rate.toFixed(2)).join(', ')} Gbps`,
  );
  print(`share   ${share.toFixed(2)}, wanted ${DRAIN_SHARE_MIN}`);
  const late = `${result.liveLateMs.toFixed(0)} ms late at most`;
  const before = `${result.liveLateBeforeMs.toFixed(0)} ms while nothing drained`;
  print(`live    ${live} Gbps: ${late}; ${before}`);
  for (const problem of result.problems) print(`FAILED  ${problem}`);
  removeDirectory(around.dir);
  return share >= DRAIN_SHARE_MIN && result.problems.length === 0;
}

async function measureDead({ to, minutes, spool, dir }: Options): Promise<boolean> {
  machine();
  const around = await surroundings(dir);
  const tokenFile = join(around.dir, 'token');
  writeFileSync(tokenFile, `${'A'.repeat(43)}\n`, { mode: 0o600 });
  const spoolBytes = Number(spool) * GIB;
  const options = { kind: to, minutes: Number(minutes), spoolBytes, tokenFile, say: print };
  const { rssBytes, sentBytes, droppedBytes } = await deadRelay(options, around);
  const third = Math.ceil(rssBytes.length / 3);
  const [middle, last] = [rssBytes.slice(third, -third), rssBytes.slice(-third)].map(median);
  const growth = last! / middle!;
  print(
    `sent    ${(sentBytes / GIB).toFixed(1)} GiB, ${(droppedBytes / GIB).toFixed(1)} GiB given up`,
  );
  const peak = Math.round(Math.max(...rssBytes) / MIB);
  print(
    `memory  ${Math.round(last! / MIB)} MiB at the end, ${peak} at most, growth ${growth.toFixed(3)}`,
  );
  removeDirectory(around.dir);
  return growth <= GROWTH_MAX;
}

const program = new Command('bench:outage').description(
  'Measures a relay whose server is away, and comes back. Exit code 1: a target was missed.',
);
const act = (measure: (options: Options) => Promise<boolean>) => async (options: Options) => {
  process.exit((await measure(options)) ? 0 : 1);
};
program
  .command('catch-up')
  .description('how fast a full spool drains while sensors go on sending')
  .option('--to <relay|link>', 'as plain D4 over TLS, or by a link', 'link')
  .option('--gib <n>', 'GiB in the spool', '5')
  .option('--live <gbps>', 'what sensors send meanwhile', '0.2')
  .option('--dir <dir>', 'where data lies, on a real disk', tmpdir())
  .action(act(measureCatchUp));
program
  .command('dead')
  .description('memory under a full load while the server is away; every 10 s')
  .option('--to <relay|link>', 'as plain D4 over TLS, or by a link', 'link')
  .option('--minutes <n>', 'how long', '10')
  .option('--spool <gib>', 'size of the spool; the oldest is dropped', '2')
  .option('--dir <dir>', 'where data lies, on a real disk', tmpdir())
  .action(act(measureDead));
await program.parseAsync();
