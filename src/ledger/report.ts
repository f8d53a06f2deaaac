import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../errors.js';
import { addSession, copyOf, NOTHING, noTotals, rest, type SensorTotals, sum } from './amounts.js';
import { balance, balanceCustody, type Imbalance, inFlightOf } from './balance.js';
import {
  type Custody,
  type CustodyContents,
  droppedOf,
  noCustody,
  readCustody,
  waitingOf,
} from './custody.js';
import { isAside, listJournals } from './journal-names.js';
import { type JournalSnapshot, readingJournal } from './journal-reader.js';
import { isRunning } from './process.js';
import { inTurns, STEP_ITEMS, type Steps } from './steps.js';
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
  /** Given up by a relay, of what was in its spool. */
  dropped: Amount;
  inFlight: Amount;
}

/** What a relay's spools came to, of all streams. */
export interface RelayReport {
  sink: string;
  accepted: Amount;
  sent: Amount;
  /** By reason. */
  dropped: Record<string, Amount>;
  waiting: Amount;
  resent: Amount;
  recut: Amount;
  /** Streams that did not leave, by reason. */
  filtered: Record<string, number>;
  /** Since its spools were made: made, could not be made, broke or were ended by the server. */
  connections: { opened: number; failed: number; lost: number };
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
  /** Streams that a relay did not let leave: by relay, then by reason. */
  filtered: Record<string, Record<string, number>>;
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
  relays: RelayReport[];
  /** Connections refused before they belonged to a session, by reason. */
  refusals: Record<string, number>;
  workerDeaths: number;
  recoveries: RecoveryEvent[];
  /** Ended sessions that are in no total, for their figures were none. */
  spoiled: Spoiled;
  sessions: LiveReport[];
}

/** Figures of a running gateway are written at different moments: how often they are read again. */
const SETTLE_READS_MAX = 8;
const SETTLE_MS = 200;

/**
 * What the ledger of a data directory says now, beside a running gateway or without one.
 * @param sensor restricts it to one sensor
 * @param spools by relay: directories of spools that are not at their default place
 * @throws GatewayError D4GW_E_LEDGER where there is no ledger
 */
export async function readLedger(
  dataDir: string,
  sensor?: string,
  spools: Readonly<Record<string, string>> = {},
): Promise<LedgerReport> {
  const store = openLedger(dataDir, { readOnly: true });
  try {
    return await reportOf(store, dataDir, sensor, spools);
  } finally {
    await store.close();
  }
}

/** The same of a ledger that is open. */
export async function reportOf(
  store: LedgerStore,
  dataDir: string,
  sensor?: string,
  spools: Readonly<Record<string, string>> = {},
): Promise<LedgerReport> {
  for (let reads = 1; ; reads += 1) {
    const report = await readOnce(store, dataDir, sensor, spools);
    // A relay's account and the sessions' rows are each written ten times a second.
    const isSettled = report.imbalances.every(({ accepted }) => accepted === undefined);
    if (isSettled || reads === SETTLE_READS_MAX) return report;
    await sleep(SETTLE_MS);
  }
}

async function readOnce(
  store: LedgerStore,
  dataDir: string,
  sensor: string | undefined,
  spools: Readonly<Record<string, string>>,
): Promise<LedgerReport> {
  const custody = await readCustody(dataDir, spools);
  // Journals before totals: a session that is folded in between is found in both, and its row
  // is left out; the other way round it would be found in neither.
  // In steps: the primary has connections to take meanwhile.
  const { live, problems, damagedRows } = await inTurns(readLive(dataDir));
  const contents = await inTurns(store.reading(live.map(({ id }) => id)));
  const wanted = (of: { sensor: string }) => sensor === undefined || of.sensor === sensor;
  const folded = contents.totals.filter(wanted);
  const sessions = live.filter((session) => wanted(session) && !contents.folded.has(session.id));
  const { refusals, workerDeaths, recoveries, spoiled } = contents;
  const streams = custody.streams.filter(wanted);
  const figures = await inTurns(summarize(folded, sessions, { sinks: custody.sinks, streams }));
  problems.push(...custody.problems);
  return {
    ...figures,
    relays: relaysOf(streams, custody.connections),
    problems,
    damagedRows,
    refusals,
    workerDeaths,
    recoveries,
    spoiled,
  };
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
function* readLive(dataDir: string): Steps<LiveRows> {
  for (let reads = 1; ; reads += 1) {
    const paths = listJournals(dataDir);
    const rows = yield* readRows(paths);
    const isSame = paths.join('\n') === listJournals(dataDir).join('\n');
    if (isSame || reads === READS_MAX) return rows;
  }
}

function* readRows(paths: readonly string[]): Steps<LiveRows> {
  const live: Live[] = [];
  const problems: string[] = [];
  const ids = new Set<string>();
  let damagedRows = 0;
  for (const path of paths) {
    let snapshot: JournalSnapshot | undefined;
    try {
      snapshot = yield* readingJournal(path);
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
    yield;
  }
  return { live, problems, damagedRows };
}

/**
 * @param folded totals of ended sessions: nothing of them may be in flight
 * @param live sessions whose figures still change: nothing may be in flight below zero
 * @param custody what relays did with the frames that they took
 */
export function* summarize(
  folded: readonly SensorTotals[],
  live: readonly Live[],
  custody: Pick<CustodyContents, 'sinks' | 'streams'> = { sinks: new Set(), streams: [] },
): Steps<Figures> {
  const imbalances: Imbalance[] = [];
  const bySensor = new Map<string, { totals: SensorTotals; open: number; flying: InFlight }>();
  const entry = (sensor: string, type: number, totals = noTotals(sensor, type)) => {
    const key = `${sensor}/${String(type).padStart(3, '0')}`;
    const known = bySensor.get(key) ?? { totals, open: 0, flying: {} };
    bySensor.set(key, known);
    return known;
  };
  for (const [index, totals] of folded.entries()) {
    imbalances.push(...balance(totals));
    entry(totals.sensor, totals.type, copyOf(totals));
    if (index % STEP_ITEMS === 0) yield;
  }
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
    if (sessions.length % STEP_ITEMS === 0) yield;
  }
  const sensors: SensorReport[] = [];
  for (const key of [...bySensor.keys()].sort()) {
    const { totals, open, flying } = bySensor.get(key)!;
    if (sensors.push(sensorReport(totals, open, flying)) % STEP_ITEMS === 0) yield;
  }
  yield;
  imbalances.push(...applyCustody(sensors, custody));
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
    dropped: NOTHING,
    inFlight: flying[sink] ?? NOTHING,
  }));
  const filtered = {};
  return { sensor, type, sessions, open, received, rejected, truncated, ends, sinks, filtered };
}

/**
 * Puts in what relays did with what was delivered to them: what waits in a spool is in flight, and
 * delivered is what was sent.
 */
function applyCustody(
  sensors: SensorReport[],
  { sinks, streams }: Pick<CustodyContents, 'sinks' | 'streams'>,
): Imbalance[] {
  const imbalances: Imbalance[] = [];
  for (const stream of [...streams, ...unknownOf(sensors, sinks, streams)]) {
    const { sensor, type, sink: name, filtered, sent } = stream;
    const known = sensors.find((report) => report.sensor === sensor && report.type === type);
    if (known && Object.keys(filtered).length > 0) known.filtered[name] = filtered;
    const sink = known?.sinks.find((report) => report.sink === name);
    imbalances.push(...balanceCustody(sink ?? NO_SINK, stream, (known?.open ?? 0) > 0));
    if (!sink) continue;
    sink.dropped = droppedOf(stream);
    sink.inFlight = sum([sink.inFlight, rest(sink.delivered, sent, sink.dropped)]);
    sink.delivered = sent;
  }
  return imbalances;
}

/** What sessions say that a relay took, and its spool knows nothing of. */
function unknownOf(
  sensors: readonly SensorReport[],
  relays: ReadonlySet<string>,
  streams: readonly Custody[],
): Custody[] {
  return sensors.flatMap(({ sensor, type, sinks }) =>
    sinks
      .filter(({ sink }) => relays.has(sink))
      .filter(
        ({ sink }) =>
          !streams.some((known) => {
            return known.sink === sink && known.sensor === sensor && known.type === type;
          }),
      )
      .map(({ sink }) => noCustody(sink, sensor, type)),
  );
}

const NO_SINK = { received: NOTHING, delivered: NOTHING, rejected: NOTHING, lost: NOTHING };

function relaysOf(
  streams: readonly Custody[],
  connections: Readonly<Record<string, RelayReport['connections']>>,
): RelayReport[] {
  const names = new Set([...streams.map(({ sink }) => sink), ...Object.keys(connections)]);
  return [...names].sort().map((sink) => {
    const own = streams.filter((stream) => stream.sink === sink);
    const total = (figure: 'accepted' | 'sent' | 'resent' | 'recut') =>
      sum(own.map((stream) => stream[figure]));
    const report: RelayReport = {
      sink,
      accepted: total('accepted'),
      sent: total('sent'),
      dropped: {},
      waiting: sum(own.map(waitingOf)),
      resent: total('resent'),
      recut: total('recut'),
      filtered: {},
      connections: connections[sink] ?? { opened: 0, failed: 0, lost: 0 },
    };
    for (const { dropped, filtered } of own) {
      for (const [reason, amount] of Object.entries(dropped)) {
        report.dropped[reason] = sum([report.dropped[reason] ?? NOTHING, amount]);
      }
      for (const [reason, count] of Object.entries(filtered)) {
        report.filtered[reason] = (report.filtered[reason] ?? 0) + count;
      }
    }
    return report;
  });
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
      dropped: total('dropped'),
      inFlight: total('inFlight'),
    };
  });
}
