/** D4 types (WIRE.md, "The frame"). */
export const TYPE_PCAP = 1;
export const TYPE_META = 2;
export const TYPE_LOG = 3;
export const TYPE_DNSCAP = 4;
export const TYPE_PCAPNG = 5;
export const TYPE_JSONL = 6;
export const TYPE_YAF = 7;
export const TYPE_PASSIVEDNS = 8;
export const TYPE_EXTENDED = 254;

/** Every type that a sensor may send; 0 is reserved. */
export const KNOWN_TYPES: readonly number[] = [1, 2, 3, 4, 5, 6, 7, 8, 254];

/** The meta types that the D4 project has registered. */
export const REGISTERED_META_TYPES: readonly string[] = [
  'ja3-jl',
  'd4-telemetry',
  'fascia',
  'maltrail',
];

export const TYPE_NAMES: Readonly<Record<number, string>> = {
  1: 'pcap',
  2: 'meta header',
  3: 'log',
  4: 'dnscap',
  5: 'pcapng',
  6: 'jsonl',
  7: 'yaf',
  8: 'passivedns',
  254: 'extended',
};
