import { add, sum } from '../ledger/amounts.js';
import type { Amount, SessionTotals } from '../ledger/totals.js';
import type { Skip } from '../route/resumed.js';
import type { CarriedPart, Rest, StreamPart } from '../sinks/sink.js';
import type { Attempt, HeldSession, HeldSink } from './store.js';

/** What is known of one of our sessions that served a link, once it is over. */
export interface Finding {
  /** As the ledger counts it. */
  totals: Pick<SessionTotals, 'received' | 'delivered' | 'rejected'>;
  attempt: Attempt;
  /** What was held before it. */
  before: HeldSession | undefined;
  parts: ReadonlyMap<string, StreamPart>;
  /** How it ended, where nothing more of it is to be taken. */
  over: string | undefined;
}

/**
 * What the sinks hold of another gateway's session, now that one of ours is over. Amounts of ours
 * count from its base on; of the first frame the ledger may have counted some bytes before.
 */
export function heldAfter({ totals, attempt, before, parts, over }: Finding): HeldSession {
  const { base, counted } = attempt;
  const rejected = sum(Object.values(totals.rejected));
  const whole = (amount: Amount): Amount => ({
    frames: base.frames + amount.frames + rejected.frames,
    bytes: base.bytes + counted + amount.bytes + rejected.bytes,
  });
  const sinks: Record<string, HeldSink> = { ...before?.sinks };
  for (const [sink, delivered] of Object.entries(totals.delivered)) {
    const now = whole(delivered);
    const known = sinks[sink];
    // Not past what it held when we began: it was given nothing.
    if (known && known.bytes >= now.bytes && known.frames >= now.frames) continue;
    const found = parts.get(sink);
    // Frames without bytes move nothing: what it was left with at this place still holds.
    const left = known?.bytes === now.bytes ? known.part : undefined;
    const part = found ? partOf(found, delivered.bytes) : left;
    sinks[sink] = part ? { ...now, part } : now;
  }
  return {
    counted: whole(notRejected(totals.received, rejected)),
    sinks,
    ...(over ? { over } : {}),
  };
}

function notRejected(received: Amount, rejected: Amount): Amount {
  return {
    frames: received.frames - rejected.frames,
    bytes: received.bytes - rejected.bytes,
  };
}

/** @param delivered bytes of our session that the sink holds, those of the rest included */
function partOf({ at, preamble, tail, raw, rest }: StreamPart, delivered: number): CarriedPart {
  const bytes = rest?.bytes ?? new Uint8Array(0);
  // Files came after it: it ended with a whole record there.
  const isStale = at + bytes.length - (rest?.known ?? 0) < delivered;
  return { preamble, tail: isStale ? new Uint8Array(0) : Buffer.concat([tail, bytes]), raw };
}

/** What a sink is not given again. */
export function skipOf(held: HeldSink | undefined, attempt: Attempt): Skip {
  const { base, counted } = attempt;
  const bytes = Math.max(0, (held?.bytes ?? 0) - base.bytes);
  return {
    frames: Math.max(0, (held?.frames ?? 0) - base.frames),
    bytes,
    counted: Math.min(counted, bytes),
  };
}

/**
 * What a process that died had received for a link counts as far as every sink holds it: the rest
 * was never acknowledged, and comes again.
 * @param totals changed in place; `delivered` is what each sink was found to hold
 * @param rests what was acknowledged while it was in memory alone, by sink
 */
export function countAsHeld(
  totals: SessionTotals,
  parts: Map<string, StreamPart>,
  rests: ReadonlyMap<string, Rest>,
): void {
  for (const [sink, delivered] of Object.entries(totals.delivered)) {
    const part = parts.get(sink);
    const rest = part?.rest ?? rests.get(sink);
    if (!rest || rest.at !== delivered.bytes) continue;
    add(delivered, { frames: rest.frames, bytes: rest.bytes.length - rest.known });
    const nothing = new Uint8Array(0);
    parts.set(
      sink,
      part
        ? { ...part, rest }
        : { at: rest.at, preamble: nothing, tail: nothing, raw: false, rest },
    );
  }
  const amounts = Object.values(totals.delivered);
  const least = {
    frames: Math.min(...amounts.map(({ frames }) => frames)),
    bytes: Math.min(...amounts.map(({ bytes }) => bytes)),
  };
  const rejected = sum(Object.values(totals.rejected));
  if (amounts.length === 0) Object.assign(least, { frames: 0, bytes: 0 });
  totals.received = sum([least, rejected]);
  totals.lost = {};
}

/** The totals as the ledger adds them: what some sink holds beyond the others it counts when they do. */
export function leastDelivered(totals: SessionTotals): SessionTotals {
  const rejected = sum(Object.values(totals.rejected));
  const delivered = notRejected(totals.received, rejected);
  const sinks = Object.keys(totals.delivered);
  return {
    ...totals,
    delivered: Object.fromEntries(sinks.map((sink) => [sink, { ...delivered }])),
  };
}
