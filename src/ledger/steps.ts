import { setImmediate as turn } from 'node:timers/promises';

/** Work that yields where its process may look after others. */
export type Steps<T> = Generator<void, T>;

/** How many of many are done between two steps: some milliseconds. */
export const STEP_ITEMS = 500;

/** All of it at once. */
export function atOnce<T>(steps: Steps<T>): T {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

/** With a turn of the event loop between two steps. */
export async function inTurns<T>(steps: Steps<T>): Promise<T> {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
    await turn();
  }
}
