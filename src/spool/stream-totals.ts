import { OFFSET_TIMESTAMP } from '../wire/layout.js';
import { streamKey, streamOf } from './account.js';
import type { Amount } from './session-record.js';
import type { SessionSpan, StreamSummary } from './types.js';

interface Total extends Amount {
  firstTime: number;
  lastTime: number;
  metaTypes: Set<string>;
}

/** Sums by sensor and type, with the range of the frames' own timestamps. */
export class StreamTotals {
  readonly #totals = new Map<string, Total>();

  static of(summaries: readonly StreamSummary[]): StreamTotals {
    const totals = new StreamTotals();
    for (const { sensor, type, metaTypes = [], ...amounts } of summaries) {
      totals.#totals.set(streamKey(sensor, type), { ...amounts, metaTypes: new Set(metaTypes) });
    }
    return totals;
  }

  /** Adds what a block holds of a session. */
  addSpan({ session, frames, bytes, firstTime, lastTime }: SessionSpan): void {
    const total = this.#total(session.sensor, session.type);
    total.frames += frames;
    total.bytes += bytes;
    if (firstTime < total.firstTime) total.firstTime = firstTime;
    if (lastTime > total.lastTime) total.lastTime = lastTime;
    if (session.meta) total.metaTypes.add(session.meta.type);
  }

  add({ sensor, type }: { sensor: string; type: number }, frames: number, bytes: number): void {
    const total = this.#total(sensor, type);
    total.frames += frames;
    total.bytes += bytes;
  }

  merge(other: StreamTotals): void {
    for (const [key, { frames, bytes, firstTime, lastTime, metaTypes }] of other.#totals) {
      const { sensor, type } = streamOf(key);
      const total = this.#total(sensor, type);
      total.frames += frames;
      total.bytes += bytes;
      total.firstTime = Math.min(total.firstTime, firstTime);
      total.lastTime = Math.max(total.lastTime, lastTime);
      for (const metaType of metaTypes) total.metaTypes.add(metaType);
    }
  }

  /** Takes away what another has, down to nothing. */
  subtract(other: StreamTotals): void {
    for (const [key, { frames, bytes }] of other.#totals) {
      const total = this.#totals.get(key);
      if (total === undefined) continue;
      total.frames = Math.max(0, total.frames - frames);
      total.bytes = Math.max(0, total.bytes - bytes);
    }
  }

  amount(sensor: string, type: number): Amount {
    const { frames, bytes } = this.#totals.get(streamKey(sensor, type)) ?? NOTHING;
    return { frames, bytes };
  }

  list(): StreamSummary[] {
    return Array.from(this.#totals, ([key, { metaTypes, firstTime, lastTime, ...amount }]) => ({
      ...streamOf(key),
      ...amount,
      ...(metaTypes.size > 0 ? { metaTypes: [...metaTypes] } : {}),
      firstTime: Number.isFinite(firstTime) ? firstTime : 0,
      lastTime,
    }));
  }

  #total(sensor: string, type: number): Total {
    const key = streamKey(sensor, type);
    let total = this.#totals.get(key);
    if (total === undefined) {
      total = {
        frames: 0,
        bytes: 0,
        firstTime: Number.POSITIVE_INFINITY,
        lastTime: 0,
        metaTypes: new Set(),
      };
      this.#totals.set(key, total);
    }
    return total;
  }
}

const NOTHING = { frames: 0, bytes: 0 };

/** Seconds since the epoch in the header of a frame, as near as a number comes to them. */
export function secondsOf(memory: Uint8Array, header: number): number {
  let seconds = 0;
  for (let byte = 7; byte >= 0; byte -= 1) {
    seconds = seconds * 256 + memory[header + OFFSET_TIMESTAMP + byte]!;
  }
  return Math.min(seconds, Number.MAX_SAFE_INTEGER);
}
