import type { Overview, Series } from '../data/types.js';

/** As the gateway keeps: an hour in steps of 5 s. */
export const POINTS_MAX = 720;
/** Snapshots that a rate is measured over. */
export const RECENT_MAX = 6;

interface Rates {
  bytes: number[];
  frames: number[];
}

/** What one look at the counters said. */
interface Snapshot {
  at: number;
  overview: Overview;
}

/** The last hour, by type; and the last few seconds, for rates. Never longer, however long a tab is open. */
export class Recent {
  /** Seconds since the epoch, at the end of each step. */
  times: number[] = [];
  readonly types = new Map<string, Rates>();
  #snapshots: Snapshot[] = [];
  #stepMs = 5_000;
  #last: Snapshot | undefined;

  /** Begins anew with what the gateway has of the last hour. */
  load({ times, types, stepSeconds }: Series): void {
    this.#stepMs = stepSeconds * 1000;
    this.times = times.slice(-POINTS_MAX).map((at) => Date.parse(at) / 1000);
    this.types.clear();
    for (const [type, { bytesPerSecond, framesPerSecond }] of Object.entries(types)) {
      this.types.set(type, {
        bytes: bytesPerSecond.slice(-POINTS_MAX),
        frames: framesPerSecond.slice(-POINTS_MAX),
      });
    }
  }

  /** Begins anew with what is counted: the gateway may be another. */
  reset(): void {
    this.#snapshots = [];
    this.#last = undefined;
  }

  /** @returns whether a point was added to the hour */
  take(overview: Overview): boolean {
    const now = { at: Date.parse(overview.at), overview };
    this.#snapshots.push(now);
    if (this.#snapshots.length > RECENT_MAX) this.#snapshots.shift();
    if (!this.#last) {
      this.#last = now;
      return false;
    }
    if (now.at - this.#last.at < this.#stepMs) return false;
    this.#push(this.#last, now);
    this.#last = now;
    return true;
  }

  /** How fast a counter of the overview grows, per second, over the last few. */
  rate(counter: (overview: Overview) => number): number {
    const [first] = this.#snapshots;
    const last = this.#snapshots.at(-1);
    if (!first || !last || last.at <= first.at) return 0;
    const added = counter(last.overview) - counter(first.overview);
    return Math.max(added, 0) / ((last.at - first.at) / 1000);
  }

  #push(before: Snapshot, now: Snapshot): void {
    const seconds = (now.at - before.at) / 1000;
    this.times.push(now.at / 1000);
    for (const type of Object.keys(now.overview.received)) {
      if (this.types.has(type)) continue;
      const none = () => new Array<number>(this.times.length - 1).fill(0);
      this.types.set(type, { bytes: none(), frames: none() });
    }
    for (const [type, rates] of this.types) {
      const [from, to] = [before.overview.received[type], now.overview.received[type]];
      rates.bytes.push(Math.max((to?.bytes ?? 0) - (from?.bytes ?? 0), 0) / seconds);
      rates.frames.push(Math.max((to?.frames ?? 0) - (from?.frames ?? 0), 0) / seconds);
    }
    if (this.times.length <= POINTS_MAX) return;
    this.times.shift();
    for (const { bytes, frames } of this.types.values()) {
      bytes.shift();
      frames.shift();
    }
  }
}
