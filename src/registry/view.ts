import { type SensorActivity, type SensorRecord, shownState } from './store.js';

/** A sensor's record for the audit trail: all but its keys. */
export function sensorView(sensor: SensorRecord) {
  return {
    name: sensor.name,
    description: sensor.description,
    contact: sensor.contact,
    groups: sensor.groups ?? [],
    expectSeconds: sensor.expectSeconds ?? 0,
    state: shownState(sensor),
    oldKeyValidUntil: isoOrNull(sensor.previousKey?.validUntil),
  };
}

/** What programs get of a sensor: every field always there, no key; times in ISO 8601, UTC. */
export function sensorJson(
  sensor: SensorRecord,
  activity: SensorActivity | undefined,
  now = Date.now(),
) {
  const { previousKey } = sensor;
  return {
    uuid: sensor.uuid,
    name: sensor.name,
    description: sensor.description,
    contact: sensor.contact,
    groups: [...(sensor.groups ?? [])],
    /** How often it is expected at least; 0: it may be silent. */
    expectSeconds: sensor.expectSeconds ?? 0,
    state: shownState(sensor),
    /** What `unblock` makes of it. */
    stateBeforeBlock: sensor.blocked ? sensor.state : null,
    createdAt: iso(sensor.createdAt),
    previousKeyValidUntil:
      previousKey && previousKey.validUntil > now ? iso(previousKey.validUntil) : null,
    firstSeen: isoOrNull(activity?.firstSeen),
    lastSeen: isoOrNull(activity?.lastSeen),
    lastAddress: activity?.lastAddress ?? null,
    lastReject: activity?.lastReject
      ? { ...activity.lastReject, at: iso(activity.lastReject.at) }
      : null,
    notes: (activity?.notes ?? []).map((note) => ({ ...note, at: iso(note.at) })),
  };
}

/** UTC, to the second. */
export function iso(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');
}

export function isoOrNull(ms: number | undefined): string | null {
  return ms === undefined ? null : iso(ms);
}
