import { setTimeout as sleep } from 'node:timers/promises';
import type { LoadResult } from '../load/fleet.js';
import { monotonicMs } from '../load/messages.js';
import type { ServerAccount } from '../subjects/messages.js';

const POLL_MS = 10;
/** A server that has come no further for this long has lost what is missing. */
const STALL_MS = 5_000;
const DEADLINE_MS = 60_000;
const PROBLEMS_MAX = 3;

export interface Settled {
  /** CLOCK_MONOTONIC in ms when everything was accounted for, or when that was given up. */
  at: number;
  /** Nothing, or what is missing. */
  problems: string[];
}

/**
 * Waits until a server has accounted for all that was sent: as many frames and bytes, sensor by
 * sensor, as it can tell. More than was sent is as wrong as less.
 */
export async function settle(
  account: () => Promise<ServerAccount>,
  before: ServerAccount,
  sent: LoadResult,
  stallMs = STALL_MS,
): Promise<Settled> {
  const startedAt = monotonicMs();
  let progressAt = startedAt;
  let last = '';
  for (;;) {
    const now = await account();
    const at = monotonicMs();
    const missing = compare(now, before, sent);
    if (missing.length === 0) return { at, problems: [] };
    const state = JSON.stringify([missing, now.problems.length]);
    if (state !== last) progressAt = at;
    last = state;
    if (at - progressAt > stallMs || at - startedAt > DEADLINE_MS) {
      return { at, problems: problems(missing, now, before, sent) };
    }
    await sleep(POLL_MS);
  }
}

interface Missing {
  what: string;
  sent: number;
  accounted: number;
}

/** Where a server's account differs from what was sent. */
function compare(now: ServerAccount, before: ServerAccount, sent: LoadResult): Missing[] {
  const found: Missing[] = [];
  if (now.streamBytes !== undefined) {
    const accounted = now.streamBytes - (before.streamBytes ?? 0);
    if (accounted !== sent.streamBytes) {
      found.push({ what: 'bytes', sent: sent.streamBytes, accounted });
    }
  }
  if (now.sensors !== undefined) {
    for (const { uuid, frames, bytes } of sent.streams) {
      const was = before.sensors?.[uuid] ?? { frames: 0, bytes: 0 };
      const is = now.sensors[uuid] ?? { frames: 0, bytes: 0 };
      for (const [unit, count, accounted] of [
        ['frames', frames, is.frames - was.frames],
        ['payload bytes', bytes, is.bytes - was.bytes],
      ] as const) {
        if (count !== accounted) {
          found.push({ what: `${unit} of sensor ${uuid}`, sent: count, accounted });
        }
      }
    }
  }
  return found;
}

function problems(
  missing: readonly Missing[],
  now: ServerAccount,
  before: ServerAccount,
  sent: LoadResult,
): string[] {
  const lines = missing
    .slice(0, PROBLEMS_MAX)
    .map((entry) => `${entry.sent} ${entry.what} sent, ${entry.accounted} accounted for`);
  if (missing.length > PROBLEMS_MAX) lines.push(`and ${missing.length - PROBLEMS_MAX} more`);
  if (now.sensors !== undefined) {
    const total = (account: ServerAccount) =>
      sent.streams.reduce((sum, { uuid }) => sum + (account.sensors?.[uuid]?.frames ?? 0), 0);
    lines.unshift(`${sent.frames} frames sent, ${total(now) - total(before)} accounted for`);
  }
  return lines;
}
