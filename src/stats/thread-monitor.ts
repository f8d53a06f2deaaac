import {
  constants,
  type EventLoopUtilization,
  monitorEventLoopDelay,
  type PerformanceEntry,
  PerformanceObserver,
  performance,
} from 'node:perf_hooks';
import type { ThreadStats } from './messages.js';

const RESOLUTION_MS = 50;
const NS_PER_MS = 1e6;

const GC_KINDS: Readonly<Record<number, string>> = {
  [constants.NODE_PERFORMANCE_GC_MINOR]: 'minor',
  [constants.NODE_PERFORMANCE_GC_MAJOR]: 'major',
  [constants.NODE_PERFORMANCE_GC_INCREMENTAL]: 'incremental',
  [constants.NODE_PERFORMANCE_GC_WEAKCB]: 'weakcb',
};

/** Watches the thread that makes it: its event loop, and its garbage collection. */
export class ThreadMonitor {
  readonly #delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  readonly #observer: PerformanceObserver;
  readonly #gc: ThreadStats['gc'] = {};
  #utilization: EventLoopUtilization = performance.eventLoopUtilization();

  constructor() {
    this.#delay.enable();
    this.#observer = new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) this.#collected(entry);
    });
    this.#observer.observe({ entryTypes: ['gc'] });
  }

  /** How it fared since the last call. */
  sample(): ThreadStats {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, this.#utilization);
    this.#utilization = now;
    // The histogram holds the whole interval: what was asked for is taken off.
    const ms = (ns: number) =>
      Number.isFinite(ns) ? Math.max(ns / NS_PER_MS - RESOLUTION_MS, 0) : 0;
    const { mean, max } = this.#delay;
    const isEmpty = this.#delay.count === 0;
    const loopDelayMs = isEmpty
      ? { mean: 0, p99: 0, max: 0 }
      : { mean: ms(mean), p99: ms(this.#delay.percentile(99)), max: ms(max) };
    this.#delay.reset();
    return { loopDelayMs, utilization, gc: this.#gc };
  }

  close(): void {
    this.#delay.disable();
    this.#observer.disconnect();
  }

  #collected(entry: PerformanceEntry): void {
    const { duration, detail } = entry as PerformanceEntry & { detail?: { kind?: number } };
    const kind = GC_KINDS[detail?.kind ?? -1] ?? 'other';
    this.#gc[kind] ??= { count: 0, seconds: 0 };
    this.#gc[kind].count += 1;
    this.#gc[kind].seconds += duration / 1000;
  }
}
