import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { Command } from 'commander';
import { GatewayError } from '../errors.js';
import type { DiskBlock } from '../spool/disk-blocks.js';
import { RecordKind } from '../spool/layout.js';
import { prefaceOf } from '../spool/live-block.js';
import { segmentPath } from '../spool/segment.js';
import type { SpoolSession } from '../spool/session-record.js';
import { TYPE_NAMES } from '../wire/types.js';
import { type PartReport, reportPart, spoolParts } from './spool-report.js';

interface Options {
  json?: boolean;
  out?: string;
  archive?: boolean;
}

/** `d4gw spool`: looks into the spools of relays, and into archives. */
export function spoolCommand(): Command {
  const command = new Command('spool').description(
    'Looks into a spool or an archive: give its directory, or that of one of its workers. It is ' +
      'read as a whole, and may be in use meanwhile.',
  );
  command
    .command('inspect')
    .description('What is in it, by sensor and type, and what the account says became of it.')
    .argument('<dir>', 'directory of a spool or an archive')
    .option('--json', 'print JSON')
    .action(inspect);
  command
    .command('check')
    .description('Checks every record. Exits 1 where something is damaged or can not be read.')
    .argument('<dir>', 'directory of a spool or an archive')
    .option('--json', 'print JSON')
    .action(check);
  command
    .command('export')
    .description(
      'Writes what can be read of it: the frames of each session to a file of D4 frames, or, with ' +
        '--archive, all records to new segments. Exits 1 where something could not be read.',
    )
    .argument('<dir>', 'directory of a spool or an archive')
    .requiredOption('--out <dir>', 'a new directory')
    .option('--archive', 'write segments')
    .option('--json', 'print JSON')
    .action(exportTo);
  return command;
}

async function inspect(dir: string, options: Options): Promise<void> {
  const parts = await reports(dir);
  if (options.json) print(parts);
  else process.stdout.write(parts.map(renderPart).join('\n'));
}

async function check(dir: string, options: Options): Promise<void> {
  const parts = await reports(dir);
  const faults = parts.flatMap((part) => part.faults);
  if (options.json) print(parts);
  else {
    for (const { segment, text } of faults) process.stdout.write(`${segment}: ${text}\n`);
    const segments = parts.reduce((sum, part) => sum + part.segments, 0);
    const state = faults.length === 0 ? 'sound' : `${faults.length} faults`;
    process.stdout.write(`${segments} segments in ${parts.length} directories: ${state}\n`);
  }
  if (faults.length > 0) process.exitCode = 1;
}

async function reports(dir: string): Promise<PartReport[]> {
  const parts: PartReport[] = [];
  for (const part of await spoolParts(dir)) parts.push(await reportPart(part));
  return parts;
}

async function exportTo(dir: string, options: Options & { out: string }): Promise<void> {
  const { out, archive = false } = options;
  const parts = await spoolParts(dir);
  await makeNew(out);
  const written = { files: 0, frames: 0, bytes: 0 };
  const reported: PartReport[] = [];
  for (const [index, part] of parts.entries()) {
    const writer = archive
      ? new ArchiveWriter(join(out, String(index)))
      : new StreamWriter(parts.length > 1 ? join(out, String(index)) : out);
    reported.push(await reportPart(part, (block) => writer.take(block)));
    written.files += writer.files;
    written.frames += writer.frames;
    written.bytes += writer.bytes;
  }
  const faults = reported.flatMap((report) => report.faults);
  if (options.json) print({ out, ...written, faults });
  else {
    const { files, frames, bytes } = written;
    process.stdout.write(`${frames} frames (${bytes} bytes) in ${files} files below ${out}\n`);
    for (const { segment, text } of faults) process.stdout.write(`${segment}: ${text}\n`);
  }
  if (faults.length > 0) process.exitCode = 1;
}

async function makeNew(out: string): Promise<void> {
  try {
    await mkdir(out);
  } catch (cause) {
    const text = `--out ${out}: ${(cause as Error).message}: name a new directory`;
    throw new GatewayError('D4GW_E_USAGE', text, { cause });
  }
}

/** Writes the frames of each session to a file of its own, headers and all. */
class StreamWriter {
  files = 0;
  frames = 0;
  bytes = 0;
  readonly #dir: string;
  readonly #begun = new Set<string>();

  constructor(dir: string) {
    this.#dir = dir;
  }

  async take(block: DiskBlock): Promise<void> {
    const parts = new Map<string, { session: SpoolSession; frames: Buffer[] }>();
    for (const { session } of block.sessions) parts.set(session.id, { session, frames: [] });
    for (const { kind, session, data } of block.records()) {
      if (kind === RecordKind.FRAME && session) parts.get(session.id)!.frames.push(data);
    }
    for (const part of parts.values()) await this.#append(part.session, part.frames);
  }

  async #append(session: SpoolSession, frames: Buffer[]): Promise<void> {
    const isNew = !this.#begun.has(session.id);
    if (!isNew && frames.length === 0) return;
    this.#begun.add(session.id);
    const wire = isNew && session.meta ? [session.meta.wire] : [];
    await mkdir(this.#dir, { recursive: true });
    const handle = await open(join(this.#dir, nameOf(session)), 'a', 0o640);
    try {
      await handle.writeFile(Buffer.concat([...wire, ...frames]));
    } finally {
      await handle.close();
    }
    if (isNew) this.files += 1;
    if (isNew) this.frames += session.meta?.frames ?? 0;
    this.frames += frames.length;
    this.bytes += [...wire, ...frames].reduce((sum, { length }) => sum + length, 0);
  }
}

function nameOf({ sensor, type, id }: SpoolSession): string {
  // An id comes from a file: it must not lead elsewhere.
  const safe = (text: string) => text.replace(/[^A-Za-z0-9-]/g, '_').slice(0, 64);
  return `${safe(sensor)}-${type}-${safe(id)}.d4`;
}

/** Writes all records to new segments, with the introductions that they need. */
class ArchiveWriter {
  files = 0;
  frames = 0;
  bytes = 0;
  readonly #dir: string;
  readonly #known = new Set<number>();
  #path = '';
  #nextSeq: number | undefined;

  constructor(dir: string) {
    this.#dir = dir;
  }

  async take(block: DiskBlock): Promise<void> {
    // The numbers in a segment have no gaps.
    if (block.firstSeq !== this.#nextSeq) {
      await mkdir(this.#dir, { recursive: true });
      this.#path = segmentPath(this.#dir, block.firstSeq);
      this.#known.clear();
      this.files += 1;
    }
    this.#nextSeq = block.lastSeq + 1;
    const unknown = block.sessions.filter(({ ref, opens }) => !opens && !this.#known.has(ref));
    for (const { ref } of block.sessions) this.#known.add(ref);
    const preface = prefaceOf(block.firstSeq, unknown);
    const handle = await open(this.#path, 'a', 0o640);
    try {
      const bytes = preface ? Buffer.concat([preface, block.bytes]) : block.bytes;
      await handle.writeFile(bytes);
      this.bytes += bytes.length;
    } finally {
      await handle.close();
    }
    for (const { frames } of block.sessions) this.frames += frames;
  }
}

function renderPart(part: PartReport): string {
  const { dir, segments, bytes, firstSeq, lastSeq, cursor, sessions } = part;
  const lines = [
    dir,
    `  ${segments} segments, ${bytes} bytes${part.isUnfinished ? ', the newest unfinished' : ''}`,
    `  records ${firstSeq ?? '-'} to ${lastSeq ?? '-'}, done with up to ${cursor ?? '-'}`,
    `  ${sessions.all} sessions, ${sessions.withoutEnd} without an end`,
  ];
  for (const stream of part.streams) {
    const { sensor, type, frames, bytes, firstTime, lastTime, account, inFlight } = stream;
    const name = TYPE_NAMES[type] ?? 'unknown';
    const time = lastTime === 0 ? '' : `, ${iso(firstTime)} to ${iso(lastTime)}`;
    lines.push(`  ${sensor} type ${type} (${name}): ${frames} frames, ${bytes} bytes${time}`);
    if (account === undefined) continue;
    const figures = Object.entries(account).map(([key, { frames }]) => `${key} ${frames}`);
    lines.push(`    account: ${figures.join(', ')}, in flight ${inFlight!.frames}`);
  }
  for (const { segment, text } of part.faults) lines.push(`  ${segment}: ${text}`);
  return `${lines.join('\n')}\n`;
}

function iso(seconds: number): string {
  const date = new Date(seconds * 1_000);
  return Number.isNaN(date.getTime()) ? `${seconds} s` : date.toISOString().replace('.000Z', 'Z');
}

function print(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}
