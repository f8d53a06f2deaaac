import { HttpProblem } from './http/reply.js';
import type { Route } from './route.js';

/** No path of the API has more segments. */
const SEGMENTS_MAX = 16;

interface Entry {
  route: Route;
  segments: readonly string[];
  /** Segments that stand for themselves: a route with more of them comes first. */
  literals: number;
}

/** Finds the route of a request. */
export class Router {
  readonly #entries: readonly Entry[];

  constructor(routes: readonly Route[]) {
    this.#entries = routes
      .map((route) => {
        const segments = segmentsOf(route.path);
        return { route, segments, literals: segments.filter((part) => !isName(part)).length };
      })
      .sort((a, b) => b.literals - a.literals);
  }

  /**
   * @throws HttpProblem 404 where no route has the path, 405 where none of them has the method
   */
  find(method: string, path: string): { route: Route; params: Record<string, string> } {
    const segments = segmentsOf(path);
    const allowed = new Set<string>();
    const wanted = method === 'HEAD' ? 'GET' : method;
    for (const { route, segments: pattern } of this.#entries) {
      const params = match(pattern, segments);
      if (!params) continue;
      if (route.method === wanted) return { route, params };
      allowed.add(route.method);
      if (route.method === 'GET') allowed.add('HEAD');
    }
    if (allowed.size === 0) throw new HttpProblem(404, 'No such resource');
    const allow = [...allowed].sort().join(', ');
    throw new HttpProblem(405, `Method not allowed: it takes ${allow}`, { headers: { allow } });
  }
}

const isName = (segment: string) => segment.startsWith('{');

function segmentsOf(path: string): string[] {
  const parts = path.split('/', SEGMENTS_MAX + 2).slice(1);
  try {
    return parts.map((part) => decodeURIComponent(part));
  } catch {
    throw new HttpProblem(404, 'No such resource');
  }
}

function match(
  pattern: readonly string[],
  segments: readonly string[],
): Record<string, string> | undefined {
  if (pattern.length !== segments.length) return undefined;
  const params: Record<string, string> = {};
  for (const [index, part] of pattern.entries()) {
    const segment = segments[index]!;
    if (!isName(part)) {
      if (part !== segment) return undefined;
    } else {
      if (segment === '' || segment.includes('\0')) return undefined;
      params[part.slice(1, -1)] = segment;
    }
  }
  return params;
}
