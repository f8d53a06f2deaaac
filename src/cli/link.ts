import { Command } from 'commander';
import { prepareDataDir } from '../config/data-dir.js';
import { LinkStore } from '../link/store.js';
import { addToken, rebind, removeLink, removeToken } from '../link/tokens.js';
import { iso } from '../registry/view.js';
import { dataDirOf, type PlaceOptions } from './sensor-input.js';
import { table } from './table.js';

type Out = { write(text: string): unknown };

/** `d4gw link`: which gateways may link to this one. A running gateway sees each change at once. */
export function linkCommand(out: Out = process.stdout): Command {
  const command = new Command('link').description(
    'Lets other gateways link to this one (listen: wss). Each has a token of its own, of which only ' +
      'the SHA-256 is kept. A running gateway goes by each change within a second.',
  );
  const add = command
    .command('add')
    .argument('<name>', 'whose it is')
    .summary('make a token for a gateway')
    .description(
      'Makes the token of a gateway that is to link to this one, and prints it, this once. There, ' +
        'it goes into the file that tokenFile of the relay names, for its owner alone (chmod 600).',
    );
  withPlace(add).action(async (name: string, options: PlaceOptions) => {
    await withStore(options, async (store) => {
      out.write(`${await addToken(store, name)}\n`);
    });
  });
  const list = command
    .command('list')
    .summary('list the tokens, and how far each link has come')
    .description(
      'Lists the tokens by name, and the links: their ids, the gateways at the other end, and the ' +
        'record up to which all is on disk here. Times are UTC.',
    )
    .option('--json', 'print JSON');
  withPlace(list).action(async (options: PlaceOptions & { json?: true }) => {
    await withStore(options, async (store) => {
      const tokens = store.tokens().map(({ name, createdAt }) => ({ name, createdAt }));
      const links = store.links();
      out.write(
        options.json ? `${JSON.stringify({ tokens, links }, null, 2)}\n` : listText(tokens, links),
      );
    });
  });
  const remove = command
    .command('remove')
    .argument('<name>', 'whose it is, as `link list` shows it')
    .option('--link', 'it is the id of a link: forget that one alone')
    .summary('remove a token and its links')
    .description(
      'Removes a token: its links end, and how far they have come is forgotten. To give a gateway ' +
        'another token and keep its links, see `link rebind`.',
    );
  withPlace(remove).action(async (name: string, options: PlaceOptions & { link?: true }) => {
    await withStore(options, async (store) => {
      if (options.link) {
        await removeLink(store, name);
        out.write(`link ${name} removed\n`);
        return;
      }
      const links = await removeToken(store, name);
      out.write(`link token ${name} removed, with ${links} links\n`);
    });
  });
  const move = command
    .command('rebind')
    .argument('<from>', 'whose the links are')
    .argument('<to>', 'whose they are to be')
    .summary('give the links of one token to another')
    .description(
      'A link belongs to the token that first opened it, and no other can open it. This gives the ' +
        'links of one token to another, such as a new one of the same gateway.',
    );
  withPlace(move).action(async (from: string, to: string, options: PlaceOptions) => {
    await withStore(options, async (store) => {
      const links = await rebind(store, from, to);
      out.write(`${links} links of ${from} belong to ${to}\n`);
    });
  });
  return command;
}

async function withStore(
  options: PlaceOptions,
  task: (store: LinkStore) => Promise<void>,
): Promise<void> {
  const store = LinkStore.open(prepareDataDir(dataDirOf(options)));
  try {
    await task(store);
  } finally {
    await store.close();
  }
}

function withPlace(command: Command): Command {
  return command
    .option('--config <file>', 'configuration file (default: the embedded configuration)')
    .option('--data-dir <dir>', "data directory, in place of the configuration's");
}

function listText(
  tokens: readonly { name: string; createdAt: number }[],
  links: ReturnType<LinkStore['links']>,
): string {
  if (tokens.length === 0 && links.length === 0) return 'no links: `d4gw link add` makes a token\n';
  const names = tokens.map(({ name, createdAt }) => [name, iso(createdAt)]);
  const rows = links.map(({ link, gateway, position, at, token }) => [
    link,
    gateway,
    token ?? '-',
    String(position),
    iso(at),
  ]);
  const lines = table(['TOKEN', 'CREATED'], names);
  if (rows.length > 0)
    lines.push('', ...table(['LINK', 'GATEWAY', 'TOKEN', 'POSITION', 'AT'], rows));
  return `${lines.join('\n')}\n`;
}
