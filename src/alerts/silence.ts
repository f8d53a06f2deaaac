import type { Registry, SensorRecord } from '../registry/store.js';
import type { Condition } from './book.js';

/** One that is silent is looked at so often. */
const SILENT_LOOK_MS = 2_000;

/** Groups whose sensors are expected, each at least every so many seconds. */
export interface SilenceRule {
  groups: readonly string[];
  seconds: number;
}

interface Expected {
  uuid: string;
  name: string;
  seconds: number;
  /** From when on it is expected: its record was made then. */
  since: number;
}

/**
 * Which sensors are silent for longer than they should be. The list of those that are expected is
 * made anew when the registry has changed.
 */
export class Silence {
  readonly #registry: Registry;
  readonly #rules: readonly SilenceRule[];
  readonly #startedAt: number;
  #expected: Expected[] = [];
  /** By the index of the expected: when to look at it next, ms since the epoch. */
  #dueAt = new Float64Array(0);
  readonly #silent = new Map<string, Condition>();
  #version = -1;

  /** @param startedAt nobody is silent for longer than the gateway listens */
  constructor(registry: Registry, rules: readonly SilenceRule[], startedAt: number) {
    this.#registry = registry;
    this.#rules = rules;
    this.#startedAt = startedAt;
  }

  /** @param heardAt what was heard since the record was last written, ms since the epoch */
  conditions(heardAt: (sensor: string) => number | undefined, now: number): Condition[] {
    this.#refresh();
    for (const [index, expected] of this.#expected.entries()) {
      const isDue = now >= this.#dueAt[index]!;
      // One that was silent may be heard again before.
      const isBack = !isDue && this.#silent.has(expected.uuid) && isHeard(expected, heardAt, now);
      if (isDue || isBack) this.#dueAt[index] = this.#look(expected, heardAt, now);
    }
    return [...this.#silent.values()];
  }

  /** Returns when to look again: it can't have been silent for too long before. */
  #look(
    { uuid, name, seconds, since }: Expected,
    heardAt: (sensor: string) => number | undefined,
    now: number,
  ): number {
    const secondsSince = (at: number) => Math.floor((now - at) / 1000);
    const dueOf = (at: number) => at + (seconds + 1) * 1000;
    const heard = Math.max(heardAt(uuid) ?? 0, since);
    // Most were heard just now: their records need not be read.
    const last =
      secondsSince(heard) <= seconds
        ? heard
        : Math.max(heard, this.#registry.activity(uuid)?.lastSeen ?? 0);
    const silent = secondsSince(last);
    if (silent <= seconds) {
      this.#silent.delete(uuid);
      return dueOf(last);
    }
    this.#silent.set(uuid, {
      key: `sensor-silent/${uuid}`,
      kind: 'sensor-silent',
      severity: 'warning',
      subject: uuid,
      text: `sensor ${name || uuid} is silent for ${silent} s; it is expected every ${seconds} s`,
    });
    return now + SILENT_LOOK_MS;
  }

  #refresh(): void {
    const version = this.#registry.version();
    if (version === this.#version) return;
    this.#version = version;
    this.#expected = this.#registry.list().flatMap((sensor) => {
      const seconds = this.#secondsOf(sensor);
      if (seconds === undefined || sensor.blocked || sensor.state === 'pending') return [];
      const { uuid, name, createdAt } = sensor;
      return { uuid, name, seconds, since: Math.max(createdAt, this.#startedAt) };
    });
    this.#dueAt = new Float64Array(this.#expected.length);
    const expected = new Set(this.#expected.map(({ uuid }) => uuid));
    for (const uuid of this.#silent.keys()) if (!expected.has(uuid)) this.#silent.delete(uuid);
  }

  /** Its own, else the shortest of its groups'. */
  #secondsOf({ expectSeconds = 0, groups = [] }: SensorRecord): number | undefined {
    if (expectSeconds > 0) return expectSeconds;
    const own = this.#rules.filter((rule) => rule.groups.some((group) => groups.includes(group)));
    return own.length === 0 ? undefined : Math.min(...own.map(({ seconds }) => seconds));
  }
}

function isHeard(
  { uuid, seconds }: Expected,
  heardAt: (sensor: string) => number | undefined,
  now: number,
): boolean {
  return now - (heardAt(uuid) ?? 0) < (seconds + 1) * 1000;
}
