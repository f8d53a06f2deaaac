import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { GatewayError, messageOf } from '../errors.js';
import { checkSpace } from '../storage/disk-space.js';
import { type Environment, hasEnvironment, openEnvironment } from '../storage/environment.js';
import { withEvents } from './activity.js';
import { AddressRules, parseAddressRule } from './address.js';
import {
  BLOCKED_ADDRESSES_MAX,
  CONTACT_CHARS_MAX,
  checkGrace,
  checkKey,
  checkName,
  checkText,
  checkUuid,
  DESCRIPTION_CHARS_MAX,
} from './limits.js';
import type {
  ActivityEvent,
  BlockedAddress,
  LastReject,
  NewSensor,
  Registry,
  SensorActivity,
  SensorRecord,
} from './store.js';

/**
 * The registry in LMDB, in `<dataDir>/registry/`. One database, so that no reader ever has to open
 * a named one while another thread does; what an entry is stands before its key's first slash:
 *
 *     format             number, FORMAT
 *     version            number, grows with each administrative change
 *     sensor/<uuid>      SensorRecord
 *     activity/<uuid>    SensorActivity
 *     address/<rule>     BlockedAddress
 *
 * Any number of processes and threads may hold it open. Writers take turns by a robust mutex in
 * shared memory: the kernel hands the turn of a killed process on, and its half-done transaction
 * was never visible. Rules of lmdb-js that this file keeps:
 *  - all changes run in `transactionSync`, which a throw aborts. In an asynchronous `transaction`,
 *    what was written before a throw is committed, and a failing disk ends the process;
 *  - all who open it in one process share one environment, made with the options of the first: a
 *    process that writes must open for writing first;
 *  - nobody opens `lock.mdb` by another way: closing that descriptor would drop the process's
 *    claim on the lock file, and the next process to come would reset it under our feet.
 */
const FORMAT = 1;
/** Workers have two readers each; a slot is 64 bytes of the lock file. */
const READERS_MAX = 1024;
const MAP_BYTES = 256 * 1024 * 1024;

/** Sensors whose activity one transaction takes: the event loop turns between two. */
const ACTIVITY_SENSORS_MAX = 256;

export interface RegistryOptions {
  /** Default false. A reader needs a registry that a writer has made. */
  readOnly?: boolean;
}

/**
 * Opens the registry of a data directory; a writer creates what is missing.
 * @throws GatewayError D4GW_E_REGISTRY
 */
export function openRegistry(dataDir: string, options: RegistryOptions = {}): Registry {
  const readOnly = options.readOnly ?? false;
  const directory = join(dataDir, 'registry');
  if (readOnly && !hasEnvironment(directory)) {
    throw new GatewayError(
      'D4GW_E_REGISTRY',
      `no registry in ${directory}: add a sensor or start the gateway first, or name another data directory`,
    );
  }
  let db: Environment;
  try {
    db = openEnvironment(directory, {
      readOnly,
      format: FORMAT,
      mapBytes: MAP_BYTES,
      readersMax: READERS_MAX,
    });
  } catch (error) {
    throw new GatewayError(
      'D4GW_E_REGISTRY',
      `cannot open the registry in ${directory}: ${messageOf(error)}`,
      { cause: error },
    );
  }
  return new LmdbRegistry(directory, db);
}

const sensorKey = (uuid: string) => `sensor/${uuid}`;
const activityKey = (uuid: string) => `activity/${uuid}`;
const addressKey = (rule: string) => `address/${rule}`;

class LmdbRegistry implements Registry {
  readonly #directory: string;
  readonly #db: Environment;
  #rules: { version: number; rules: AddressRules } | undefined;
  #closed: Promise<void> | undefined;

  constructor(directory: string, db: Environment) {
    this.#directory = directory;
    this.#db = db;
  }

  version(): number {
    // Within one turn of the event loop lmdb-js reads one snapshot: begin a new one.
    this.#db.resetReadTxn();
    return this.#read<number>('version') ?? 0;
  }

  sensor(uuid: string): SensorRecord | undefined {
    return this.#read<SensorRecord>(sensorKey(uuid));
  }

  activity(uuid: string): SensorActivity | undefined {
    return this.#read<SensorActivity>(activityKey(uuid));
  }

  list(): SensorRecord[] {
    return this.#all<SensorRecord>('sensor');
  }

  async add(sensor: NewSensor): Promise<SensorRecord> {
    const record: SensorRecord = {
      uuid: checkUuid(sensor.uuid),
      name: checkName(sensor.name ?? ''),
      description: checkText('description', sensor.description ?? '', DESCRIPTION_CHARS_MAX),
      contact: checkText('contact', sensor.contact ?? '', CONTACT_CHARS_MAX),
      state: sensor.state ?? 'approved',
      blocked: false,
      key: checkKey(sensor.key),
      createdAt: Date.now(),
    };
    this.#transact(() => {
      if (this.sensor(record.uuid)) {
        throw new GatewayError(
          'D4GW_E_SENSOR',
          `sensor ${record.uuid} exists already: use rotate-key for a new key, or remove it first`,
        );
      }
      this.#db.put(sensorKey(record.uuid), record);
      this.#countChange();
    });
    return record;
  }

  async approve(uuid: string): Promise<SensorRecord> {
    return this.#changeSensor(uuid, (sensor) =>
      sensor.state === 'approved' ? sensor : { ...sensor, state: 'approved' },
    );
  }

  async rotateKey(uuid: string, key: Buffer, graceSeconds: number): Promise<SensorRecord> {
    const fresh = checkKey(key);
    const graceMs = checkGrace(graceSeconds) * 1000;
    return this.#changeSensor(uuid, (sensor) => {
      if (fresh.equals(sensor.key)) {
        throw new GatewayError(
          'D4GW_E_SENSOR',
          `sensor ${uuid} has that key already: give another, or have one generated`,
        );
      }
      const { previousKey: _, ...rest } = sensor;
      const previousKey = { key: sensor.key, validUntil: Date.now() + graceMs };
      return { ...rest, key: fresh, ...(graceMs > 0 ? { previousKey } : {}) };
    });
  }

  async remove(uuid: string): Promise<void> {
    this.#transact(() => {
      if (!this.sensor(uuid)) throw unknownSensor(uuid);
      this.#db.remove(sensorKey(uuid));
      this.#db.remove(activityKey(uuid));
      this.#countChange();
    });
  }

  async block(uuid: string): Promise<SensorRecord> {
    return this.#changeSensor(uuid, (sensor) =>
      sensor.blocked ? sensor : { ...sensor, blocked: true },
    );
  }

  async unblock(uuid: string): Promise<SensorRecord> {
    return this.#changeSensor(uuid, (sensor) =>
      sensor.blocked ? { ...sensor, blocked: false } : sensor,
    );
  }

  async blockAddress(text: string): Promise<string> {
    const rule = canonicalRule(text);
    this.#transact(() => {
      if (this.#read(addressKey(rule))) return;
      if (this.blockedAddresses().length >= BLOCKED_ADDRESSES_MAX) {
        throw new GatewayError(
          'D4GW_E_REGISTRY',
          `${BLOCKED_ADDRESSES_MAX} addresses are blocked already: put some together in ranges, or block them in the firewall`,
        );
      }
      this.#db.put(addressKey(rule), { address: rule, at: Date.now() } satisfies BlockedAddress);
      this.#countChange();
    });
    return rule;
  }

  async unblockAddress(text: string): Promise<string> {
    const rule = canonicalRule(text);
    this.#transact(() => {
      if (!this.#read(addressKey(rule))) {
        throw new GatewayError(
          'D4GW_E_SENSOR',
          `${rule} is not blocked: name a rule as \`sensor list\` shows it`,
        );
      }
      this.#db.remove(addressKey(rule));
      this.#countChange();
    });
    return rule;
  }

  blockedAddresses(): BlockedAddress[] {
    return this.#all<BlockedAddress>('address');
  }

  addressBlocked(address: string): boolean {
    const version = this.version();
    if (this.#rules?.version !== version) {
      const rules = new AddressRules(this.blockedAddresses().map((blocked) => blocked.address));
      this.#rules = { version, rules };
    }
    return this.#rules.rules.has(address);
  }

  async recordActivity(events: readonly ActivityEvent[]): Promise<void> {
    if (events.length === 0) return;
    const bySensor = new Map<string, ActivityEvent[]>();
    for (const event of events) {
      const known = bySensor.get(event.uuid);
      if (known) known.push(event);
      else bySensor.set(event.uuid, [event]);
    }
    const entries = [...bySensor];
    for (let start = 0; start < entries.length; start += ACTIVITY_SENSORS_MAX) {
      if (start > 0) await setImmediate();
      this.#transact(() => {
        for (const [uuid, facts] of entries.slice(start, start + ACTIVITY_SENSORS_MAX)) {
          if (!this.#db.doesExist(sensorKey(uuid))) continue;
          this.#db.put(activityKey(uuid), withEvents(this.activity(uuid), facts));
        }
      });
    }
  }

  recordReject(uuid: string, reject: LastReject): Promise<void> {
    return this.recordActivity([{ kind: 'reject', uuid, ...reject }]);
  }

  recordNote(uuid: string, text: string, at: number): Promise<void> {
    return this.recordActivity([{ kind: 'note', uuid, text, at }]);
  }

  close(): Promise<void> {
    this.#closed ??= this.#db.close();
    return this.#closed;
  }

  #read<T>(key: string): T | undefined {
    return this.#db.get(key) as T | undefined;
  }

  #all<T>(kind: 'sensor' | 'address'): T[] {
    // '0' follows '/'.
    const range = this.#db.getRange({ start: `${kind}/`, end: `${kind}0` });
    return Array.from(range, ({ value }) => value as T);
  }

  /** Replaces a sensor's record; a `change` that returns the record it was given changes nothing. */
  #changeSensor(uuid: string, change: (sensor: SensorRecord) => SensorRecord): SensorRecord {
    return this.#transact(() => {
      const before = this.sensor(uuid);
      if (!before) throw unknownSensor(uuid);
      const after = change(before);
      if (after !== before) {
        this.#db.put(sensorKey(uuid), after);
        this.#countChange();
      }
      return after;
    });
  }

  /** All of `change` or nothing, on disk when it returns. */
  #transact<T>(change: () => T): T {
    if (!this.#db.transactionSync) throw new TypeError('the registry was opened for reading');
    try {
      checkSpace(this.#directory);
      return this.#db.transactionSync(change);
    } catch (error) {
      throw failed(error);
    }
  }

  #countChange(): void {
    this.#db.put('version', (this.#read<number>('version') ?? 0) + 1);
  }
}

function failed(error: unknown): GatewayError {
  if (error instanceof GatewayError) return error;
  return new GatewayError('D4GW_E_REGISTRY', `the registry took no change: ${messageOf(error)}`, {
    cause: error,
  });
}

function unknownSensor(uuid: string): GatewayError {
  return new GatewayError('D4GW_E_SENSOR', `no sensor ${uuid}: \`sensor list\` shows them all`);
}

function canonicalRule(text: string): string {
  const rule = parseAddressRule(text);
  if (!rule) {
    throw new GatewayError(
      'D4GW_E_USAGE',
      `${JSON.stringify(text)} is no address and no range: write 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32`,
    );
  }
  return rule.text;
}
