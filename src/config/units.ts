/**
 * Sizes as people write them: `65536`, `64KiB`, `1.5 GiB`, `100kB`. Binary units are powers of 1024,
 * decimal units powers of 1000; letter case does not matter, `B` alone is a byte.
 */
const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  kb: 1000,
  mb: 1000 ** 2,
  gb: 1000 ** 3,
  tb: 1000 ** 4,
  kib: 1024,
  mib: 1024 ** 2,
  gib: 1024 ** 3,
  tib: 1024 ** 4,
};

/** What `parseBytes` accepts of a string; the JSON Schema carries it. */
export const BYTES_FORM = /^([0-9]{1,16})(?:\.([0-9]{1,6}))?( ?(?:[kKmMgGtT][iI]?)?[bB])?$/;

/**
 * The bytes that a number or a text with a unit stands for; undefined where it is no whole number
 * of bytes from 0 to 2^53 - 1.
 */
export function parseBytes(value: string | number): number | undefined {
  const bytes = typeof value === 'number' ? value : parseText(value);
  return bytes !== undefined && Number.isSafeInteger(bytes) && bytes >= 0 ? bytes : undefined;
}

/** Exact: 0.07 kB is 70 bytes, which floating point would miss. */
function parseText(text: string): number | undefined {
  const parts = BYTES_FORM.exec(text);
  if (parts === null) return undefined;
  const [, whole = '', fraction = '', unit = ''] = parts;
  const factor = UNITS[unit.trim().toLowerCase()];
  if (factor === undefined) return undefined;
  const scaled = BigInt(whole + fraction) * BigInt(factor);
  const scale = 10n ** BigInt(fraction.length);
  return scaled % scale === 0n ? Number(scaled / scale) : undefined;
}

/** Bytes for a person to read, exact: the largest binary unit that divides them. */
export function formatBytes(bytes: number): string {
  for (const [unit, factor] of [
    ['TiB', UNITS.tib!],
    ['GiB', UNITS.gib!],
    ['MiB', UNITS.mib!],
    ['KiB', UNITS.kib!],
  ] as const) {
    if (bytes >= factor && bytes % factor === 0) return `${bytes / factor} ${unit}`;
  }
  return bytes === 1 ? '1 byte' : `${bytes} bytes`;
}
