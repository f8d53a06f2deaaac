import type { History } from '../data/types.js';

const MINUTE = 60;
const HOUR = 3_600;
const DAY = 86_400;

/**
 * What can be looked at of the past, and in what steps. Rates are of steps that are over and written:
 * a minute is, some seconds after its end. Of days, whose amounts are shown, today counts too.
 */
export const SPANS = {
  day: { unit: 'minute', stepSeconds: MINUTE, steps: 1_440, behind: 2, text: '24 hours' },
  fortnight: { unit: 'hour', stepSeconds: HOUR, steps: 14 * 24, behind: 1, text: '14 days' },
  quarter: { unit: 'day', stepSeconds: DAY, steps: 90, behind: 0, text: '90 days' },
  years: { unit: 'day', stepSeconds: DAY, steps: 5 * 365, behind: 0, text: '5 years' },
} as const;
export type Span = keyof typeof SPANS;

export interface Past {
  /** Begin of each step, seconds since the epoch. */
  times: number[];
  /** By D4 type, the smallest first. */
  types: { type: string; bytes: number[]; frames: number[] }[];
}

/** When a span begins, ms since the epoch. */
export function beginOf(span: Span, now: number): number {
  const { stepSeconds, steps, behind } = SPANS[span];
  const step = stepSeconds * 1000;
  return (Math.floor(now / step) - behind - steps + 1) * step;
}

/**
 * What the gateway told, with the steps in which nothing came.
 * @param history asked for from the span's begin
 */
export function pastOf(history: History, span: Span): Past {
  const { stepSeconds, steps } = SPANS[span];
  const begin = Date.parse(history.from) / 1000;
  const times = Array.from({ length: steps }, (_, index) => begin + index * stepSeconds);
  const types = Object.entries(history.types)
    .sort(([a], [b]) => Number(a) - Number(b))
    .map(([type, points]) => {
      const bytes = new Array<number>(steps).fill(0);
      const frames = new Array<number>(steps).fill(0);
      for (const point of points) {
        const index = Math.round((Date.parse(point.at) / 1000 - begin) / stepSeconds);
        if (index < 0 || index >= steps) continue;
        bytes[index]! += point.bytes;
        frames[index]! += point.frames;
      }
      return { type, bytes, frames };
    });
  return { times, types };
}
