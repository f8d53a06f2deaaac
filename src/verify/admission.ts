import { Reject, type RejectCode } from '../wire/reject.js';

/** What admission needs of the registry; `registry/store.ts` offers more. */
export interface SensorLookup {
  sensor(uuid: string): SensorKeys | undefined;
  addressBlocked(address: string): boolean;
  groupsOf(uuid: string): readonly string[];
  /** Until when (ms) it may open no session of this type, where it was kicked. */
  bannedUntil(uuid: string, type: number): number | undefined;
}

export interface SensorKeys {
  state: 'pending' | 'approved';
  blocked: boolean;
  key: Buffer;
  /** The key before the last rotation, good until `validUntil` (ms since the epoch). */
  previousKey?: { key: Buffer; validUntil: number } | undefined;
}

/** The keys that a sensor's frames may be signed with now. */
export interface AcceptedKeys {
  current: Buffer;
  previous?: { key: Buffer; validUntil: number } | undefined;
}

/** Decides which sensors may send, and which keys their frames are held against. */
export class Admission {
  readonly #sensors: SensorLookup;
  #sharedSecret: Buffer | undefined;
  #previousSecret: { key: Buffer; validUntil: number } | undefined;

  /** @param sharedSecret with it, sensors that the registry does not know are taken too */
  constructor(sensors: SensorLookup, sharedSecret?: Buffer) {
    this.#sensors = sensors;
    this.#sharedSecret = sharedSecret;
  }

  /**
   * Takes another shared secret. The one before stays valid for a while: sensors get the new one in
   * their own time.
   */
  changeSecret(secret: Buffer, graceMs: number, now = Date.now()): void {
    if (this.#sharedSecret?.equals(secret)) return;
    const key = this.#sharedSecret;
    this.#previousSecret = key && { key, validUntil: now + graceMs };
    this.#sharedSecret = secret;
  }

  /** Why this sensor may not send from this address; undefined when it may. */
  refusal(sensor: string, address: string): RejectCode | undefined {
    if (this.#sensors.addressBlocked(address)) return Reject.ADDRESS_BLOCKED;
    const record = this.#sensors.sensor(sensor);
    if (!record) return this.#sharedSecret ? undefined : Reject.UNKNOWN_SENSOR;
    if (record.blocked) return Reject.SENSOR_BLOCKED;
    if (record.state === 'pending') return Reject.SENSOR_PENDING;
    return undefined;
  }

  /** Why a sensor that may send may not begin a session of this type now. */
  ban(sensor: string, type: number): RejectCode | undefined {
    return this.#sensors.bannedUntil(sensor, type) === undefined ? undefined : Reject.SENSOR_KICKED;
  }

  /** The groups that routes may go by. */
  groups(sensor: string): readonly string[] {
    return this.#sensors.groupsOf(sensor);
  }

  /** Whether the sensor is registered, in whatever state. */
  knows(sensor: string): boolean {
    return this.#sensors.sensor(sensor) !== undefined;
  }

  /** Undefined where no key is known: nothing of that sensor can be verified. */
  keys(sensor: string): AcceptedKeys | undefined {
    const record = this.#sensors.sensor(sensor);
    if (record && record.key.length > 0) {
      return { current: record.key, previous: record.previousKey };
    }
    if (!this.#sharedSecret) return undefined;
    const previous = this.#previousSecret;
    return { current: this.#sharedSecret, ...(previous ? { previous } : {}) };
  }
}
