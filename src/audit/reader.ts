import { createReadStream, existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type AuditEntry, decodeEntry, LINE_BYTES_MAX, type TrailHead } from './entry.js';
import { fileName, fileNumbers, readTail, trailDirectory } from './files.js';

/** Problems beyond this are counted, not listed. */
const PROBLEMS_MAX = 20;

export interface Verdict {
  intact: boolean;
  files: number;
  entries: number;
  /** The first and newest line's numbers; undefined for an empty trail. */
  first: number | undefined;
  last: number | undefined;
  problems: string[];
  /** What is odd, and no sign of tampering. */
  notes: string[];
}

/**
 * Holds every line against its hash, its number and the line before.
 * @param head what the registry remembers of the trail: lines missing at its end show by it
 */
export async function verifyTrail(dataDir: string, head?: TrailHead): Promise<Verdict> {
  const directory = trailDirectory(dataDir);
  const numbers = fileNumbers(directory);
  const problems: string[] = [];
  const notes: string[] = [];
  let entries = 0;
  let first: number | undefined;
  let before: AuditEntry | undefined;
  let atHead: string | undefined;
  const problem = (text: string) => {
    if (problems.length < PROBLEMS_MAX) problems.push(text);
  };
  for (const [index, number] of numbers.entries()) {
    const name = fileName(number);
    if (index > 0 && number !== numbers[index - 1]! + 1) {
      problem(`${fileName(number - 1)} is missing`);
    }
    let line = 0;
    for await (const read of linesOf(join(directory, name), notes)) {
      line += 1;
      const entry = typeof read === 'string' ? decodeEntry(read) : { problem: 'is too long' };
      if ('problem' in entry) {
        problem(`${name}:${line} ${entry.problem}`);
        before = undefined;
        continue;
      }
      entries += 1;
      first ??= entry.seq;
      if (before && (entry.seq !== before.seq + 1 || entry.prev !== before.hash)) {
        problem(`${name}:${line} does not follow number ${before.seq}: lines are missing or moved`);
      }
      if (entry.seq === head?.seq) atHead = entry.hash;
      before = entry;
    }
  }
  if (first !== undefined && first > 1) {
    notes.push(`the trail begins with number ${first}: older files were taken away`);
  }
  if (head && head.seq > 0 && atHead !== head.hash) {
    const what = atHead === undefined ? 'is missing' : 'is another than the one written';
    problem(`number ${head.seq}, the newest that the registry knows of, ${what}`);
  }
  const last = before?.seq;
  const { length: files } = numbers;
  return { intact: problems.length === 0, files, entries, first, last, problems, notes };
}

export interface AuditQuery {
  /** At most so many, the newest. */
  limit: number;
  /** Numbers below this one alone. */
  before?: number | undefined;
  act?: string | undefined;
  subject?: string | undefined;
}

/** The newest entries that fit, newest first. Lines that are damaged are left out. */
export async function readTrail(dataDir: string, query: AuditQuery): Promise<AuditEntry[]> {
  const directory = trailDirectory(dataDir);
  const found: AuditEntry[] = [];
  for (const number of fileNumbers(directory).reverse()) {
    const own: AuditEntry[] = [];
    for await (const line of linesOf(join(directory, fileName(number)), [])) {
      const entry = typeof line === 'string' ? decodeEntry(line) : { problem: '' };
      if ('problem' in entry || !fits(entry, query)) continue;
      own.push(entry);
      if (own.length > query.limit) own.shift();
    }
    found.push(...own.reverse());
    if (found.length >= query.limit) break;
  }
  return found.slice(0, query.limit);
}

function fits(entry: AuditEntry, { before, act, subject }: AuditQuery): boolean {
  if (before !== undefined && entry.seq >= before) return false;
  if (act !== undefined && entry.act !== act && !entry.act.startsWith(`${act}.`)) return false;
  return subject === undefined || entry.subject === subject;
}

/** The whole lines of a file; undefined for one that no writer makes that long. */
async function* linesOf(path: string, notes: string[]): AsyncGenerator<string | undefined> {
  if (!existsSync(path)) return;
  const { tornBytes, bytes } = readTail(path);
  if (tornBytes > 0) {
    notes.push(`${path}: its last ${tornBytes} bytes are no whole line: that act was not done`);
  }
  const end = bytes - tornBytes;
  if (end === 0) return;
  const input = createReadStream(path, { end: end - 1 });
  for await (const line of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
    yield line.length > LINE_BYTES_MAX ? undefined : line;
  }
}
