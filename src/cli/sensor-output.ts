import {
  type BlockedAddress,
  type SensorActivity,
  type SensorRecord,
  shownState,
} from '../registry/store.js';
import { isoOrNull as iso, sensorJson } from '../registry/view.js';
import { table } from './table.js';

export interface SensorEntry {
  sensor: SensorRecord;
  activity: SensorActivity | undefined;
}

export function listJson(entries: readonly SensorEntry[], addresses: readonly BlockedAddress[]) {
  return {
    sensors: entries.map(({ sensor, activity }) => sensorJson(sensor, activity)),
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
      sensor.groups?.join(',') || '-',
      shownState(sensor),
      iso(activity?.lastSeen) ?? 'never',
      activity?.lastAddress || '-',
      rejectText(activity) ?? '-',
    ]);
    lines.push(
      ...table(['UUID', 'NAME', 'GROUPS', 'STATE', 'LAST SEEN', 'FROM', 'LAST REJECT'], rows),
    );
  }
  if (addresses.length > 0) {
    const rows = addresses.map(({ address, at }) => [address, iso(at) ?? '-']);
    lines.push('', ...table(['BLOCKED ADDRESS', 'SINCE'], rows));
  }
  return `${lines.join('\n')}\n`;
}

export function sensorText(entry: SensorEntry): string {
  const { sensor, activity } = entry;
  const shown = sensorJson(sensor, activity);
  const before = shown.stateBeforeBlock ? ` (${shown.stateBeforeBlock} before)` : '';
  const reject = activity?.lastReject;
  const rows: [string, string][] = [
    ['uuid', sensor.uuid],
    ['name', sensor.name || '-'],
    ['description', sensor.description || '-'],
    ['contact', sensor.contact || '-'],
    ['groups', shown.groups.join(', ') || '-'],
    ['expected', sensor.expectSeconds ? `every ${sensor.expectSeconds} s` : '-'],
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

function rejectText(activity: SensorActivity | undefined): string | undefined {
  const reject = activity?.lastReject;
  return reject && `${reject.reason} at ${iso(reject.at)}`;
}
