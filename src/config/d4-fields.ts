import { z } from 'zod';
import { KNOWN_TYPES } from '../wire/types.js';
import { formatUuid, isSensorUuid, parseUuid } from '../wire/uuid.js';
import { text, wrong } from './fields.js';

/** What of a stream a configuration can name. */

const d4Type = z.number().refine((value) => KNOWN_TYPES.includes(value), {
  error: ({ input }) => wrong(input, `a D4 type (${KNOWN_TYPES.join(', ')})`),
});
export const typeList = z.array(d4Type, {
  error: ({ input }) => wrong(input, `a list of D4 types (${KNOWN_TYPES.join(', ')})`),
});
/** The form that `wire/meta-header.ts` takes: the name becomes a directory. */
export const metaType = text(
  /^(\*|[A-Za-z0-9][A-Za-z0-9._-]{0,63})$/,
  "'*' or a meta type (letters, digits, '.', '_', '-'; at most 64)",
);

export const sensor = z
  .string({ error: ({ input }) => wrong(input, "'*' or a sensor's UUID (version 4)") })
  .transform((value, context) => {
    if (value === '*') return value;
    const bytes = parseUuid(value);
    const uuid = bytes && formatUuid(bytes);
    if (uuid !== undefined && isSensorUuid(uuid)) return uuid;
    context.issues.push({
      code: 'custom',
      message: wrong(value, "'*' or a sensor's UUID (version 4)"),
      input: value,
    });
    return z.NEVER;
  });
