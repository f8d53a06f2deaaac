import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf } from '../errors.js';
import { type ConnectionCounts, readCounts } from '../sinks/relay/progress.js';
import { hasAccount, readAccount } from '../spool/account.js';
import { add, NOTHING, rest, sum } from './amounts.js';
import type { Amount } from './totals.js';

const SPOOL_NAME = /^\d+$/;
const DROPPED = 'dropped/';
const FILTERED = 'filtered/';

/**
 * What became of one stream's frames after a relay had them in its spool, over all its workers:
 * `accepted = sent + dropped (by reason) + waiting`.
 */
export interface Custody {
  sink: string;
  sensor: string;
  type: number;
  accepted: Amount;
  sent: Amount;
  /** By reason. */
  dropped: Record<string, Amount>;
  /** Sent more than once; sent in frames of the relay's own, their preambles included. */
  resent: Amount;
  recut: Amount;
  /** Streams that did not leave, by reason. */
  filtered: Record<string, number>;
}

export interface CustodyContents {
  /** Sinks that have an account: what they took is in it. */
  sinks: Set<string>;
  streams: Custody[];
  /** By sink. */
  connections: Record<string, ConnectionCounts>;
  /** Why the figures may not be all. */
  problems: string[];
}

/**
 * Reads the accounts of all relays' spools, beside a running gateway or without one.
 * @param roots by sink: directories of spools that are not at their default place
 */
export async function readCustody(
  dataDir: string,
  roots: Readonly<Record<string, string>> = {},
): Promise<CustodyContents> {
  const streams = new Map<string, Custody>();
  const contents: CustodyContents = {
    sinks: new Set(),
    streams: [],
    connections: {},
    problems: [],
  };
  for (const [sink, root] of Object.entries({ ...defaultRoots(dataDir), ...roots })) {
    for (const name of namesIn(root).filter((entry) => SPOOL_NAME.test(entry))) {
      const dir = join(root, name);
      if (!hasAccount(dir)) continue;
      contents.sinks.add(sink);
      try {
        const account = await readAccount(dir);
        for (const { sensor, type, amounts } of account.streams) {
          const key = `${sink}/${sensor}/${type}`;
          const custody = streams.get(key) ?? noCustody(sink, sensor, type);
          streams.set(key, custody);
          for (const [figure, amount] of Object.entries(amounts)) take(custody, figure, amount);
        }
        const counts = await readCounts(dir);
        if (counts) contents.connections[sink] = plus(contents.connections[sink], counts);
      } catch (error) {
        contents.problems.push(messageOf(error));
      }
    }
  }
  contents.streams = [...streams.values()];
  return contents;
}

/** What a relay has and has neither sent nor given up. */
export function waitingOf(custody: Custody): Amount {
  return rest(custody.accepted, custody.sent, droppedOf(custody));
}

export function droppedOf({ dropped }: Custody): Amount {
  return sum(Object.values(dropped));
}

export function noCustody(sink: string, sensor: string, type: number): Custody {
  const none = () => ({ ...NOTHING });
  const amounts = { accepted: none(), sent: none(), resent: none(), recut: none() };
  return { sink, sensor, type, ...amounts, dropped: {}, filtered: {} };
}

function take(custody: Custody, figure: string, amount: Amount): void {
  if (figure.startsWith(DROPPED)) {
    const reason = figure.slice(DROPPED.length);
    custody.dropped[reason] ??= { ...NOTHING };
    add(custody.dropped[reason], amount);
  } else if (figure.startsWith(FILTERED)) {
    const reason = figure.slice(FILTERED.length);
    custody.filtered[reason] = (custody.filtered[reason] ?? 0) + amount.frames;
  } else if (
    figure === 'accepted' ||
    figure === 'sent' ||
    figure === 'resent' ||
    figure === 'recut'
  ) {
    add(custody[figure], amount);
  }
}

function plus(a: ConnectionCounts | undefined, b: ConnectionCounts): ConnectionCounts {
  if (!a) return b;
  return { opened: a.opened + b.opened, failed: a.failed + b.failed, lost: a.lost + b.lost };
}

function defaultRoots(dataDir: string): Record<string, string> {
  const root = join(dataDir, 'spool');
  return Object.fromEntries(namesIn(root).map((sink) => [sink, join(root, sink)]));
}

function namesIn(dir: string): string[] {
  try {
    return readdirSync(dir).sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}
