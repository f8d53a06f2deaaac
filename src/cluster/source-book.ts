import type { CertificateView } from '../alerts/conditions.js';
import { GatewayError } from '../errors.js';
import { sourceName } from './acceptor.js';
import type { SourceStart } from './messages.js';
import type { PreparedSource } from './prepare.js';

/** Listeners that a gateway has ever had, over all reloads. */
export const SOURCES_EVER_MAX = 1_000;

interface Entry extends PreparedSource {
  isActive: boolean;
}

/** What a reload does to the listeners. Numbers are those that connections carry. */
export interface SourcePlan {
  entries: readonly Entry[];
  added: readonly number[];
  removed: readonly number[];
}

/**
 * The listeners by number. A number is given once: connections that were accepted by a listener that
 * is gone go on under it.
 */
export class SourceBook {
  #entries: Entry[];

  constructor(sources: readonly PreparedSource[]) {
    this.#entries = sources.map((source) => ({ ...source, isActive: true }));
  }

  /** By number, for the workers. */
  get starts(): SourceStart[] {
    return this.#entries.map(({ start }) => start);
  }

  /** Names of those that listen. */
  get names(): string[] {
    return this.#entries.flatMap(({ isActive, start }) => (isActive ? start.name : []));
  }

  get certificates(): CertificateView[] {
    return this.#entries.flatMap(({ isActive, start, notAfter }) =>
      isActive && notAfter !== undefined
        ? { source: start.name, notAfter, pem: start.tls?.cert }
        : [],
    );
  }

  nameOf(number: number): string | undefined {
    return this.#entries[number]?.start.name;
  }

  /** A listener was bound: its name has the port now. */
  named(number: number, name: string): void {
    const entry = this.#entries[number]!;
    entry.start = { ...entry.start, name };
  }

  /**
   * Finds which of the listeners stay (their certificates may be others), which come and which go.
   * @throws GatewayError D4GW_E_CONFIG where too many came and went
   */
  plan(sources: readonly PreparedSource[]): SourcePlan {
    const before = this.#entries;
    const entries: Entry[] = before.map((entry) => ({ ...entry, isActive: false }));
    const added: number[] = [];
    for (const source of sources) {
      const key = sourceName(source.config);
      const kept = before.findIndex(
        ({ isActive, config }, number) =>
          isActive && !entries[number]!.isActive && sourceName(config) === key,
      );
      if (kept >= 0) {
        const { name } = before[kept]!.start;
        entries[kept] = { ...source, start: { ...source.start, name }, isActive: true };
      } else {
        added.push(entries.length);
        entries.push({ ...source, isActive: true });
      }
    }
    if (entries.length > SOURCES_EVER_MAX) {
      throw new GatewayError(
        'D4GW_E_CONFIG',
        `listen: ${entries.length} listeners since the gateway began: restart it`,
      );
    }
    const removed = before.flatMap(({ isActive }, number) =>
      isActive && !entries[number]!.isActive ? number : [],
    );
    return { entries, added, removed };
  }

  commit({ entries }: SourcePlan): void {
    this.#entries = [...entries];
  }
}
