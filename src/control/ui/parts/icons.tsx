import type { JSX } from 'preact';

/** Drawn on 16 × 16, in the colour of the text beside them, which says what they mean. */
const PATHS = {
  overview: 'M2 13V9M6 13V4M10 13V7M14 13V2',
  alert: 'M8 2 1.5 13.5h13ZM8 6.5v3M8 11.7v.1',
  reject: 'M8 1.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13ZM3.5 3.5l9 9',
  sensors:
    'M8 9.2v5M8 6.8a1.2 1.2 0 1 0 0 2.4 1.2 1.2 0 0 0 0-2.4ZM5 11a4.2 4.2 0 0 1 0-6M11 5a4.2 4.2 0 0 1 0 6M2.8 13a7.2 7.2 0 0 1 0-10M13.2 3a7.2 7.2 0 0 1 0 10',
  pending: 'M8 1.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13ZM8 4.5V8l2.5 1.5',
  add: 'M8 3v10M3 8h10',
  relays: 'M2 4.5h9M8.5 2 11 4.5 8.5 7M14 11.5H5M7.5 9 5 11.5 7.5 14',
  blocks:
    'M8 1.5 2.5 3.5v4c0 3.5 2.3 6 5.5 7 3.2-1 5.5-3.5 5.5-7v-4ZM5.7 5.7l4.6 4.6M10.3 5.7l-4.6 4.6',
  audit: 'M3.5 1.5h6l3 3v10h-9ZM6 7h4M6 9.5h4M6 12h2.5',
  settings: 'M2 4h7M12 4h2M2 8h2M7 8h7M2 12h5M10 12h4M10.5 2.5v3M5.5 6.5v3M8.5 10.5v3',
  menu: 'M2 4h12M2 8h12M2 12h12',
  close: 'M4 4l8 8M12 4l-8 8',
  sun: 'M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6ZM8 1v1.5M8 13.5V15M1 8h1.5M13.5 8H15M3 3l1 1M12 12l1 1M3 13l1-1M12 4l1-1',
  moon: 'M13.5 9.5A6 6 0 0 1 6.5 2.5a6 6 0 1 0 7 7Z',
  logout: 'M6 2H2.5v12H6M7 8h7M11.5 5.5 14 8l-2.5 2.5',
  download: 'M8 2v8M4.8 7 8 10.2 11.2 7M2.5 13.5h11',
  copy: 'M5.5 5.5h8v8h-8ZM3.5 10.5h-1v-8h8v1',
  check: 'M3 8.5 6.5 12 13 4.5',
  up: 'M8 12V4M4.5 7.5 8 4l3.5 3.5',
  down: 'M8 4v8M4.5 8.5 8 12l3.5-3.5',
  search: 'M7 2a5 5 0 1 0 0 10A5 5 0 0 0 7 2ZM10.8 10.8 14 14',
  pause: 'M5.5 3v10M10.5 3v10',
  play: 'M4.5 2.5v11l9-5.5Z',
  back: 'M10 3 5 8l5 5',
} as const;
export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }): JSX.Element {
  return (
    <svg class="icon" viewBox="0 0 16 16" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
