import { Command, Option } from 'commander';
import { prepareDataDir } from '../config/data-dir.js';
import { GatewayError } from '../errors.js';
import { openRegistry } from '../registry/lmdb.js';
import { ROLES, type Role, type TokenRecord, tokenView } from '../registry/tokens.js';
import { iso } from '../registry/view.js';
import { cliActor } from './actor.js';
import { dataDirOf, type PlaceOptions } from './sensor-input.js';
import { table } from './table.js';

const DURATION = /^([1-9]\d{0,5})([hdw])$/;
const UNIT_MS = { h: 3_600_000, d: 86_400_000, w: 7 * 86_400_000 } as const;

type AddOptions = PlaceOptions & { name: string; role: Role; expires?: string; json?: true };

/** `d4gw token`: who may use the control plane. A running gateway goes by each change at once. */
export function tokenCommand(out: { write(text: string): unknown } = process.stdout): Command {
  const command = new Command('token').description(
    'Makes, lists and revokes tokens of the control plane. A running gateway goes by each change ' +
      'at once. Only a hash of a token is kept: its text is printed this once.',
  );
  const add = command
    .command('add')
    .summary('make a token')
    .description('Makes a token, and prints it, this once.')
    .requiredOption('--name <text>', 'whose it is, for the audit trail')
    .addOption(
      new Option('--role <role>', 'reader: sees; operator: also sensors and blocks; admin: all')
        .choices(ROLES)
        .makeOptionMandatory(),
    )
    .option('--expires <time>', 'such as 12h, 90d, 4w, or an ISO date; default: never')
    .option('--json', 'print JSON');
  withPlace(add).action(async (options: AddOptions) => {
    const { name, role, expires } = options;
    const expiresAt = expires === undefined ? undefined : expiryOf(expires, Date.now());
    const registry = openRegistry(prepareDataDir(dataDirOf(options)), { actor: cliActor() });
    try {
      const { record, text } = registry.tokens.add({ name, role, expiresAt });
      out.write(options.json ? json({ ...tokenView(record), token: text }) : `${text}\n`);
    } finally {
      await registry.close();
    }
  });
  const list = command
    .command('list')
    .summary('list the tokens')
    .description('Lists the tokens by their ids; their texts are not kept. Times are UTC.')
    .option('--json', 'print JSON');
  withPlace(list).action(async (options: PlaceOptions & { json?: true }) => {
    const registry = openRegistry(dataDirOf(options), { readOnly: true });
    try {
      const tokens = registry.tokens.list();
      out.write(options.json ? json(tokens.map(tokenView)) : listText(tokens));
    } finally {
      await registry.close();
    }
  });
  const revoke = command
    .command('revoke')
    .argument('<id>', "the token's id, as `token list` shows it")
    .summary('revoke a token')
    .description('Revokes a token: it and all that logged in with it are out at once.');
  withPlace(revoke).action(async (id: string, options: PlaceOptions) => {
    const registry = openRegistry(prepareDataDir(dataDirOf(options)), { actor: cliActor() });
    try {
      const { name } = registry.tokens.revoke(id);
      out.write(`token ${id} (${name}) revoked\n`);
    } finally {
      await registry.close();
    }
  });
  return command;
}

function withPlace(command: Command): Command {
  return command
    .option('--config <file>', 'configuration file (default: the embedded configuration)')
    .option('--data-dir <dir>', "data directory, in place of the configuration's");
}

/** @returns ms since the epoch */
function expiryOf(text: string, now: number): number {
  const span = DURATION.exec(text);
  if (span) return now + Number(span[1]) * UNIT_MS[span[2] as keyof typeof UNIT_MS];
  const date = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(date)) {
    throw new GatewayError(
      'D4GW_E_USAGE',
      `--expires ${JSON.stringify(text)}: give a span such as 12h, 90d or 4w, or a date such as 2030-01-31`,
    );
  }
  return date;
}

function listText(tokens: readonly TokenRecord[], now = Date.now()): string {
  if (tokens.length === 0) return 'no tokens: `d4gw token add` makes one\n';
  const rows = tokens.map(({ id, name, role, createdAt, expiresAt }) => {
    const expires = expiresAt === undefined ? 'never' : iso(expiresAt);
    const isOver = expiresAt !== undefined && expiresAt <= now;
    return [id, name, role, iso(createdAt), isOver ? `${expires} (over)` : expires];
  });
  return `${table(['ID', 'NAME', 'ROLE', 'CREATED', 'EXPIRES'], rows).join('\n')}\n`;
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
