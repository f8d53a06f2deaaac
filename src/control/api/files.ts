import { constants } from 'node:fs';
import { type FileHandle, lstat, open, readdir, realpath } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { z } from 'zod';
import type { ControlContext } from '../context.js';
import { HttpProblem, json, type Reply } from '../http/reply.js';
import { callerOf, type Route, route } from '../route.js';
import { count, error, page, time, uuidIn } from './schemas.js';

/** Directories and files looked at for one answer: a sensor may have any number. */
const LOOKED_AT_MAX = 200_000;
const PATH_CHARS_MAX = 300;
/** As the files sink names them: type, date or meta type, name. None begins with a dot. */
const SEGMENT = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/;
const SEGMENTS_MAX = 8;

export const file = z.object({
  sink: z.string(),
  path: z.string().describe("Below the sensor's directory, as the download takes it."),
  bytes: count,
  modifiedAt: time,
  isOpen: z.boolean().describe('It is still being written.'),
});

interface Found {
  sink: string;
  path: string;
}

/** The files that the files sinks stored of a sensor. */
export function fileRoutes({ gateway }: ControlContext): Route[] {
  // Asked each time: a reload may bring other sinks.
  const dirsNow = () =>
    Object.entries(gateway.config.sinks).flatMap(([sink, config]) =>
      config.kind === 'files' ? [{ sink, dir: config.dir }] : [],
    );
  const params = z.object({ uuid: uuidIn });
  return [
    route({
      method: 'GET',
      path: '/api/v1/sensors/{uuid}/files',
      role: 'operator',
      id: 'listFiles',
      tag: 'files',
      summary: "A sensor's stored files, the newest first",
      params,
      query: z.strictObject({ type: z.coerce.number().int().min(0).max(255).optional(), ...page }),
      answers: {
        200: {
          description: 'One page.',
          schema: z.object({
            total: count,
            offset: count,
            isComplete: z.boolean().describe('False where there are too many to look at them all.'),
            files: z.array(file),
          }),
        },
      },
      async handle({ params: { uuid }, query: { type, offset, limit } }) {
        const budget = { left: LOOKED_AT_MAX };
        const found: Found[] = [];
        const dirs = dirsNow();
        for (const { sink, dir } of dirs) {
          const root = join(dir, uuid.replaceAll('-', ''));
          const start = type === undefined ? '' : `${type}`;
          for await (const path of walk(root, start, budget)) found.push({ sink, path });
        }
        found.sort((a, b) => (newestFirst(a.path) < newestFirst(b.path) ? 1 : -1));
        const shown = await Promise.all(
          found.slice(offset, offset + limit).map((one) => fileJson(dirs, uuid, one)),
        );
        const files = shown.filter((one) => one !== undefined);
        return json(200, { total: found.length, offset, isComplete: budget.left > 0, files });
      },
    }),
    route({
      method: 'GET',
      path: '/api/v1/sensors/{uuid}/files/download',
      role: 'operator',
      id: 'downloadFile',
      tag: 'files',
      summary: 'Download a stored file',
      params,
      query: z.strictObject({ sink: z.string().max(64), path: z.string().max(PATH_CHARS_MAX) }),
      answers: {
        200: {
          description: 'The file, as it is stored.',
          contentType: 'application/octet-stream',
        },
        404: { description: 'No such file.', schema: error },
      },
      async handle(call) {
        const { sink, path } = call.query;
        const dir = dirsNow().find((one) => one.sink === sink)?.dir;
        const opened = dir && (await openWithin(join(dir, hex(call.params.uuid)), path));
        if (!opened) throw new HttpProblem(404, 'No such file');
        const registry = gateway.registry.as(callerOf(call).actor);
        try {
          await registry.record({
            act: 'file.download',
            subject: call.params.uuid,
            after: { sink, path },
          });
          return await downloadOf(opened, path);
        } catch (error) {
          await opened.close();
          throw error;
        }
      },
    }),
  ];
}

const hex = (uuid: string) => uuid.replaceAll('-', '');

async function downloadOf(opened: FileHandle, path: string): Promise<Reply> {
  const { size: bytes } = await opened.stat();
  const name = path.slice(path.lastIndexOf('/') + 1);
  return {
    status: 200,
    headers: {
      'content-type': 'application/octet-stream',
      // What a sensor sent is never shown by a browser, whatever it looks like.
      'content-disposition': `attachment; filename="${name}"`,
    },
    body: { file: opened, bytes },
  };
}

/**
 * Opens a regular file below a directory. Whatever else the path is (`..`, an absolute path, NUL, a
 * link anywhere on the way, a directory, a pipe), there is no such file.
 */
async function openWithin(root: string, path: string): Promise<FileHandle | undefined> {
  const segments = path.split('/');
  if (segments.length > SEGMENTS_MAX || !segments.every((part) => SEGMENT.test(part))) return;
  const wanted = join(root, ...segments);
  try {
    const [realRoot, real] = await Promise.all([realpath(root), realpath(wanted)]);
    if (real !== join(realRoot, ...segments) || !real.startsWith(realRoot + sep)) return;
    if (!(await lstat(real)).isFile()) return;
    // A link that takes its place meanwhile is not followed, and a pipe is not waited for.
    const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
    const opened = await open(real, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if ((await opened.stat()).isFile()) return opened;
    await opened.close();
  } catch {
    // Not there, or not for us.
  }
  return undefined;
}

/** The paths of the files below a directory, links left out. */
async function* walk(
  root: string,
  below: string,
  budget: { left: number },
): AsyncGenerator<string> {
  const entries = await readdir(join(root, below), { withFileTypes: true }).catch(() => []);
  for (const entry of entries) {
    if (budget.left <= 0) return;
    budget.left -= 1;
    if (!SEGMENT.test(entry.name)) continue;
    const path = below === '' ? entry.name : `${below}/${entry.name}`;
    if (entry.isDirectory()) yield* walk(root, path, budget);
    else if (entry.isFile()) yield path;
  }
}

/** Names hold the time of their begin; the number after it counts within a second. */
function newestFirst(path: string): string {
  const name = path.slice(path.lastIndexOf('/') + 1);
  const parts = /(\d{4}-\d\d-\d\d-\d{6})(?:-(\d+))?/.exec(name);
  return parts ? `${parts[1]}-${(parts[2] ?? '0').padStart(9, '0')}` : name;
}

async function fileJson(
  dirs: readonly { sink: string; dir: string }[],
  uuid: string,
  { sink, path }: Found,
) {
  const { dir } = dirs.find((one) => one.sink === sink)!;
  try {
    const { size, mtime } = await lstat(join(dir, hex(uuid), path));
    const modifiedAt = mtime.toISOString();
    return { sink, path, bytes: size, modifiedAt, isOpen: path.endsWith('.part') };
  } catch {
    // It was finished under another name, or taken away, meanwhile.
    return undefined;
  }
}
