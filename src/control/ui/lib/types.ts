import { KNOWN_TYPES, TYPE_NAMES } from '../../../wire/types.js';

export { KNOWN_TYPES };

/** `1 pcap`. */
export function typeName(type: number | string): string {
  const name = TYPE_NAMES[Number(type)];
  return name === undefined ? `${type}` : `${type} ${name}`;
}

/** The name of the CSS variable that a type is drawn in. */
export function typeColor(type: number | string): string {
  return KNOWN_TYPES.includes(Number(type)) ? `--type-${type}` : '--type-other';
}
