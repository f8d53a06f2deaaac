import type { Sink } from '../data/types.js';
import { Badge, type Tone } from './basics.js';

const STATES: Readonly<Record<Sink['state'], readonly [Tone, string]>> = {
  ok: ['ok', 'takes'],
  full: ['warn', 'full'],
  failing: ['crit', 'failing'],
  stopped: ['warn', 'paused'],
  leaving: ['info', 'leaving'],
};

/** How a sink fares, in a word or two. */
export function SinkState({ sink: { state, takes } }: { sink: Pick<Sink, 'state' | 'takes'> }) {
  if (state === 'failing' && takes) return <Badge tone="warn">away, spooling</Badge>;
  const [tone, text] = STATES[state] ?? ['info', state];
  return <Badge tone={tone}>{text}</Badge>;
}
