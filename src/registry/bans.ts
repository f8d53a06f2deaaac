import { GatewayError } from '../errors.js';
import type { Book } from './book.js';

/** A sensor that was kicked comes back after this, unless told otherwise. */
export const BAN_SECONDS_DEFAULT = 30;
export const BAN_SECONDS_MAX = 366 * 86_400;
export const BANS_MAX = 10_000;

/** A sensor that may open no session of a type for a while. */
export interface Ban {
  sensor: string;
  type: number;
  /** Ms since the epoch. */
  until: number;
}

const keyOf = (sensor: string, type: number) => `ban/${sensor}/${String(type).padStart(3, '0')}`;

/** Bans in the registry, under `ban/<uuid>/<type>`; those that are over go with the next one. */
export class Bans {
  readonly #book: Book;

  constructor(book: Book) {
    this.#book = book;
  }

  /** Until when the sensor may not open a session of this type; undefined where it may. */
  until(sensor: string, type: number, now = Date.now()): number | undefined {
    const ban = this.#book.get<Ban>(keyOf(sensor, type));
    return ban && ban.until > now ? ban.until : undefined;
  }

  list(now = Date.now()): Ban[] {
    return this.#book.all<Ban>('ban').filter(({ until }) => until > now);
  }

  /**
   * Takes part in the transaction of its caller, who also records the act.
   * @throws GatewayError D4GW_E_REGISTRY where too many are banned
   */
  put(ban: Ban, now = Date.now()): void {
    const all = this.#book.all<Ban>('ban');
    let count = 0;
    for (const { sensor, type, until } of all) {
      if (until <= now) this.#book.remove(keyOf(sensor, type));
      else count += 1;
    }
    if (count >= BANS_MAX) {
      throw new GatewayError(
        'D4GW_E_REGISTRY',
        `${BANS_MAX} sensors are banned for a while already: block this one instead`,
      );
    }
    this.#book.put(keyOf(ban.sensor, ban.type), ban);
  }
}
