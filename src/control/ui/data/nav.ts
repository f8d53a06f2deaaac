import { signal } from '@preact/signals';
import { isPagePath } from '../../pages.js';

/** Where the page is: the path, and what its view was told in the query. */
export interface Place {
  path: string;
  query: URLSearchParams;
}

const here = (): Place => ({
  path: location.pathname,
  query: new URLSearchParams(location.search),
});

export const place = signal<Place>(here());

/** Shows another view. @param replace as if the one before had not been shown */
export function go(href: string, replace = false): void {
  if (replace) history.replaceState(null, '', href);
  else history.pushState(null, '', href);
  place.value = here();
}

/** Sets some of the query, and takes out what is empty, without a step in the history. */
export function setQuery(change: Readonly<Record<string, string>>): void {
  const query = new URLSearchParams(place.value.query);
  for (const [name, value] of Object.entries(change)) {
    if (value === '') query.delete(name);
    else query.set(name, value);
  }
  const text = query.toString();
  go(text === '' ? place.value.path : `${place.value.path}?${text}`, true);
}

/** Has links of the page change the view, not load it anew. */
export function followLinks(): void {
  window.addEventListener('popstate', () => {
    place.value = here();
  });
  document.addEventListener('click', (event) => {
    if (event.defaultPrevented || event.button !== 0) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const anchor = (event.target as Element).closest('a');
    if (!anchor?.href || anchor.target !== '' || anchor.hasAttribute('download')) return;
    const url = new URL(anchor.href);
    if (url.origin !== location.origin || url.hash !== '' || !isPagePath(url.pathname)) return;
    event.preventDefault();
    go(url.pathname + url.search);
    window.scrollTo(0, 0);
  });
}
