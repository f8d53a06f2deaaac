import {
  type BlockedAddress,
  type SensorActivity,
  type SensorRecord,
  shownState,
} from '../registry/store.js';

export interface SensorEntry {
  sensor: SensorRecord;
  activity: SensorActivity | undefined;
}

/** What programs get: everything but keys, with every field always there; times in ISO 8601. */
export function sensorJson({ sensor, activity }: SensorEntry, now = Date.now()) {
  const { previousKey } = sensor;
  return {
    uuid: sensor.uuid,
    name: sensor.name,
    description: sensor.description,
    contact: sensor.contact,
    state: shownState(sensor),
    /** What `unblock` makes of it. */
    stateBeforeBlock: sensor.blocked ? sensor.state : null,
    createdAt: iso(sensor.createdAt),
    previousKeyValidUntil:
      previousKey && previousKey.validUntil > now ? iso(previousKey.validUntil) : null,
    firstSeen: iso(activity?.firstSeen),
    lastSeen: iso(activity?.lastSeen),
    lastAddress: activity?.lastAddress ?? null,
    lastReject: activity?.lastReject
      ? { ...activity.lastReject, at: iso(activity.lastReject.at) }
      : null,
    notes: (activity?.notes ?? []).map((note) => ({ ...note, at: iso(note.at) })),
  };
}

export function listJson(entries: readonly SensorEntry[], addresses: readonly BlockedAddress[]) {
  return {
    sensors: entries.map((entry) => sensorJson(entry)),
    blockedAddresses: addresses.map(({ address, at }) => ({ address, since: iso(at) })),
  };
}

export function listText(
  entries: readonly SensorEntry[],
  addresses: readonly BlockedAddress[],
): string {
  const lines = entries.length === 0 ? ['no sensors: `d4gw sensor add` registers one'] : [];
  if (entries.length > 0) {
    const rows = entries.map(({ sensor, activity }) => [
      sensor.uuid,
      sensor.name || '-',
      shownState(sensor),
      iso(activity?.lastSeen) ?? 'never',
      activity?.lastAddress || '-',
      rejectText(activity) ?? '-',
    ]);
    lines.push(...table(['UUID', 'NAME', 'STATE', 'LAST SEEN', 'FROM', 'LAST REJECT'], rows));
  }
  if (addresses.length > 0) {
    const rows = addresses.map(({ address, at }) => [address, iso(at) ?? '-']);
    lines.push('', ...table(['BLOCKED ADDRESS', 'SINCE'], rows));
  }
  return `${lines.join('\n')}\n`;
}

export function sensorText(entry: SensorEntry): string {
  const { sensor, activity } = entry;
  const shown = sensorJson(entry);
  const before = shown.stateBeforeBlock ? ` (${shown.stateBeforeBlock} before)` : '';
  const reject = activity?.lastReject;
  const rows: [string, string][] = [
    ['uuid', sensor.uuid],
    ['name', sensor.name || '-'],
    ['description', sensor.description || '-'],
    ['contact', sensor.contact || '-'],
    ['state', shown.state + before],
    ['created', shown.createdAt ?? '-'],
    ['first seen', shown.firstSeen ?? 'never'],
    ['last seen', shown.lastSeen ?? 'never'],
    ['last address', shown.lastAddress || '-'],
    ['last reject', rejectText(activity) ?? 'none'],
  ];
  if (reject?.address) rows.push(['  from', reject.address]);
  if (reject?.detail) rows.push(['  detail', reject.detail]);
  if (shown.previousKeyValidUntil) {
    rows.push(['old key', `valid until ${shown.previousKeyValidUntil}`]);
  }
  for (const { text, at, count } of activity?.notes ?? []) {
    rows.push(['note', `${iso(at)} ${text}${count > 1 ? ` (${count} times)` : ''}`]);
  }
  return `${table(undefined, rows).join('\n')}\n`;
}

/** UTC, to the second. */
export function iso(ms: number | undefined): string | null {
  return ms === undefined ? null : new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');
}

function rejectText(activity: SensorActivity | undefined): string | undefined {
  const reject = activity?.lastReject;
  return reject && `${reject.reason} at ${iso(reject.at)}`;
}

/** Aligned columns, two blanks apart. */
function table(head: string[] | undefined, rows: readonly string[][]): string[] {
  const all = (head ? [head, ...rows] : rows).map((row) => row.map(printable));
  const widths = (all[0] ?? []).map((_, column) =>
    Math.max(...all.map((row) => [...(row[column] ?? '')].length)),
  );
  return all.map((row) =>
    row
      .map((cell, column) => cell + ' '.repeat(widths[column]! - [...cell].length))
      .join('  ')
      .trimEnd(),
  );
}

/** Texts that came from outside must not drive the terminal. */
function printable(text: string): string {
  return text.replace(
    /[\p{C}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`,
  );
}
