import type { SessionDirectory } from '../cluster/session-directory.js';
import type { Registry, SensorActivity, SensorRecord } from '../registry/store.js';
import { shownState } from '../registry/store.js';
import { sensorJson } from '../registry/view.js';
import type { FlowMeter, SensorRate } from '../stats/flow-meter.js';

export interface SensorQuery {
  q?: string | undefined;
  state?: string | undefined;
  group?: string | undefined;
  type?: number | undefined;
  sort: 'name' | 'state' | 'lastSeen' | 'bytesPerSecond' | 'createdAt';
  order: 'asc' | 'desc';
  offset: number;
  limit: number;
}

interface Row {
  sensor: SensorRecord;
  activity: SensorActivity | undefined;
  rate: SensorRate | undefined;
}

/** Searches and sorts the sensors. The registry is read anew only when it has changed. */
export class SensorIndex {
  readonly #registry: Registry;
  readonly #meter: FlowMeter;
  readonly #sessions: SessionDirectory;
  #records: SensorRecord[] = [];
  #version = -1;
  #states:
    | {
        of: readonly SensorRecord[];
        states: Record<'pending' | 'approved' | 'blocked', number>;
      }
    | undefined;

  constructor(registry: Registry, meter: FlowMeter, sessions: SessionDirectory) {
    this.#registry = registry;
    this.#meter = meter;
    this.#sessions = sessions;
  }

  get records(): readonly SensorRecord[] {
    const version = this.#registry.version();
    if (version !== this.#version) {
      this.#version = version;
      this.#records = this.#registry.list();
    }
    return this.#records;
  }

  /** How many sensors are in each state. */
  states(): Readonly<Record<'pending' | 'approved' | 'blocked', number>> {
    const { records } = this;
    if (this.#states?.of !== records) {
      const states = { pending: 0, approved: 0, blocked: 0 };
      for (const sensor of records) states[shownState(sensor)] += 1;
      this.#states = { of: records, states };
    }
    return this.#states.states;
  }

  /** The groups by name, and how many sensors are in each. */
  groups(): { name: string; sensors: number }[] {
    const counts = new Map<string, number>();
    for (const { groups = [] } of this.records) {
      for (const name of groups) counts.set(name, (counts.get(name) ?? 0) + 1);
    }
    return [...counts]
      .map(([name, sensors]) => ({ name, sensors }))
      .sort((a, b) => compareTexts(a.name, b.name));
  }

  nameOf(uuid: string): string {
    return this.#registry.sensor(uuid)?.name ?? '';
  }

  one(sensor: SensorRecord, now = Date.now()) {
    const { uuid } = sensor;
    const row = { sensor, activity: this.#registry.activity(uuid) };
    return this.#json({ ...row, rate: this.#meter.rateOf(uuid, now) }, this.#openOf(uuid), now);
  }

  search(query: SensorQuery, now = Date.now()) {
    const { sort, order, offset, limit } = query;
    const rows = this.records
      .filter((sensor) => this.#fits(sensor, query))
      .map((sensor) => this.#row(sensor, now))
      .filter(({ rate }) => query.type === undefined || rate?.types.includes(query.type));
    const sign = order === 'asc' ? 1 : -1;
    rows.sort((a, b) => sign * compare(a, b, sort) || compareTexts(a.sensor.uuid, b.sensor.uuid));
    const open = new Map<string, number>();
    for (const { sensor } of this.#sessions.values()) {
      open.set(sensor, (open.get(sensor) ?? 0) + 1);
    }
    return {
      total: rows.length,
      offset,
      sensors: rows
        .slice(offset, offset + limit)
        .map((row) => this.#json(row, open.get(row.sensor.uuid) ?? 0, now)),
    };
  }

  #fits(sensor: SensorRecord, { q, state, group }: SensorQuery): boolean {
    if (state !== undefined && shownState(sensor) !== state) return false;
    if (group !== undefined && !sensor.groups?.includes(group)) return false;
    if (q === undefined || q === '') return true;
    const wanted = q.toLowerCase();
    const { uuid, name, description, contact, groups = [] } = sensor;
    return (
      [name, description, contact, ...groups].some((text) => text.toLowerCase().includes(wanted)) ||
      uuid.includes(wanted) ||
      uuid.replaceAll('-', '').includes(wanted)
    );
  }

  #row(sensor: SensorRecord, now: number): Row {
    const { uuid } = sensor;
    const activity = this.#registry.activity(uuid);
    return { sensor, activity, rate: this.#meter.rateOf(uuid, now) };
  }

  #openOf(uuid: string): number {
    let count = 0;
    for (const { sensor } of this.#sessions.values()) if (sensor === uuid) count += 1;
    return count;
  }

  #json({ sensor, activity, rate }: Row, sessions: number, now: number) {
    return {
      ...sensorJson(sensor, activity, now),
      types: rate?.types ?? [],
      sessions,
      bytesPerSecond: rate?.bytesPerSecond ?? 0,
      framesPerSecond: rate?.framesPerSecond ?? 0,
      recentBytesPerSecond: rate?.recent ?? [],
    };
  }
}

function compare(a: Row, b: Row, sort: SensorQuery['sort']): number {
  switch (sort) {
    case 'name':
      return compareTexts(a.sensor.name, b.sensor.name);
    case 'state':
      return compareTexts(shownState(a.sensor), shownState(b.sensor));
    case 'lastSeen':
      return (a.activity?.lastSeen ?? 0) - (b.activity?.lastSeen ?? 0);
    case 'bytesPerSecond':
      return (a.rate?.bytesPerSecond ?? 0) - (b.rate?.bytesPerSecond ?? 0);
    case 'createdAt':
      return a.sensor.createdAt - b.sensor.createdAt;
  }
}

function compareTexts(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
