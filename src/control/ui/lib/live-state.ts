import type { LiveMessage } from '../../live.js';
import type { Overview } from '../data/types.js';

/** What a page knows by the messages that came. */
export interface LiveState {
  seq: number;
  overview: Overview;
}

/** @returns undefined where a message is missing: then all of it has to be had anew */
export function advance(state: LiveState | undefined, message: LiveMessage): LiveState | undefined {
  const { seq } = message;
  if (message.kind === 'full') return { seq, overview: message.overview };
  if (!state || seq !== state.seq + 1) return undefined;
  return { seq, overview: { ...state.overview, ...message.changed } };
}

const RETRY_FIRST_MS = 1_000;
const RETRY_MAX_MS = 30_000;

/** How long to wait before the next attempt, the first being 0. @param random 0 to 1 */
export function retryMs(attempt: number, random: number): number {
  const full = Math.min(RETRY_FIRST_MS * 2 ** Math.min(attempt, 10), RETRY_MAX_MS);
  // So that a thousand tabs do not all come back in one moment.
  return full * (0.75 + random / 4);
}
