import { messageOf } from '../errors.js';
import { addSession, NOTHING, noTotals, type SensorTotals, sum } from './amounts.js';
import { balance, type Imbalance, inFlightOf } from './balance.js';
import { isAside, listJournals } from './journal-names.js';
import { type JournalSnapshot, readJournal } from './journal-reader.js';
import { isRunning } from './process.js';
import { type LedgerStore, openLedger, type RecoveryEvent, type Spoiled } from './store.js';
import type { Amount, Totals } from './totals.js';

/** A worker's death while the journals are read changes their names. */
const READS_MAX = 5;

/** What one sink came to, for the sessions that were routed to it. */
export interface SinkReport {
  sink: string;
  received: Amount;
  delivered: Amount;
  rejected: Amount;
  lost: Amount;
  inFlight: Amount;
}

export interface SensorReport {
  sensor: string;
  type: number;
  /** All sessions, and those of them that are open. */
  sessions: number;
  open: number;
  received: Amount;
  /** By reason. */
  rejected: Record<string, Amount>;
  truncated: { count: number; bytes: number };
  /** How the ended sessions ended. */
  ends: Record<string, number>;
  sinks: SinkReport[];
}

/** A session that is not yet in the totals on disk. */
export interface LiveReport {
  id: string;
  sensor: string;
  type: number;
  worker: string;
  openedAt: number;
  received: Amount;
  delivered: Record<string, Amount>;
  rejected: Record<string, Amount>;
  inFlight: Record<string, Amount>;
}

export interface LedgerReport {
  balanced: boolean;
  imbalances: Imbalance[];
  /** Why the figures may not be all. */
  problems: string[];
  /** Rows of journals that could not be read. */
  damagedRows: number;
  sensors: SensorReport[];
  /** All sensors and types together. */
  received: Amount;
  sinks: SinkReport[];
  /** Connections refused before they belonged to a session, by reason. */
  refusals: Record<string, number>;
  workerDeaths: number;
  recoveries: RecoveryEvent[];
  /** Ended sessions that are in no total, for their figures were none. */
  spoiled: Spoiled;
  sessions: LiveReport[];
}

/**
 * What the ledger of a data directory says now, beside a running gateway or without one.
 * @param sensor restricts it to one sensor
 * @throws GatewayError D4GW_E_LEDGER where there is no ledger
 */
export async function readLedger(dataDir: string, sensor?: string): Promise<LedgerReport> {
  const store = openLedger(dataDir, { readOnly: true });
  try {
    return reportOf(store, dataDir, sensor);
  } finally {
    await store.close();
  }
}

/** The same of a ledger that is open. */
export function reportOf(store: LedgerStore, dataDir: string, sensor?: string): LedgerReport {
  // Journals before totals: a session that is folded in between is found in both, and its row
  // is left out; the other way round it would be found in neither.
  const { live, problems, damagedRows } = readLive(dataDir);
  const contents = store.read(live.map(({ id }) => id));
  const wanted = (totals: Totals) => sensor === undefined || totals.sensor === sensor;
  const folded = contents.totals.filter(wanted);
  const sessions = live.filter((session) => wanted(session) && !contents.folded.has(session.id));
  const { refusals, workerDeaths, recoveries, spoiled } = contents;
  const figures = summarize(folded, sessions);
  return { ...figures, problems, damagedRows, refusals, workerDeaths, recoveries, spoiled };
}

/** What follows from the sessions alone. */
export type Figures = Pick<
  LedgerReport,
  'balanced' | 'imbalances' | 'sensors' | 'received' | 'sinks' | 'sessions'
>;

type Live = Totals & { id: string; worker: string; openedAt: number };

interface LiveRows {
  live: Live[];
  problems: string[];
  damagedRows: number;
}

/** What the journals hold; read again where one was renamed, as at a worker's death, or ended. */
function readLive(dataDir: string): LiveRows {
  for (let reads = 1; ; reads += 1) {
    const paths = listJournals(dataDir);
    const rows = readRows(paths);
    const isSame = paths.join('\n') === listJournals(dataDir).join('\n');
    if (isSame || reads === READS_MAX) return rows;
  }
}

function readRows(paths: readonly string[]): LiveRows {
  const live: Live[] = [];
  const problems: string[] = [];
  const ids = new Set<string>();
  let damagedRows = 0;
  for (const path of paths) {
    let snapshot: JournalSnapshot | undefined;
    try {
      snapshot = readJournal(path);
      if (!snapshot) problems.push(`${path}: no whole journal`);
    } catch (error) {
      // Its worker has just closed it.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue;
      problems.push(`${path}: ${messageOf(error)}`);
    }
    if (!snapshot) continue;
    const { header, sessions, files, damaged } = snapshot;
    // Renamed while the directory was read.
    if (ids.has(header.id)) continue;
    ids.add(header.id);
    damagedRows += damaged;
    if (damaged > 0) problems.push(`${path}: damaged rows: ${damaged}, whose sessions do not show`);
    const isOver = isAside(path) || !isRunning(header);
    if (isOver && sessions.length + files.length > 0) {
      const when = isAside(path)
        ? `it left files: ${files.length}, which are being repaired, or kept until the next start; ` +
          'until then what it had shows as in flight'
        : 'what shows as in flight is settled when the gateway starts';
      problems.push(`${path}: process ${header.pid} has died; ${when}`);
    }
    for (const { totals } of sessions) live.push({ ...totals, worker: header.worker });
  }
  return { live, problems, damagedRows };
}

/**
 * @param folded totals of ended sessions: nothing of them may be in flight
 * @param live sessions whose figures still change: nothing may be in flight below zero
 */
export function summarize(folded: readonly SensorTotals[], live: readonly Live[]): Figures {
  const imbalances = folded.flatMap((totals) => balance(totals));
  const bySensor = new Map<string, { totals: SensorTotals; open: number; flying: InFlight }>();
  const entry = (sensor: string, type: number, totals = noTotals(sensor, type)) => {
    const key = `${sensor}/${String(type).padStart(3, '0')}`;
    const known = bySensor.get(key) ?? { totals, open: 0, flying: {} };
    bySensor.set(key, known);
    return known;
  };
  for (const totals of folded) entry(totals.sensor, totals.type, structuredClone(totals));
  const sessions: LiveReport[] = [];
  for (const session of live) {
    const inFlight = inFlightOf(session);
    imbalances.push(...balance(session, inFlight));
    const known = entry(session.sensor, session.type);
    known.open += 1;
    addSession(known.totals, session);
    for (const [sink, amount] of Object.entries(inFlight)) {
      known.flying[sink] = sum([known.flying[sink] ?? NOTHING, amount]);
    }
    const { id, sensor, type, worker, openedAt, received, delivered, rejected } = session;
    sessions.push({ id, sensor, type, worker, openedAt, received, delivered, rejected, inFlight });
  }
  const sensors = [...bySensor.entries()]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, { totals, open, flying }]) => sensorReport(totals, open, flying));
  return {
    balanced: imbalances.length === 0,
    imbalances,
    sensors,
    received: sum(sensors.map(({ received }) => received)),
    sinks: together(sensors.flatMap(({ sinks }) => sinks)),
    sessions,
  };
}

type InFlight = Record<string, Amount>;

function sensorReport(totals: SensorTotals, open: number, flying: InFlight): SensorReport {
  const { sensor, type, sessions, received, rejected, truncated, ends } = totals;
  const names = new Set([...Object.keys(totals.routed), ...Object.keys(totals.lost)]);
  const sinks = [...names].sort().map((sink) => ({
    sink,
    received: totals.routed[sink]?.received ?? NOTHING,
    delivered: totals.delivered[sink] ?? NOTHING,
    rejected: totals.routed[sink]?.rejected ?? NOTHING,
    lost: totals.lost[sink] ?? NOTHING,
    inFlight: flying[sink] ?? NOTHING,
  }));
  return { sensor, type, sessions, open, received, rejected, truncated, ends, sinks };
}

function together(sinks: readonly SinkReport[]): SinkReport[] {
  const names = [...new Set(sinks.map(({ sink }) => sink))].sort();
  return names.map((sink) => {
    const own = sinks.filter((entry) => entry.sink === sink);
    const total = (column: Exclude<keyof SinkReport, 'sink'>) =>
      sum(own.map((entry) => entry[column]));
    return {
      sink,
      received: total('received'),
      delivered: total('delivered'),
      rejected: total('rejected'),
      lost: total('lost'),
      inFlight: total('inFlight'),
    };
  });
}
