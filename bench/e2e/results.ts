import type { Machine } from '../machine.js';
import { type Summary, summarize } from '../stats.js';
import type { SinkKind } from '../subjects/subject.js';

/** What a run keeps: every sample, so that whoever doubts a median can look. */
export interface Results {
  format: 1;
  startedAt: string;
  seconds: number;
  form: 'full' | 'quick' | 'smoke';
  /** The command line, to run it again. */
  command: string;
  machine: Machine;
  settings: Settings;
  series: Series[];
  /** Parts that were left out, and why. */
  skipped: string[];
}

export interface Settings {
  samples: number;
  sampleSeconds: number;
  workers: number | 'auto';
  loadProcesses: number;
  payload: string;
  fileSystem: string;
  /** One-minute load of the machine when the run began: other work spoils figures. */
  loadBefore: number;
}

/** What a series is of. `bound` is computed from `read` and `hmac`. */
export type Subject = 'gateway' | 'naive' | 'socat' | 'read' | 'hmac' | 'bound' | 'openssl';

/** Samples of one thing under one load. */
export interface Series {
  /** Such as `gateway/tls/files/4096/16c`; parts that do not apply are left out. */
  id: string;
  subject: Subject;
  transport?: 'tls' | 'tcp';
  sink?: SinkKind;
  payloadBytes?: number;
  connections?: number;
  idle?: number;
  variant?: string;
  /** By metric (METRICS), one value a sample; a failed sample has none. */
  values: Record<string, number[]>;
  /** What was wrong with the samples that failed. */
  failures: string[];
}

/** Every metric with its unit. Payload counts alone: headers and TLS are not "throughput". */
export const METRICS: Readonly<Record<string, string>> = {
  gbps: 'payload gigabits a second, wall clock',
  framesPerSecond: 'frames a second, wall clock',
  gbpsPerCore: 'payload gigabits a second of server CPU (user and system)',
  cpuSeconds: 'CPU seconds of the server',
  peakRssBytes: 'peak resident bytes, all processes of the server',
  workerPeakRssBytes: 'peak resident bytes of one worker',
  workerOverBudgetBytes: 'the same, less its configured ring and budgets',
  loopDelayP99Ms: 'event-loop delay, 99th percentile, worst process',
  generatorCores: 'share of a core that the busiest load process used',
  idleBytes: 'resident bytes an idle connection',
  handshakesPerCore: 'handshakes a second of server CPU',
  handshakesPerSecond: 'handshakes a second, wall clock',
};

export function findSeries(results: Results, id: string): Series | undefined {
  return results.series.find((series) => series.id === id);
}

/** A metric's median and spread; undefined where no sample has it, or one failed. */
export function figure(series: Series | undefined, metric: string): Summary | undefined {
  const values = series?.values[metric];
  if (!values || values.length === 0 || series.failures.length > 0) return undefined;
  return summarize(values);
}
