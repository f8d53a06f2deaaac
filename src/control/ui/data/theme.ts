import { effect, signal } from '@preact/signals';

export type Theme = 'auto' | 'light' | 'dark';
const KEY = 'd4gw-theme';

function stored(): Theme {
  try {
    const value = localStorage.getItem(KEY);
    return value === 'light' || value === 'dark' ? value : 'auto';
  } catch {
    return 'auto';
  }
}

const system = window.matchMedia('(prefers-color-scheme: dark)');
const systemIsDark = signal(system.matches);
system.addEventListener('change', ({ matches }) => {
  systemIsDark.value = matches;
});

export const theme = signal<Theme>(stored());
export const isDark = signal(false);

/** Shows the theme that was chosen, or the system's, and remembers the choice. */
export function keepTheme(): void {
  effect(() => {
    const root = document.documentElement;
    if (theme.value === 'auto') delete root.dataset.theme;
    else root.dataset.theme = theme.value;
    isDark.value = theme.value === 'dark' || (theme.value === 'auto' && systemIsDark.value);
    try {
      localStorage.setItem(KEY, theme.value);
    } catch {
      // A browser that keeps nothing: it holds for this page.
    }
  });
}

/** From what is shown to its opposite. */
export function toggleTheme(): void {
  theme.value = isDark.value ? 'light' : 'dark';
}
