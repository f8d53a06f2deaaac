import type { ThreadStats } from './messages.js';
import { ThreadMonitor } from './thread-monitor.js';

export interface ProcessView {
  pid: number;
  /** Since the process began, in seconds. */
  cpu: { user: number; system: number };
  rssBytes: number;
  loop: ThreadStats;
}

/** How the process that makes it fares. */
export class OwnProcess {
  readonly #monitor = new ThreadMonitor();
  #view: ProcessView | undefined;

  /** As it was sampled last. */
  get view(): ProcessView {
    return this.#view ?? this.sample();
  }

  sample(): ProcessView {
    const { user, system } = process.cpuUsage();
    let rssBytes = this.#view?.rssBytes ?? 0;
    try {
      rssBytes = process.memoryUsage.rss();
    } catch {
      // Without a free descriptor: what it last was.
    }
    const view = {
      pid: process.pid,
      cpu: { user: user / 1e6, system: system / 1e6 },
      rssBytes,
      loop: this.#monitor.sample(),
    };
    this.#view = view;
    return view;
  }

  close(): void {
    this.#monitor.close();
  }
}
