import type { Amount, Totals } from './totals.js';

export const NOTHING: Readonly<Amount> = Object.freeze({ frames: 0, bytes: 0 });

/** What a sink's figures are compared with: those of the sessions that were routed to it. */
export interface Routed {
  received: Amount;
  /** All reasons together. */
  rejected: Amount;
}

/**
 * All sessions of one sensor and type. Routes change, so a sink may have been given some of the
 * sessions only: `routed[sink]` holds what those received and what was rejected of them, and
 * `routed[sink].received = delivered[sink] + routed[sink].rejected + lost[sink]`.
 */
export interface SensorTotals extends Totals {
  sessions: number;
  /** By `endName`: how the sessions ended. */
  ends: Record<string, number>;
  routed: Record<string, Routed>;
}

/** A copy that may be added to. */
export function copyOf(totals: SensorTotals): SensorTotals {
  const { received, truncated, ends, delivered, rejected, lost, routed } = totals;
  return {
    ...totals,
    received: { ...received },
    truncated: { ...truncated },
    ends: { ...ends },
    delivered: copies(delivered),
    rejected: copies(rejected),
    lost: copies(lost),
    routed: Object.fromEntries(
      Object.entries(routed).map(([sink, one]) => [
        sink,
        { received: { ...one.received }, rejected: { ...one.rejected } },
      ]),
    ),
  };
}

function copies(amounts: Record<string, Amount>): Record<string, Amount> {
  return Object.fromEntries(Object.entries(amounts).map(([key, amount]) => [key, { ...amount }]));
}

export function sum(amounts: Iterable<Amount>): Amount {
  const total = { frames: 0, bytes: 0 };
  for (const amount of amounts) add(total, amount);
  return total;
}

export function add(total: Amount, amount: Readonly<Amount>): void {
  total.frames += amount.frames;
  total.bytes += amount.bytes;
}

/** received - delivered - rejected - lost: in flight while it is positive. */
export function rest(
  received: Readonly<Amount>,
  ...taken: readonly (Readonly<Amount> | undefined)[]
): Amount {
  const left = { ...received };
  for (const amount of taken) {
    left.frames -= amount?.frames ?? 0;
    left.bytes -= amount?.bytes ?? 0;
  }
  return left;
}

export function noTotals(sensor: string, type: number): SensorTotals {
  return {
    sensor,
    type,
    received: { frames: 0, bytes: 0 },
    delivered: {},
    rejected: {},
    lost: {},
    truncated: { count: 0, bytes: 0 },
    sessions: 0,
    ends: {},
    routed: {},
  };
}

/** Adds one session to the totals of its sensor and type; `end` where it has ended. */
export function addSession(total: SensorTotals, session: Totals, end?: string): void {
  const rejected = sum(Object.values(session.rejected));
  add(total.received, session.received);
  total.truncated.count += session.truncated.count;
  total.truncated.bytes += session.truncated.bytes;
  total.sessions += 1;
  if (end !== undefined) total.ends[end] = (total.ends[end] ?? 0) + 1;
  addEach(total.delivered, session.delivered);
  addEach(total.rejected, session.rejected);
  addEach(total.lost, session.lost);
  for (const sink of Object.keys(session.delivered)) {
    total.routed[sink] ??= { received: { ...NOTHING }, rejected: { ...NOTHING } };
    add(total.routed[sink].received, session.received);
    add(total.routed[sink].rejected, rejected);
  }
}

function addEach(totals: Record<string, Amount>, amounts: Record<string, Amount>): void {
  for (const [key, amount] of Object.entries(amounts)) {
    totals[key] ??= { frames: 0, bytes: 0 };
    add(totals[key], amount);
  }
}
