import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { HttpProblem, type Reply } from './http/reply.js';
import type { Request } from './http/request.js';
import { isPagePath } from './pages.js';

/** Where the build puts the page: this file runs as dist/src/control/site.js. */
const BUILT_DIR = fileURLToPath(new URL('../../ui/', import.meta.url));
const SHELL = '/index.html';
/** Names of what is under it hold a digest of the content. */
const HASHED = '/assets/';
const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.woff2': 'font/woff2',
};
/** Compressed at the build; the first that a browser takes is sent. */
const CODINGS = [
  { name: 'br', ending: '.br' },
  { name: 'gzip', ending: '.gz' },
] as const;

interface SiteFile {
  type: string;
  etag: string;
  isHashed: boolean;
  /** By content coding; `identity` is always there. */
  bodies: ReadonlyMap<string, Buffer>;
}

/**
 * The page's files. They are few and small, so they are held in memory: no request reaches the disk.
 */
export class Site {
  readonly #files: ReadonlyMap<string, SiteFile>;

  /** Reads what the build made. Without it there is no page, and the API works all the same. */
  static load(dir = BUILT_DIR): Site {
    const files = new Map<string, SiteFile>();
    for (const path of pathsUnder(dir)) {
      const type = TYPES[extname(path)];
      if (type === undefined) continue;
      const identity = readFileSync(join(dir, path));
      const bodies = new Map<string, Buffer>([['identity', identity]]);
      for (const { name, ending } of CODINGS) {
        const body = readIfThere(join(dir, path + ending));
        if (body) bodies.set(name, body);
      }
      const etag = `"${createHash('sha256').update(identity).digest('base64url').slice(0, 22)}"`;
      files.set(path, { type, etag, isHashed: path.startsWith(HASHED), bodies });
    }
    return new Site(files);
  }

  private constructor(files: ReadonlyMap<string, SiteFile>) {
    this.#files = files;
  }

  /**
   * The answer where the path is the page's; undefined where it is not.
   * @throws HttpProblem 405 for another method than GET and HEAD
   */
  find(request: Request): Reply | undefined {
    const file = this.#files.get(isPagePath(request.path) ? SHELL : request.path);
    if (!file) return undefined;
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      const allow = 'GET, HEAD';
      throw new HttpProblem(405, `Method not allowed: it takes ${allow}`, { headers: { allow } });
    }
    const { type, etag, isHashed, bodies } = file;
    const caching = isHashed ? 'public, max-age=31536000, immutable' : 'no-cache';
    const headers = { etag, 'cache-control': caching, vary: 'accept-encoding' };
    if (request.headers['if-none-match'].includes(etag)) return { status: 304, headers };
    const taken = codingsOf(request.headers['accept-encoding']);
    const coding = CODINGS.find(({ name }) => taken.has(name) && bodies.has(name))?.name;
    return {
      status: 200,
      headers: {
        ...headers,
        'content-type': type,
        ...(coding === undefined ? {} : { 'content-encoding': coding }),
      },
      body: bodies.get(coding ?? 'identity')!,
    };
  }
}

/** Names of an `Accept-Encoding` header, without those that it refuses. */
function codingsOf(header: string): Set<string> {
  const parts = header.split(',').map((part) =>
    part
      .trim()
      .toLowerCase()
      .split(/\s*;\s*/),
  );
  return new Set(
    parts.flatMap(([name, quality]) => (/^q=0(\.0*)?$/.test(quality ?? '') ? [] : name!)),
  );
}

/** The paths of all files, as a browser asks for them. */
function pathsUnder(dir: string): string[] {
  try {
    return readdirSync(dir, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(dir.length))
      .map((path) => (path.startsWith('/') ? path : `/${path}`));
  } catch {
    return [];
  }
}

function readIfThere(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch {
    return undefined;
  }
}
