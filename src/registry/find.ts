import { GatewayError } from '../errors.js';
import { formatUuid, parseUuid } from '../wire/uuid.js';
import type { Registry, SensorRecord } from './store.js';

/** Hex digits that a UUID must be begun with to be found by them. */
export const UUID_PREFIX_DIGITS_MIN = 4;
const MATCHES_SHOWN_MAX = 10;

/**
 * The sensor that an operator means: by its UUID, or by a name or the beginning of a UUID that fits
 * no other.
 * @throws GatewayError D4GW_E_SENSOR where none fits, or several, which it lists
 */
export function findSensor(registry: Registry, text: string): SensorRecord {
  const bytes = parseUuid(text);
  const exact = bytes && registry.sensor(formatUuid(bytes));
  if (exact) return exact;
  const digits = text.replaceAll('-', '').toLowerCase();
  const isPrefix = new RegExp(`^[0-9a-f]{${UUID_PREFIX_DIGITS_MIN},32}$`).test(digits);
  const matches = registry
    .list()
    .filter(
      ({ uuid, name }) =>
        (name !== '' && name === text) || (isPrefix && uuid.replaceAll('-', '').startsWith(digits)),
    );
  if (matches.length === 1) return matches[0]!;
  if (matches.length > 1) {
    const shown = matches
      .slice(0, MATCHES_SHOWN_MAX)
      .map(({ uuid, name }) => (name === '' ? uuid : `${uuid} (${name})`));
    if (matches.length > shown.length) shown.push(`${matches.length - shown.length} more`);
    throw new GatewayError(
      'D4GW_E_SENSOR',
      `${JSON.stringify(text)} fits ${matches.length} sensors: ${shown.join(', ')}: give the whole UUID of one`,
    );
  }
  throw new GatewayError(
    'D4GW_E_SENSOR',
    `no sensor ${JSON.stringify(text)}: give a UUID, ${UUID_PREFIX_DIGITS_MIN} or more of its first digits, or a name, as \`sensor list\` shows them`,
  );
}
