import type { Registry, SensorRecord } from '../registry/store.js';
import type { Condition } from './book.js';

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
    return this.#expected.flatMap(({ uuid, name, seconds, since }) => {
      const secondsSince = (at: number) => Math.floor((now - at) / 1000);
      const heard = Math.max(heardAt(uuid) ?? 0, since);
      // Most were heard just now: their records need not be read.
      if (secondsSince(heard) <= seconds) return [];
      const silent = secondsSince(Math.max(heard, this.#registry.activity(uuid)?.lastSeen ?? 0));
      if (silent <= seconds) return [];
      return {
        key: `sensor-silent/${uuid}`,
        kind: 'sensor-silent' as const,
        severity: 'warning' as const,
        subject: uuid,
        text: `sensor ${name || uuid} is silent for ${silent} s; it is expected every ${seconds} s`,
      };
    });
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
  }

  /** Its own, else the shortest of its groups'. */
  #secondsOf({ expectSeconds = 0, groups = [] }: SensorRecord): number | undefined {
    if (expectSeconds > 0) return expectSeconds;
    const own = this.#rules.filter((rule) => rule.groups.some((group) => groups.includes(group)));
    return own.length === 0 ? undefined : Math.min(...own.map(({ seconds }) => seconds));
  }
}
