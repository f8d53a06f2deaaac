/** One value of the configuration, with the path that leads to it. */
export interface ConfigRow {
  path: string;
  value: string;
}

/** Keys that hold bytes: they are told in larger units too. */
const IN_BYTES = /bytes$/i;

/** A configuration as sections of rows, as it stands in the file. @param bytes of a size */
export function configSections(
  config: Readonly<Record<string, unknown>>,
  bytes: (value: number) => string,
): { name: string; rows: ConfigRow[] }[] {
  return Object.entries(config).map(([name, value]) => ({
    name,
    rows: [...rowsOf('', value, bytes)],
  }));
}

function* rowsOf(
  path: string,
  value: unknown,
  bytes: (value: number) => string,
): Generator<ConfigRow> {
  if (Array.isArray(value) && value.every((one) => typeof one !== 'object' || one === null)) {
    yield { path, value: value.length === 0 ? 'none' : value.map(String).join(', ') };
  } else if (Array.isArray(value)) {
    for (const [index, inner] of value.entries()) yield* rowsOf(`${path}[${index}]`, inner, bytes);
  } else if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value);
    if (entries.length === 0) yield { path, value: path.endsWith('match') ? 'everything' : 'none' };
    for (const [key, inner] of entries) {
      yield* rowsOf(path === '' ? key : `${path}.${key}`, inner, bytes);
    }
  } else if (typeof value === 'number' && IN_BYTES.test(path) && value >= 1024) {
    yield { path, value: `${value} (${bytes(value)})` };
  } else {
    yield { path, value: value === null ? 'none' : String(value) };
  }
}
