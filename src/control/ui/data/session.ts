import { computed, signal } from '@preact/signals';
import type { Role, Who } from './types.js';

/** Who is logged in; null: nobody; undefined: not known yet. */
export const who = signal<Who | null | undefined>(undefined);
/** Why the login is shown, where there is something to say. */
export const loginNotice = signal('');
export const csrfToken = computed(() => who.value?.csrfToken ?? null);

const RANKS: Readonly<Record<Role, number>> = { reader: 0, operator: 1, admin: 2 };

/** Whether who is logged in may do what a role may. The server decides; the page only hides. */
export function may(role: Role): boolean {
  const own = who.value?.role;
  return own !== undefined && RANKS[own] >= RANKS[role];
}

/** The gateway no longer knows this session. */
export function sessionOver(): void {
  if (who.value) loginNotice.value = 'Your session is over: it expired, or the gateway restarted.';
  who.value = null;
}
