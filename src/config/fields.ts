import { z } from 'zod';
import { didYouMean } from './suggest.js';
import { BYTES_FORM, formatBytes, parseBytes } from './units.js';

/**
 * The building blocks of the configuration's schema. Each carries its own message: the text that
 * follows `path: ` in a problem's line, with the value given and what is expected.
 */

/** Longer values are cut in messages. */
const SHOWN_CHARS_MAX = 60;

/** A value as a message shows it: on one line, control characters escaped. */
export function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > SHOWN_CHARS_MAX ? `${text.slice(0, SHOWN_CHARS_MAX)}…` : text;
}

/** A key as a message shows it: as it is where it is plain, else as `shown`. */
export function keyText(key: string): string {
  return /^[\w.-]{1,60}$/.test(key) ? key : shown(key);
}

/** The text that follows a path: what is there, and what should be. */
export function wrong(value: unknown, expected: string): string {
  return value === undefined
    ? `missing; expected ${expected}`
    : `${shown(value)} given, expected ${expected}`;
}

/** A message for zod that states the value and what is expected. */
function expecting(expected: string): { error: (issue: { input?: unknown }) => string } {
  return { error: (issue) => wrong(issue.input, expected) };
}

/**
 * A mapping that refuses unknown keys with the nearest known one.
 * @param unavailable keys of other versions, with what to say of them
 */
export function section<Shape extends z.core.$ZodLooseShape>(
  shape: Shape,
  unavailable: Readonly<Record<string, string>> = {},
) {
  const known = Object.keys(shape);
  return z.strictObject(shape, {
    // One line a key; `problems` puts the section's path before each.
    error: (issue) =>
      issue.code === 'unrecognized_keys'
        ? issue.keys
            .map((key) =>
              Object.hasOwn(unavailable, key)
                ? `${key}: ${unavailable[key]}`
                : `${keyText(key)}: unknown key${didYouMean(key, known)}`,
            )
            .join('\n')
        : wrong(issue.input, `a mapping with ${known.join(', ')}`),
  });
}

export function integer(min: number, max: number, unit = '') {
  const expected = expecting(`a whole number from ${min} to ${max}${unit && ` (${unit})`}`);
  return z.number(expected).int(expected).min(min, expected).max(max, expected);
}

/** A size in bytes, as a number or as text with a unit. */
export function bytes(min: number, max: number) {
  const expected = expecting(
    `bytes from ${formatBytes(min)} to ${formatBytes(max)}, such as 65536, 64KiB or 100kB`,
  );
  return z
    .union(
      [
        z.number(expected).int(expected).min(min, expected).max(max, expected),
        z.string(expected).regex(BYTES_FORM, expected),
      ],
      expected,
    )
    .transform((value, context) => {
      const size = parseBytes(value);
      if (size !== undefined && size >= min && size <= max) return size;
      context.issues.push({
        code: 'custom',
        message: expected.error({ input: value }),
        input: value,
      });
      return z.NEVER;
    });
}

export function flag() {
  return z.boolean(expecting('true or false'));
}

export function oneOf<const Values extends readonly [string, ...string[]]>(values: Values) {
  return z.enum(values, {
    error: ({ input }) =>
      wrong(input, `one of ${values.join(', ')}`) +
      (typeof input === 'string' ? didYouMean(input, values) : ''),
  });
}

export function flagOrInteger<const Word extends string>(word: Word, min: number, max: number) {
  const expected = expecting(`${word} or a whole number from ${min} to ${max}`);
  return z.union(
    [
      z.literal(word, expected),
      z.number(expected).int(expected).min(min, expected).max(max, expected),
    ],
    expected,
  );
}

/** The path of a file or directory; made absolute once the configuration is read. */
export function path(what: string) {
  const expected = expecting(`the path of ${what}`);
  return z
    .string(expected)
    .min(1, expected)
    .refine((value) => !value.includes('\0'), expected);
}

export function text(form: RegExp, expected: string) {
  return z.string(expecting(expected)).regex(form, expecting(expected));
}

/** A list with at least one entry. */
export function listOf<Item extends z.ZodType>(item: Item, what: string) {
  return z.array(item, expecting(`a list of ${what}`)).min(1, {
    error: () => `empty; expected at least one of ${what}`,
  });
}

/** A list, or `*` alone in place of a list of it. `item` takes `*` too. */
export function listOrStar<Item extends z.ZodType<string, string>>(item: Item, what: string) {
  const expected = expecting(`a list of ${what}, or '*'`);
  return z
    .union([z.literal('*'), z.array(item, expected)], expected)
    .transform((value): string[] => (value === '*' ? ['*'] : value));
}
