import { NOTHING, type Routed, rest, sum } from './amounts.js';
import { type Custody, droppedOf, waitingOf } from './custody.js';
import type { Amount, Totals } from './totals.js';

/** One place where the figures do not add up. */
export interface Imbalance {
  sensor: string;
  type: number;
  sink: string;
  unit: 'frames' | 'bytes';
  received: number;
  delivered: number;
  rejected: number;
  lost: number;
  /** By a relay, from its spool. */
  dropped: number;
  inFlight: number;
  /** Of a relay, where its spool accepted another amount than the sessions say that it has. */
  accepted?: number;
  /** received - delivered - rejected - lost - inFlight; for a live session, what is below zero. */
  difference: number;
}

type Balanced = Totals & { routed?: Record<string, Routed> };

/**
 * Where `received = delivered + rejected + lost + in flight` does not hold, by sink, in frames and
 * in bytes. Without `inFlight` the sessions have ended and nothing may be in flight.
 *
 * @param totals one session, or all of a sensor and type
 * @param inFlight by sink name; an entry below zero is an imbalance itself
 */
export function balance(totals: Balanced, inFlight: Record<string, Amount> = {}): Imbalance[] {
  const found: Imbalance[] = [];
  const allRejected = sum(Object.values(totals.rejected));
  for (const sink of sinksOf(totals)) {
    const routed = totals.routed ? totals.routed[sink] : undefined;
    const received = totals.routed ? (routed?.received ?? NOTHING) : totals.received;
    const rejected = totals.routed ? (routed?.rejected ?? NOTHING) : allRejected;
    const delivered = totals.delivered[sink] ?? NOTHING;
    const lost = totals.lost[sink] ?? NOTHING;
    const flying = inFlight[sink] ?? NOTHING;
    const left = rest(received, delivered, rejected, lost, flying);
    for (const unit of ['frames', 'bytes'] as const) {
      const difference = left[unit] !== 0 ? left[unit] : Math.min(flying[unit], 0);
      if (difference === 0) continue;
      found.push({
        sensor: totals.sensor,
        type: totals.type,
        sink,
        unit,
        received: received[unit],
        delivered: delivered[unit],
        rejected: rejected[unit],
        lost: lost[unit],
        dropped: 0,
        inFlight: flying[unit],
        difference,
      });
    }
  }
  return found;
}

/** What each sink of a live session's route still has to deliver; below zero it is out of balance. */
export function inFlightOf(session: Totals): Record<string, Amount> {
  const rejected = sum(Object.values(session.rejected));
  const left: Record<string, Amount> = {};
  for (const [sink, delivered] of Object.entries(session.delivered)) {
    left[sink] = rest(session.received, delivered, rejected, session.lost[sink]);
  }
  return left;
}

function sinksOf(totals: Balanced): Set<string> {
  return new Set([
    ...Object.keys(totals.delivered),
    ...Object.keys(totals.lost),
    ...Object.keys(totals.routed ?? {}),
  ]);
}

/**
 * Where a relay's spool does not say the same as the sessions that it took frames of, or has sent
 * and given up more than it took.
 *
 * @param sink what the sessions came to, with `delivered` what is in the relay's custody
 * @param isLive sessions are open: what the one knows and the other does not yet is in flight
 */
export function balanceCustody(
  sink: Readonly<Record<'received' | 'delivered' | 'rejected' | 'lost', Amount>>,
  custody: Custody,
  isLive: boolean,
): Imbalance[] {
  const dropped = droppedOf(custody);
  const waiting = waitingOf(custody);
  const found: Imbalance[] = [];
  for (const unit of ['frames', 'bytes'] as const) {
    const missing = isLive ? 0 : sink.delivered[unit] - custody.accepted[unit];
    const inFlight = sink.delivered[unit] - custody.sent[unit] - dropped[unit];
    const difference = missing !== 0 ? missing : Math.min(waiting[unit], 0);
    if (difference === 0) continue;
    found.push({
      sensor: custody.sensor,
      type: custody.type,
      sink: custody.sink,
      unit,
      received: sink.received[unit],
      delivered: custody.sent[unit],
      rejected: sink.rejected[unit],
      lost: sink.lost[unit],
      dropped: dropped[unit],
      inFlight,
      accepted: custody.accepted[unit],
      difference,
    });
  }
  return found;
}
