/** One value of the configuration, with the path that leads to it within its section. */
export interface ConfigRow {
  path: string;
  value: string;
}

export interface ConfigSection {
  name: string;
  rows: ConfigRow[];
}

/** Keys that hold bytes: they are told in larger units too. */
const IN_BYTES = /bytes$/i;
const KIB = 1024;

/**
 * A configuration as sections of rows, as it stands in the file; what stands alone comes first.
 * @param bytes tells a size
 */
export function configSections(
  config: Readonly<Record<string, unknown>>,
  bytes: (value: number) => string,
): ConfigSection[] {
  const general: ConfigSection = { name: 'general', rows: [] };
  const sections = [general];
  for (const [name, value] of Object.entries(config)) {
    if (typeof value === 'object' && value !== null) {
      sections.push({ name, rows: [...rowsOf('', value, bytes)] });
    } else {
      general.rows.push(...rowsOf(name, value, bytes));
    }
  }
  return sections.filter(({ rows }) => rows.length > 0);
}

function* rowsOf(
  path: string,
  value: unknown,
  bytes: (value: number) => string,
): Generator<ConfigRow> {
  if (typeof value === 'object' && value !== null) {
    const isList = Array.isArray(value);
    const entries = Object.entries(value);
    if (entries.length === 0) {
      // An empty match takes all.
      yield { path: path || '–', value: path.endsWith('match') ? 'everything' : 'none' };
    } else if (isList && value.every((one) => typeof one !== 'object')) {
      yield { path: path || '–', value: value.join(', ') };
    } else {
      for (const [key, inner] of entries) {
        const step = isList ? `[${key}]` : path === '' ? key : `.${key}`;
        yield* rowsOf(`${path}${step}`, inner, bytes);
      }
    }
  } else if (typeof value === 'number' && IN_BYTES.test(path) && value >= KIB) {
    yield { path, value: `${value} (${bytes(value)})` };
  } else {
    yield { path, value: value === null ? 'none' : String(value) };
  }
}
