import type { Actor, AuditAct, TrailHead } from '../audit/entry.js';
import type { Ban } from './bans.js';
import type { Tokens } from './tokens.js';

/**
 * The registry: which sensors and addresses may send, and what was last heard of each sensor.
 * Reads answer at once from the caller's own view of the store; writes resolve once they are on
 * disk. `lmdb.ts` implements it.
 */
export interface Registry {
  /** The tokens of the control plane. */
  readonly tokens: Tokens;

  /** The same registry, whose changes the audit trail ascribes to `actor`. */
  as(actor: Actor): Registry;

  /**
   * Grows with each administrative change (sensors and blocks, not activity), so that a process
   * can see with one cheap read whether what it knows still holds.
   */
  version(): number;

  sensor(uuid: string): SensorRecord | undefined;
  activity(uuid: string): SensorActivity | undefined;
  /** Every sensor, by UUID. */
  list(): SensorRecord[];

  /** The names of groups that a sensor is in; none for one that is not known. */
  groupsOf(uuid: string): readonly string[];

  /** @throws GatewayError D4GW_E_SENSOR where the UUID is taken or a value is not acceptable */
  add(sensor: NewSensor): Promise<SensorRecord>;
  approve(uuid: string): Promise<SensorRecord>;
  /** Forgets a pending sensor; one that was approved is refused. */
  reject(uuid: string): Promise<void>;
  /** Changes what is said of a sensor; what is not named stays. */
  edit(uuid: string, change: SensorChange): Promise<SensorRecord>;
  /**
   * Makes `key` the sensor's key. The key that it replaces stays valid for `graceSeconds`; one
   * that was replaced before ends at once, grace or not.
   */
  rotateKey(uuid: string, key: Buffer, graceSeconds: number): Promise<SensorRecord>;
  /** Forgets the sensor and its activity. */
  remove(uuid: string): Promise<void>;
  block(uuid: string): Promise<SensorRecord>;
  /** The sensor is again what it was before it was blocked: pending or approved. */
  unblock(uuid: string): Promise<SensorRecord>;

  /** @param rule an address or a CIDR range, v4 or v6; returns its canonical form */
  blockAddress(rule: string): Promise<string>;
  unblockAddress(rule: string): Promise<string>;
  blockedAddresses(): BlockedAddress[];
  /** Whether a peer's address lies in a blocked range; text that is no address does not. */
  addressBlocked(address: string): boolean;

  /** A session of this sensor and type is not admitted before `until` (ms since the epoch). */
  ban(ban: Ban, act: AuditAct): Promise<void>;
  bannedUntil(uuid: string, type: number): number | undefined;
  bans(): Ban[];

  /** Puts an act on the audit trail that changes nothing in the registry. */
  record(act: AuditAct): Promise<void>;
  /** The newest line of the audit trail that was committed. */
  trailHead(): TrailHead | undefined;

  /**
   * Adds many facts in few transactions. Those of sensors that are not registered are ignored.
   * @throws GatewayError D4GW_E_REGISTRY while the disk is full, as every write
   */
  recordActivity(events: readonly ActivityEvent[]): Promise<void>;
  recordReject(uuid: string, reject: LastReject): Promise<void>;
  recordNote(uuid: string, text: string, at: number): Promise<void>;

  close(): Promise<void>;
}

export type SensorState = 'pending' | 'approved';

export interface SensorRecord {
  /** Version 4, lower case with hyphens. */
  uuid: string;
  name: string;
  description: string;
  contact: string;
  state: SensorState;
  /** Set beside the state, so that `unblock` restores it. */
  blocked: boolean;
  key: Buffer;
  /** The key before the last rotation, good until `validUntil` (ms since the epoch). */
  previousKey?: PreviousKey | undefined;
  /** Names of groups; absent in records of sensors that never were in one. */
  groups?: readonly string[] | undefined;
  /** When it is silent for longer than this, something is wrong; absent: it may be. */
  expectSeconds?: number | undefined;
  /** Ms since the epoch. */
  createdAt: number;
}

/** What an operator may say of a sensor. `expectSeconds` 0: it may be silent. */
export interface SensorChange {
  name?: string | undefined;
  description?: string | undefined;
  contact?: string | undefined;
  groups?: readonly string[] | undefined;
  expectSeconds?: number | undefined;
}

export interface PreviousKey {
  key: Buffer;
  validUntil: number;
}

export interface NewSensor {
  uuid: string;
  key: Buffer;
  name?: string | undefined;
  description?: string | undefined;
  contact?: string | undefined;
  groups?: readonly string[] | undefined;
  expectSeconds?: number | undefined;
  state?: SensorState | undefined;
}

/** Times in ms since the epoch. */
export interface SensorActivity {
  firstSeen?: number | undefined;
  lastSeen?: number | undefined;
  lastAddress?: string | undefined;
  lastReject?: LastReject | undefined;
  /** The newest last; one entry a text, however often it was noted. */
  notes: Note[];
}

export interface LastReject {
  /** A reject's name, such as `bad-hmac`. */
  reason: string;
  detail: string;
  at: number;
  address: string;
}

export interface Note {
  text: string;
  at: number;
  /** How often the same text was noted; `at` is the last time. */
  count: number;
}

export interface BlockedAddress {
  /** An address, or `network/prefix`, in canonical form. */
  address: string;
  /** Since when, ms since the epoch. */
  at: number;
}

export type ActivityEvent =
  | { kind: 'seen'; uuid: string; at: number; address: string }
  | ({ kind: 'reject'; uuid: string } & LastReject)
  | { kind: 'note'; uuid: string; at: number; text: string };

/** What a sensor counts as: blocked hides pending or approved. */
export function shownState(sensor: SensorRecord): SensorState | 'blocked' {
  return sensor.blocked ? 'blocked' : sensor.state;
}
