import { NOTE_CHARS_MAX, NOTES_MAX } from './limits.js';
import type { ActivityEvent, Note, SensorActivity } from './store.js';

/** What is known of a sensor after `events`, which may come late and out of order. */
export function withEvents(
  before: SensorActivity | undefined,
  events: readonly ActivityEvent[],
): SensorActivity {
  const activity: SensorActivity = { ...before, notes: [...(before?.notes ?? [])] };
  for (const event of events) {
    if (event.kind === 'seen') {
      activity.firstSeen = Math.min(event.at, activity.firstSeen ?? event.at);
      if (event.at >= (activity.lastSeen ?? 0)) {
        activity.lastSeen = event.at;
        activity.lastAddress = event.address;
      }
    } else if (event.kind === 'reject') {
      if (event.at < (activity.lastReject?.at ?? 0)) continue;
      const { reason, at, address } = event;
      activity.lastReject = { reason, detail: cut(event.detail), at, address };
    } else {
      activity.notes = withNote(activity.notes, cut(event.text), event.at);
    }
  }
  return activity;
}

/** One entry a text: a fact that repeats with each session must not push out the others. */
function withNote(notes: readonly Note[], text: string, at: number): Note[] {
  const same = notes.find((note) => note.text === text);
  const others = notes.filter((note) => note !== same);
  const note = { text, at: Math.max(at, same?.at ?? at), count: (same?.count ?? 0) + 1 };
  return [...others, note].slice(-NOTES_MAX);
}

function cut(text: string): string {
  return text.length > NOTE_CHARS_MAX ? `${text.slice(0, NOTE_CHARS_MAX - 1)}…` : text;
}
