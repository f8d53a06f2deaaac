import { Command } from 'commander';
import type { AuditEntry, TrailHead } from '../audit/entry.js';
import { readTrail, verifyTrail } from '../audit/reader.js';
import { GatewayError } from '../errors.js';
import { hasRegistry, openRegistry } from '../registry/lmdb.js';
import { dataDirOf, type PlaceOptions, parseWhole } from './sensor-input.js';
import { printable } from './table.js';

const SHOWN_DEFAULT = 50;
const SHOWN_MAX = 100_000;

type ShowOptions = PlaceOptions & {
  last: string;
  act?: string;
  subject?: string;
  json?: true;
};

/** `d4gw audit`: who did what, when and from where. */
export function auditCommand(out: { write(text: string): unknown } = process.stdout): Command {
  const command = new Command('audit').description(
    'Shows and verifies the audit trail: each administrative act, chained by hashes, in ' +
      'audit/*.ndjson of the data directory. Works beside a running gateway and without one.',
  );
  const show = command
    .command('show')
    .summary('show the newest acts')
    .description('Shows the newest acts, the oldest of them first. Times are UTC.')
    .option('--last <count>', 'how many', String(SHOWN_DEFAULT))
    .option('--act <name>', 'acts of this name, or all that begin with it: sensor, sensor.block')
    .option('--subject <text>', "acts on this alone: a sensor's UUID, an address, a token's id")
    .option('--json', 'print the lines as they are stored');
  withPlace(show).action(async (options: ShowOptions) => {
    const limit = parseWhole('--last', options.last);
    if (limit < 1 || limit > SHOWN_MAX) {
      throw new GatewayError('D4GW_E_USAGE', `--last ${limit}: give 1 to ${SHOWN_MAX}`);
    }
    const { act, subject } = options;
    const entries = await readTrail(dataDirOf(options), { limit, act, subject });
    for (const entry of entries.reverse()) {
      out.write(`${options.json ? JSON.stringify(entry) : lineOf(entry)}\n`);
    }
  });
  const verify = command
    .command('verify')
    .summary('prove that nothing was changed or taken out')
    .description(
      'Holds each line against its hash and the line before it, and the end against what the ' +
        'registry remembers. Exits 1 where a line was changed, moved or taken out.',
    )
    .option('--json', 'print JSON');
  withPlace(verify).action(async (options: PlaceOptions & { json?: true }) => {
    const dataDir = dataDirOf(options);
    // First, for what is appended meanwhile is then behind it.
    const head = await headOf(dataDir);
    const verdict = await verifyTrail(dataDir, head);
    if (options.json) out.write(`${JSON.stringify(verdict, null, 2)}\n`);
    else {
      for (const text of verdict.problems) out.write(`problem: ${text}\n`);
      for (const text of verdict.notes) out.write(`note: ${text}\n`);
      const { entries, files, intact } = verdict;
      out.write(`${entries} acts in ${files} files: ${intact ? 'intact' : 'TAMPERED WITH'}\n`);
    }
    if (!verdict.intact) process.exitCode = 1;
  });
  return command;
}

function withPlace(command: Command): Command {
  return command
    .option('--config <file>', 'configuration file (default: the embedded configuration)')
    .option('--data-dir <dir>', "data directory, in place of the configuration's");
}

async function headOf(dataDir: string): Promise<TrailHead | undefined> {
  if (!hasRegistry(dataDir)) return undefined;
  const registry = openRegistry(dataDir, { readOnly: true });
  try {
    return registry.trailHead();
  } finally {
    await registry.close();
  }
}

function lineOf({ seq, at, actor, act, subject, before, after }: AuditEntry): string {
  const who = actor.kind === 'cli' ? actor.name : `${actor.kind} ${actor.name}`;
  const from = actor.from === 'local' ? '' : ` from ${actor.from}`;
  const change = changeText(before, after);
  return printable(`${seq} ${at} ${who}${from}: ${act} ${subject}${change}`);
}

/** The members that differ, as `name: before → after`. */
function changeText(before: unknown, after: unknown): string {
  if (!isRecord(before) || !isRecord(after)) return '';
  const changed = Object.keys({ ...before, ...after })
    .map((key) => [key, JSON.stringify(before[key]), JSON.stringify(after[key])])
    .filter(([, old, now]) => old !== now)
    .map(([key, old, now]) => `${key}: ${old} → ${now}`);
  return changed.length === 0 ? '' : ` (${changed.join(', ')})`;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
