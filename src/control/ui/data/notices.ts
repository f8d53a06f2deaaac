import { signal } from '@preact/signals';

export interface Notice {
  id: number;
  kind: 'done' | 'failed';
  text: string;
}

const SHOWN_MAX = 4;
const DONE_MS = 6_000;
const FAILED_MS = 15_000;

export const notices = signal<readonly Notice[]>([]);
let last = 0;

/** Says for a while how an action went. */
export function notify(kind: Notice['kind'], text: string): void {
  last += 1;
  const id = last;
  notices.value = [...notices.value, { id, kind, text }].slice(-SHOWN_MAX);
  setTimeout(() => dismiss(id), kind === 'done' ? DONE_MS : FAILED_MS);
}

export function dismiss(id: number): void {
  notices.value = notices.value.filter((notice) => notice.id !== id);
}
