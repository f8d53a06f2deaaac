/**
 * How history lies in LMDB. A record holds one chunk of time of one sensor and type, as flat
 * numbers, two a step (frames, bytes):
 *
 *     unit     step    chunk                 kept
 *     m        minute  hour    (60 steps)    2 days
 *     h        hour    day     (24 steps)    60 days
 *     d        day     month   (31 steps)    5 years
 *
 *     <unit>/<chunk, 6 digits>/<uuid>/<type>
 *
 * The chunk is a number of hours, of days, or of months since 1970, so what is too old is a range of
 * keys, and what one sensor did is one look-up a chunk.
 */
export const UNITS = ['minute', 'hour', 'day'] as const;
export type Unit = (typeof UNITS)[number];

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
const MONTHS_PER_YEAR = 12;

export interface UnitLayout {
  prefix: string;
  /** Steps of a chunk at most. */
  steps: number;
  /** Chunks kept beside the one at hand. */
  chunksKept: number;
  stepMs: number;
  place(at: number): { chunk: number; step: number };
  /** When a chunk begins, ms since the epoch. */
  startOf(chunk: number): number;
}

export const LAYOUTS: Readonly<Record<Unit, UnitLayout>> = {
  minute: {
    prefix: 'm',
    steps: 60,
    chunksKept: 48,
    stepMs: MINUTE_MS,
    place: (at) => ({
      chunk: Math.floor(at / HOUR_MS),
      step: Math.floor((at % HOUR_MS) / MINUTE_MS),
    }),
    startOf: (chunk) => chunk * HOUR_MS,
  },
  hour: {
    prefix: 'h',
    steps: 24,
    chunksKept: 60,
    stepMs: HOUR_MS,
    place: (at) => ({ chunk: Math.floor(at / DAY_MS), step: Math.floor((at % DAY_MS) / HOUR_MS) }),
    startOf: (chunk) => chunk * DAY_MS,
  },
  day: {
    prefix: 'd',
    steps: 31,
    chunksKept: 60,
    stepMs: DAY_MS,
    place: (at) => {
      const date = new Date(at);
      const chunk = (date.getUTCFullYear() - 1970) * MONTHS_PER_YEAR + date.getUTCMonth();
      return { chunk, step: date.getUTCDate() - 1 };
    },
    startOf: (chunk) =>
      Date.UTC(1970 + Math.floor(chunk / MONTHS_PER_YEAR), chunk % MONTHS_PER_YEAR),
  },
};

/** Stands for all sensors together. */
export const ALL_SENSORS = 'all';

export function chunkKey(unit: Unit, chunk: number): string {
  return `${LAYOUTS[unit].prefix}/${String(chunk).padStart(6, '0')}/`;
}

export function recordKey(unit: Unit, chunk: number, sensor: string, type: number): string {
  return `${chunkKey(unit, chunk)}${sensor}/${String(type).padStart(3, '0')}`;
}
