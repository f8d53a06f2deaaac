import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { type Actor, type AuditAct, GATEWAY_ACTOR, type TrailHead } from '../audit/entry.js';
import { AuditTrail } from '../audit/trail.js';
import { GatewayError, messageOf } from '../errors.js';
import { type Environment, hasEnvironment, openEnvironment } from '../storage/environment.js';
import { withEvents } from './activity.js';
import { AddressRules, parseAddressRule } from './address.js';
import { type Ban, Bans } from './bans.js';
import { Book } from './book.js';
import {
  BLOCKED_ADDRESSES_MAX,
  CONTACT_CHARS_MAX,
  checkExpect,
  checkGrace,
  checkGroups,
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
  SensorChange,
  SensorRecord,
} from './store.js';
import { Tokens } from './tokens.js';
import { sensorView } from './view.js';

/**
 * The registry in LMDB, in `<dataDir>/registry/`. One database, so that no reader ever has to open
 * a named one while another thread does; what an entry is stands before its key's first slash:
 *
 *     format             number, FORMAT
 *     version            number, grows with each administrative change
 *     sensor/<uuid>      SensorRecord
 *     activity/<uuid>    SensorActivity
 *     address/<rule>     BlockedAddress
 *     token/<id>         TokenRecord (tokens.ts)
 *     ban/<uuid>/<type>  Ban (bans.ts)
 *     audit/head         TrailHead: where the audit trail stands
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
  /** Whom the audit trail ascribes changes to; default: the gateway. */
  actor?: Actor;
}

/** Whether a data directory has a registry. */
export function hasRegistry(dataDir: string): boolean {
  return hasEnvironment(join(dataDir, 'registry'));
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
  const actor = options.actor ?? GATEWAY_ACTOR;
  return new LmdbRegistry(new Book(directory, db, new AuditTrail(dataDir), actor));
}

const sensorKey = (uuid: string) => `sensor/${uuid}`;
const activityKey = (uuid: string) => `activity/${uuid}`;
const addressKey = (rule: string) => `address/${rule}`;

class LmdbRegistry implements Registry {
  readonly tokens: Tokens;
  readonly #book: Book;
  readonly #bans: Bans;
  #rules: { version: number; rules: AddressRules } | undefined;
  #closed: Promise<void> | undefined;

  constructor(book: Book) {
    this.#book = book;
    this.tokens = new Tokens(book);
    this.#bans = new Bans(book);
  }

  as(actor: Actor): Registry {
    return new LmdbRegistry(this.#book.as(actor));
  }

  version(): number {
    this.#book.refresh();
    return this.#book.version();
  }

  sensor(uuid: string): SensorRecord | undefined {
    return this.#book.get<SensorRecord>(sensorKey(uuid));
  }

  activity(uuid: string): SensorActivity | undefined {
    return this.#book.get<SensorActivity>(activityKey(uuid));
  }

  list(): SensorRecord[] {
    return this.#book.all<SensorRecord>('sensor');
  }

  groupsOf(uuid: string): readonly string[] {
    return this.sensor(uuid)?.groups ?? [];
  }

  async add(sensor: NewSensor): Promise<SensorRecord> {
    const record: SensorRecord = {
      uuid: checkUuid(sensor.uuid),
      name: checkName(sensor.name ?? ''),
      description: checkText('description', sensor.description ?? '', DESCRIPTION_CHARS_MAX),
      contact: checkText('contact', sensor.contact ?? '', CONTACT_CHARS_MAX),
      ...groupsAndExpect(sensor),
      state: sensor.state ?? 'approved',
      blocked: false,
      key: checkKey(sensor.key),
      createdAt: Date.now(),
    };
    this.#book.transact(() => {
      if (this.sensor(record.uuid)) {
        throw new GatewayError(
          'D4GW_E_SENSOR',
          `sensor ${record.uuid} exists already: use rotate-key for a new key, or remove it first`,
        );
      }
      this.#book.put(sensorKey(record.uuid), record);
      this.#book.countChange();
      this.#book.record({ act: 'sensor.add', subject: record.uuid, after: sensorView(record) });
    });
    return record;
  }

  async approve(uuid: string): Promise<SensorRecord> {
    return this.#changeSensor('sensor.approve', uuid, (sensor) =>
      sensor.state === 'approved' ? sensor : { ...sensor, state: 'approved' },
    );
  }

  async reject(uuid: string): Promise<void> {
    this.#forget('sensor.reject', uuid, ({ state }) => {
      if (state === 'pending') return;
      throw new GatewayError(
        'D4GW_E_SENSOR',
        `sensor ${uuid} was approved before: block it, or remove it`,
      );
    });
  }

  async edit(uuid: string, change: SensorChange): Promise<SensorRecord> {
    const { name, description, contact } = change;
    const checked = {
      ...(name === undefined ? {} : { name: checkName(name) }),
      ...(description === undefined
        ? {}
        : { description: checkText('description', description, DESCRIPTION_CHARS_MAX) }),
      ...(contact === undefined
        ? {}
        : { contact: checkText('contact', contact, CONTACT_CHARS_MAX) }),
      ...groupsAndExpect(change),
    };
    return this.#changeSensor('sensor.edit', uuid, (sensor) => {
      const after = { ...sensor, ...checked };
      return isDeepStrictEqual(after, sensor) ? sensor : after;
    });
  }

  async rotateKey(uuid: string, key: Buffer, graceSeconds: number): Promise<SensorRecord> {
    const fresh = checkKey(key);
    const graceMs = checkGrace(graceSeconds) * 1000;
    return this.#changeSensor('sensor.rotate-key', uuid, (sensor) => {
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
    this.#forget('sensor.remove', uuid);
  }

  async block(uuid: string): Promise<SensorRecord> {
    return this.#changeSensor('sensor.block', uuid, (sensor) =>
      sensor.blocked ? sensor : { ...sensor, blocked: true },
    );
  }

  async unblock(uuid: string): Promise<SensorRecord> {
    return this.#changeSensor('sensor.unblock', uuid, (sensor) =>
      sensor.blocked ? { ...sensor, blocked: false } : sensor,
    );
  }

  async blockAddress(text: string): Promise<string> {
    const rule = canonicalRule(text);
    this.#book.transact(() => {
      if (this.#book.has(addressKey(rule))) return;
      if (this.blockedAddresses().length >= BLOCKED_ADDRESSES_MAX) {
        throw new GatewayError(
          'D4GW_E_REGISTRY',
          `${BLOCKED_ADDRESSES_MAX} addresses are blocked already: put some together in ranges, or block them in the firewall`,
        );
      }
      this.#book.put(addressKey(rule), { address: rule, at: Date.now() } satisfies BlockedAddress);
      this.#book.countChange();
      this.#book.record({ act: 'address.block', subject: rule });
    });
    return rule;
  }

  async unblockAddress(text: string): Promise<string> {
    const rule = canonicalRule(text);
    this.#book.transact(() => {
      if (!this.#book.has(addressKey(rule))) {
        throw new GatewayError(
          'D4GW_E_SENSOR',
          `${rule} is not blocked: name a rule as \`sensor list\` shows it`,
        );
      }
      this.#book.remove(addressKey(rule));
      this.#book.countChange();
      this.#book.record({ act: 'address.unblock', subject: rule });
    });
    return rule;
  }

  blockedAddresses(): BlockedAddress[] {
    return this.#book.all<BlockedAddress>('address');
  }

  addressBlocked(address: string): boolean {
    const version = this.version();
    if (this.#rules?.version !== version) {
      const rules = new AddressRules(this.blockedAddresses().map((blocked) => blocked.address));
      this.#rules = { version, rules };
    }
    return this.#rules.rules.has(address);
  }

  async ban(ban: Ban, act: AuditAct): Promise<void> {
    this.#book.transact(() => {
      this.#bans.put(ban);
      this.#book.record(act);
    });
  }

  bannedUntil(uuid: string, type: number): number | undefined {
    this.#book.refresh();
    return this.#bans.until(uuid, type);
  }

  bans(): Ban[] {
    this.#book.refresh();
    return this.#bans.list();
  }

  async record(act: AuditAct): Promise<void> {
    this.#book.transact(() => this.#book.record(act));
  }

  trailHead(): TrailHead | undefined {
    this.#book.refresh();
    return this.#book.trailHead();
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
      this.#book.transact(() => {
        for (const [uuid, facts] of entries.slice(start, start + ACTIVITY_SENSORS_MAX)) {
          if (!this.#book.has(sensorKey(uuid))) continue;
          this.#book.put(activityKey(uuid), withEvents(this.activity(uuid), facts));
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
    this.#closed ??= this.#book.close();
    return this.#closed;
  }

  /** Replaces a sensor's record; a `change` that returns the record it was given changes nothing. */
  #changeSensor(
    act: string,
    uuid: string,
    change: (sensor: SensorRecord) => SensorRecord,
  ): SensorRecord {
    return this.#book.transact(() => {
      const before = this.sensor(uuid);
      if (!before) throw unknownSensor(uuid);
      const after = change(before);
      if (after !== before) {
        this.#book.put(sensorKey(uuid), after);
        this.#book.countChange();
        const views = { before: sensorView(before), after: sensorView(after) };
        this.#book.record({ act, subject: uuid, ...views });
      }
      return after;
    });
  }

  #forget(act: string, uuid: string, check: (sensor: SensorRecord) => void = () => {}): void {
    this.#book.transact(() => {
      const before = this.sensor(uuid);
      if (!before) throw unknownSensor(uuid);
      check(before);
      this.#book.remove(sensorKey(uuid));
      this.#book.remove(activityKey(uuid));
      this.#book.countChange();
      this.#book.record({ act, subject: uuid, before: sensorView(before) });
    });
  }
}

function groupsAndExpect({ groups, expectSeconds }: SensorChange) {
  return {
    ...(groups === undefined ? {} : { groups: checkGroups(groups) }),
    ...(expectSeconds === undefined ? {} : { expectSeconds: checkExpect(expectSeconds) }),
  };
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
