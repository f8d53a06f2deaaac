import type { Sensor, SensorState } from '../data/types.js';
import { reasonText } from '../lib/reasons.js';
import { Badge, Time, type Tone } from './basics.js';

const TONES: Readonly<Record<SensorState, Tone>> = {
  approved: 'ok',
  pending: 'info',
  blocked: 'crit',
};

export function StateBadge({ state }: { state: SensorState }) {
  return <Badge tone={TONES[state]}>{state}</Badge>;
}

/** Why it was last refused, and when. */
export function LastReject({ reject }: { reject: Sensor['lastReject'] }) {
  if (!reject) return <span class="muted">–</span>;
  return (
    <span class="nowrap" title={`${reasonText(reject.reason)?.what ?? ''} ${reject.detail}`}>
      {reject.reason}{' '}
      <span class="muted">
        <Time at={reject.at} />
      </span>
    </span>
  );
}

export function Groups({ groups }: { groups: readonly string[] }) {
  return (
    <span class="groups">
      {groups.map((group) => (
        <a key={group} class="tag" href={`/sensors?group=${group}`}>
          {group}
        </a>
      ))}
    </span>
  );
}
