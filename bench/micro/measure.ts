import { Bench } from 'tinybench';

/** Time for each task; its samples' median is what is told. */
const TASK_MS = 250;
const WARMUP_MS = 100;

export interface MicroTask {
  name: string;
  /** Frames and bytes that one call works on. */
  frames: number;
  bytes: number;
  work: () => void;
  /** Throws unless the work was done right; called before the first measured call. */
  check: () => void;
}

/** A task's figures, per frame and in bytes. */
export interface MicroFigure {
  name: string;
  frameNs: number;
  gigabytesPerSecond: number;
}

/** Runs tasks one after the other, prints a line for each, and returns the figures. */
export async function measure(title: string, tasks: readonly MicroTask[]): Promise<MicroFigure[]> {
  for (const task of tasks) {
    task.work();
    task.check();
  }
  const bench = new Bench({ name: title, time: TASK_MS, warmupTime: WARMUP_MS, throws: true });
  for (const task of tasks) bench.add(task.name, task.work);
  await bench.run();
  const width = Math.max(...tasks.map((task) => task.name.length));
  process.stdout.write(`${title}\n`);
  const figures = tasks.map((task) => {
    const result = bench.getTask(task.name)?.result;
    if (result?.state !== 'completed') throw new Error(`${task.name} did not run`);
    const { p50, p75, p99, samplesCount } = result.latency;
    const perFrame = (ms: number) => (ms * 1e6) / task.frames;
    const figure = {
      name: task.name,
      frameNs: perFrame(p50),
      gigabytesPerSecond: task.bytes / (p50 * 1e6),
    };
    const line = [
      `  ${task.name.padEnd(width)}`,
      `${figure.frameNs.toFixed(1).padStart(10)} ns/frame`,
      `${figure.gigabytesPerSecond.toFixed(3).padStart(9)} GB/s`,
      `p75 ${perFrame(p75).toFixed(1)}, p99 ${perFrame(p99).toFixed(1)} ns`,
      `${samplesCount} samples`,
    ];
    process.stdout.write(`${line.join('  ')}\n`);
    return figure;
  });
  process.stdout.write('\n');
  return figures;
}
