/** The views of the page, by the first segment of their paths. The gateway and the page agree here. */
export const VIEWS = [
  '',
  'sensors',
  'pending',
  'add',
  'relays',
  'blocks',
  'rejects',
  'alerts',
  'audit',
  'settings',
] as const;
export type View = (typeof VIEWS)[number];

/** Whether the page is served at a path: `/`, `/NAME`, `/sensors/UUID`. */
export function isPagePath(path: string): boolean {
  const [view, below, ...rest] = path.split('/').slice(1);
  if (rest.length > 0 || !(VIEWS as readonly (string | undefined)[]).includes(view)) return false;
  return below === undefined || (view === 'sensors' && below !== '');
}
