import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { BroadcastChannel, isMainThread } from 'node:worker_threads';

/**
 * Loaded before a measured program (NODE_OPTIONS --import), in each of its threads. On SIGUSR2 a
 * process writes the 99th percentile of the event loop's delay, in ms, of the latest of its threads
 * to `<dir>/<pid>.p99`, and begins anew.
 */
const RESOLUTION_MS = 10;
/** How long the other threads get to answer. */
const THREADS_MS = 100;
const dir = process.env.D4GW_BENCH_PROBE_DIR;

if (dir !== undefined) {
  const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  histogram.enable();
  const take = () => {
    // The time between two ticks is recorded, not how late the second was.
    const late = Math.max(0, histogram.percentile(99) / 1e6 - RESOLUTION_MS);
    histogram.reset();
    return late;
  };
  if (isMainThread) answerSignals(dir, take);
  else answerMain(take);
}

function answerSignals(to: string, take: () => number): void {
  const questions = channel('question');
  const answers = channel('answer');
  let worst = 0;
  answers.onmessage = (message) => {
    worst = Math.max(worst, (message as { data: number }).data);
  };
  const ready = join(to, `${process.pid}.ready`);
  process.on('SIGUSR2', () => {
    worst = take();
    questions.postMessage(null);
    setTimeout(() => {
      const file = join(to, `${process.pid}.p99`);
      writeFileSync(`${file}.part`, String(worst));
      renameSync(`${file}.part`, file);
    }, THREADS_MS);
  });
  writeFileSync(ready, '');
  process.on('exit', () => rmSync(ready, { force: true }));
}

function answerMain(take: () => number): void {
  const answers = channel('answer');
  channel('question').onmessage = () => answers.postMessage(take());
}

function channel(name: string): BroadcastChannel {
  const opened = new BroadcastChannel(`d4gw-bench-loop-delay-${name}`);
  // It must not keep a program alive that is done.
  (opened as unknown as { unref(): void }).unref();
  return opened;
}
