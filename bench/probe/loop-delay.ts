import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { isMainThread } from 'node:worker_threads';

/**
 * Loaded before a measured program (NODE_OPTIONS --import). On SIGUSR2 it writes the 99th percentile
 * of the event loop's delay, in ms, to `<dir>/<pid>.p99` and begins anew. Main threads only.
 */
const RESOLUTION_MS = 10;
const dir = process.env.D4GW_BENCH_PROBE_DIR;

if (isMainThread && dir !== undefined) {
  const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  histogram.enable();
  const ready = join(dir, `${process.pid}.ready`);
  process.on('SIGUSR2', () => {
    // The time between two ticks is recorded, not how late the second was.
    const late = Math.max(0, histogram.percentile(99) / 1e6 - RESOLUTION_MS);
    const file = join(dir, `${process.pid}.p99`);
    writeFileSync(`${file}.part`, String(late));
    renameSync(`${file}.part`, file);
    histogram.reset();
  });
  writeFileSync(ready, '');
  process.on('exit', () => rmSync(ready, { force: true }));
}
