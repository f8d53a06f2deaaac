/** One route as the configuration gives it: every key of `match` is optional, `{}` takes all. */
export interface Route {
  match: {
    types?: readonly number[] | undefined;
    sensors?: readonly string[] | undefined;
    metaTypes?: readonly string[] | undefined;
    groups?: readonly string[] | undefined;
  };
  to: readonly string[];
}

/** Which stream a route is asked for. `metaType` is there for type 254 alone. */
export interface RouteQuery {
  sensor: string;
  type: number;
  metaType?: string | undefined;
  /** The groups that the sensor is in. */
  groups?: readonly string[] | undefined;
}

interface CompiledRoute {
  types: Set<number> | undefined;
  sensors: Set<string> | undefined;
  metaTypes: Set<string> | undefined;
  groups: Set<string> | undefined;
  sinks: number;
}

const EVERY = '*';

/** Decides the destinations of a stream. Built once from the configuration, then read only. */
export class RouteTable {
  readonly #routes: CompiledRoute[];

  /** @param sinkNames in index order; every name that a route uses is among them */
  constructor(routes: readonly Route[], sinkNames: readonly string[]) {
    this.#routes = routes.map(({ match, to }) => ({
      types: match.types && new Set(match.types),
      sensors: wildcardSet(match.sensors?.map((sensor) => sensor.toLowerCase())),
      metaTypes: wildcardSet(match.metaTypes),
      groups: match.groups && new Set(match.groups),
      sinks: to.reduce((mask, name) => mask | (1 << sinkNames.indexOf(name)), 0),
    }));
  }

  /** The sinks that take the stream, as a bit mask by index: the union of all routes that match. */
  sinksFor(query: RouteQuery): number {
    let mask = 0;
    for (const route of this.#routes) {
      if (route.types && !route.types.has(query.type)) continue;
      if (route.sensors && !route.sensors.has(query.sensor)) continue;
      if (route.metaTypes && !(query.metaType && route.metaTypes.has(query.metaType))) continue;
      const { groups } = route;
      if (groups && !query.groups?.some((group) => groups.has(group))) continue;
      mask |= route.sinks;
    }
    return mask;
  }
}

/** A set to look in; undefined where everything matches. */
function wildcardSet(values: readonly string[] | undefined): Set<string> | undefined {
  return values === undefined || values.includes(EVERY) ? undefined : new Set(values);
}
