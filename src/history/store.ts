import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import type { Logger } from 'pino';
import { GatewayError, messageOf } from '../errors.js';
import { UNVERIFIED_SENSOR } from '../ledger/totals.js';
import type { Flow } from '../stats/messages.js';
import { checkSpace } from '../storage/disk-space.js';
import { type Environment, openEnvironment } from '../storage/environment.js';
import { ALL_SENSORS, chunkKey, LAYOUTS, recordKey, UNITS, type Unit } from './layout.js';

const FORMAT = 1;
const MAP_BYTES = 1024 * 1024 * 1024;
/**
 * Records kept, of 1 KB at most: enough for 10,000 sensors all the time. Beyond it the older half of
 * the minutes goes, then of the hours.
 */
export const RECORDS_MAX = 2_000_000;
/** Records that one transaction writes: the event loop turns between two. */
const BATCH = 200;
/** Sensors and types whose minute is kept in memory; what comes beyond counts for all alone. */
export const PENDING_MAX = 50_000;
const PRUNE_BATCH = 1_000;
const MINUTE_MS = 60_000;

interface Amounts {
  sensor: string;
  type: number;
  frames: number;
  bytes: number;
}

export interface HistoryPoint {
  /** Begin of the step, ms since the epoch. */
  at: number;
  frames: number;
  bytes: number;
}

/**
 * Frames and payload bytes by sensor and type: by minute for 2 days, by hour for 60 days, by day for
 * 5 years. Gathered in memory for a minute and then written in batches, so a process that dies loses
 * a minute of it: it is a chart, not the ledger.
 */
export class HistoryStore {
  readonly #directory: string;
  readonly #db: Environment;
  readonly #log: Logger;
  #pending = new Map<string, Amounts>();
  readonly #recordsMax: number;
  #minute = 0;
  #writing: Promise<void> = Promise.resolve();
  #faulty = false;

  /** @throws GatewayError D4GW_E_CONTROL where it can't be opened */
  static open(dataDir: string, log: Logger, recordsMax = RECORDS_MAX): HistoryStore {
    const directory = join(dataDir, 'history');
    try {
      const options = { readOnly: false, format: FORMAT, mapBytes: MAP_BYTES };
      return new HistoryStore(directory, openEnvironment(directory, options), log, recordsMax);
    } catch (error) {
      throw new GatewayError(
        'D4GW_E_CONTROL',
        `cannot open the history in ${directory}: ${messageOf(error)}`,
        { cause: error },
      );
    }
  }

  private constructor(directory: string, db: Environment, log: Logger, recordsMax: number) {
    this.#directory = directory;
    this.#db = db;
    this.#log = log;
    this.#recordsMax = recordsMax;
  }

  /** What sessions added; of the minute that `at` is in. */
  take(flow: readonly Flow[], at: number): void {
    const minute = Math.floor(at / MINUTE_MS);
    if (minute !== this.#minute) {
      this.#flushSoon();
      this.#minute = minute;
    }
    for (const [, sensor, type, frames, bytes] of flow) {
      if (frames === 0 && bytes === 0) continue;
      if (sensor !== UNVERIFIED_SENSOR) this.#add(sensor, type, frames, bytes);
      this.#add(ALL_SENSORS, type, frames, bytes);
    }
  }

  /** Resolves when all that was taken is written, or could not be. */
  async flush(): Promise<void> {
    this.#flushSoon();
    await this.#writing;
  }

  async close(): Promise<void> {
    await this.flush();
    await this.#db.close();
  }

  /**
   * One sensor's past (or `ALL_SENSORS`'), by type, with every step in which something came.
   * @param from ms since the epoch; `to` is not included
   */
  read(sensor: string, unit: Unit, from: number, to: number): Map<number, HistoryPoint[]> {
    const layout = LAYOUTS[unit];
    const found = new Map<number, HistoryPoint[]>();
    const last = layout.place(to - 1).chunk;
    const first = Math.max(layout.place(from).chunk, last - layout.chunksKept);
    this.#db.resetReadTxn();
    for (let chunk = first; chunk <= last; chunk += 1) {
      const start = `${chunkKey(unit, chunk)}${sensor}/`;
      for (const { key, value } of this.#db.getRange({ start, end: `${start}~` })) {
        const type = Number(key.slice(start.length));
        const points = found.get(type) ?? [];
        found.set(type, points);
        const numbers = value as number[];
        for (let step = 0; step < numbers.length / 2; step += 1) {
          const [frames, bytes] = [numbers[2 * step]!, numbers[2 * step + 1]!];
          const at = layout.startOf(chunk) + step * layout.stepMs;
          if ((frames > 0 || bytes > 0) && at >= from && at < to) {
            points.push({ at, frames, bytes });
          }
        }
      }
    }
    return found;
  }

  #add(sensor: string, type: number, frames: number, bytes: number): void {
    const key = `${sensor}/${type}`;
    const known = this.#pending.get(key);
    if (known) {
      known.frames += frames;
      known.bytes += bytes;
    } else if (this.#pending.size < PENDING_MAX || sensor === ALL_SENSORS) {
      this.#pending.set(key, { sensor, type, frames, bytes });
    }
  }

  #flushSoon(): void {
    if (this.#pending.size === 0) return;
    const amounts = [...this.#pending.values()];
    const at = this.#minute * MINUTE_MS;
    this.#pending = new Map();
    this.#writing = this.#writing.then(() => this.#write(amounts, at));
  }

  async #write(amounts: readonly Amounts[], at: number): Promise<void> {
    try {
      for (let first = 0; first < amounts.length; first += BATCH) {
        this.#transact(() => {
          for (const amount of amounts.slice(first, first + BATCH)) this.#put(amount, at);
        });
        await setImmediate();
      }
      await this.#prune(at);
      if (this.#records > this.#recordsMax) await this.#makeRoom(at);
      this.#faulty = false;
    } catch (error) {
      if (!this.#faulty) {
        this.#log.error({ error: messageOf(error) }, 'history cannot be written: it has a gap');
      }
      this.#faulty = true;
    }
  }

  #put({ sensor, type, frames, bytes }: Amounts, at: number): void {
    for (const unit of UNITS) {
      const { chunk, step } = LAYOUTS[unit].place(at);
      const key = recordKey(unit, chunk, sensor, type);
      const numbers = (this.#db.get(key) as number[] | undefined) ?? [];
      while (numbers.length < 2 * step + 2) numbers.push(0);
      numbers[2 * step]! += frames;
      numbers[2 * step + 1]! += bytes;
      void this.#db.put(key, numbers);
    }
  }

  /** Takes away what is older than is kept. */
  async #prune(at: number): Promise<void> {
    for (const unit of UNITS) {
      const { place, chunksKept } = LAYOUTS[unit];
      await this.#removeBelow(unit, place(at).chunk - chunksKept);
    }
  }

  get #records(): number {
    return (this.#db.getStats() as { entryCount: number }).entryCount;
  }

  /** There is more than is kept: half of what is kept by minute goes, or of what is by hour. */
  async #makeRoom(at: number): Promise<void> {
    for (const unit of ['minute', 'hour'] as const) {
      const { place, chunksKept } = LAYOUTS[unit];
      if ((await this.#removeBelow(unit, place(at).chunk - chunksKept / 2)) > 0) return;
    }
  }

  async #removeBelow(unit: Unit, chunk: number): Promise<number> {
    const range = { start: `${LAYOUTS[unit].prefix}/`, end: chunkKey(unit, Math.max(chunk, 0)) };
    let removed = 0;
    for (;;) {
      const keys = [...this.#db.getKeys({ ...range, limit: PRUNE_BATCH })];
      if (keys.length === 0) return removed;
      this.#transact(() => {
        for (const key of keys) void this.#db.remove(key);
      });
      removed += keys.length;
      await setImmediate();
    }
  }

  #transact(change: () => void): void {
    checkSpace(this.#directory);
    this.#db.transactionSync(change);
  }
}
