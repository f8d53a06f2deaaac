import type { Sink } from '../data/types.js';
import { Badge, type Tone } from './basics.js';

const STATES: Readonly<Record<string, readonly [Tone, string]>> = {
  ok: ['ok', 'takes'],
  full: ['warn', 'full'],
  away: ['warn', 'upstream away'],
  failing: ['crit', 'failing'],
  stopped: ['warn', 'paused'],
};

export function SinkState({ sink }: { sink: Pick<Sink, 'state'> }) {
  const [tone, text] = STATES[sink.state] ?? ['info', sink.state];
  return <Badge tone={tone}>{text}</Badge>;
}
