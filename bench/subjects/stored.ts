import { spawn } from 'node:child_process';
import { createReadStream, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import type { SentStream } from '../load/messages.js';
import type { Payload } from '../load/payload.js';
import { own } from '../proc/owned.js';

/**
 * Whether files hold what was sent. Sensors send one cycle over and over, so each byte's right value
 * is known without keeping what was sent.
 */
const PROBLEMS_MAX = 5;
const READ_BYTES = 1024 * 1024;

/** Compares a stream, as it comes, with a prologue followed by a cycle over and over. */
export class StreamCheck {
  readonly #payload: Payload;
  #position = 0;
  /** Where the first difference is; undefined while there is none. */
  differsAt: number | undefined;

  constructor(payload: Payload) {
    this.#payload = payload;
  }

  get bytes(): number {
    return this.#position;
  }

  push(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length; ) {
      const expected = this.#expected();
      const length = Math.min(expected.length, chunk.length - at);
      const isSame = Buffer.compare(chunk.subarray(at, at + length), expected.subarray(0, length));
      if (isSame !== 0) this.differsAt ??= this.#position;
      at += length;
      this.#position += length;
    }
  }

  /** What must follow, up to the cycle's end. */
  #expected(): Buffer {
    const { prologue, cycle } = this.#payload;
    if (this.#position < prologue.length) return prologue.subarray(this.#position);
    return cycle.subarray((this.#position - prologue.length) % cycle.length);
  }
}

/**
 * The gateway's files of each sensor, in their order: `<dir>/<uuid>/<type>/YYYY/MM/DD/<name>`. Each
 * file of a format with a prologue begins with it anew. Files are removed, directories stay: the
 * gateway knows them.
 */
export async function checkTree(
  dir: string,
  sent: readonly SentStream[],
  payload: Payload,
): Promise<string[]> {
  const problems: string[] = [];
  for (const stream of sent) {
    const top = join(dir, stream.uuid.replaceAll('-', ''));
    const files = filesBelow(top);
    const part = files.find((file) => file.endsWith('.part'));
    if (part !== undefined) problems.push(`${part} is not finished`);
    const check = new StreamCheck(payload);
    for (const [index, file] of files.entries()) {
      await pushFile(check, file, index === 0 ? 0 : payload.prologue.length);
    }
    judge(problems, stream, check);
    for (const file of files) rmSync(file);
    if (problems.length >= PROBLEMS_MAX) break;
  }
  removeFiles(dir);
  return problems;
}

/** Files `<uuid>-<n>…` of a directory, one a stream. */
export async function checkFlat(
  dir: string,
  sent: readonly SentStream[],
  payload: Payload,
): Promise<string[]> {
  const problems: string[] = [];
  const files = readdirSync(dir);
  for (const stream of sent) {
    const name = files.find((file) => file.startsWith(stream.uuid.replaceAll('-', '')));
    const check = new StreamCheck(payload);
    if (name !== undefined) await pushFile(check, join(dir, name), 0);
    judge(problems, stream, check);
    if (problems.length >= PROBLEMS_MAX) break;
  }
  removeFiles(dir);
  return problems;
}

function judge(problems: string[], { uuid, bytes }: SentStream, check: StreamCheck): void {
  if (check.bytes !== bytes) {
    problems.push(`sensor ${uuid}: ${bytes} bytes sent, ${check.bytes} stored`);
  } else if (check.differsAt !== undefined) {
    problems.push(`sensor ${uuid}: the stored bytes differ from those sent at ${check.differsAt}`);
  }
}

async function pushFile(check: StreamCheck, file: string, skip: number): Promise<void> {
  let left = skip;
  for await (const chunk of plainBytes(file)) {
    const bytes = chunk as Buffer;
    const from = Math.min(left, bytes.length);
    left -= from;
    check.push(bytes.subarray(from));
  }
}

/** A file's content; of a compressed one as the `lz4` program reads it. */
function plainBytes(file: string): Readable {
  if (!file.includes('.lz4')) return createReadStream(file, { highWaterMark: READ_BYTES });
  const lz4 = own(spawn('lz4', ['-dc', file], { stdio: ['ignore', 'pipe', 'ignore'] }));
  lz4.once('error', (error) => lz4.stdout.destroy(error));
  return lz4.stdout;
}

/** All files below a directory, each directory's pieces in the order in which they were begun. */
function filesBelow(dir: string): string[] {
  try {
    return readdirSync(dir, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
      .sort(byPiece);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** `…-HHMMSS.ext` before `…-HHMMSS-1.ext` before `…-HHMMSS-10.ext`. */
function byPiece(a: string, b: string): number {
  const parts = (path: string) => path.match(/^(.*-\d{6})(?:-(\d+))?\.[^/]*$/);
  const [x, y] = [parts(a), parts(b)];
  if (!x || !y || x[1] !== y[1]) return a < b ? -1 : 1;
  return Number(x[2] ?? 0) - Number(y[2] ?? 0);
}

/** Bytes of a file, 0 where there is none. */
export function fileBytes(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0;
}

/** Removes every file below a directory. */
function removeFiles(dir: string): void {
  for (const file of filesBelow(dir)) rmSync(file, { force: true });
}
