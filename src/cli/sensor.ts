import { randomUUID } from 'node:crypto';
import { Command, Option } from 'commander';
import { prepareDataDir } from '../config/data-dir.js';
import { normalizeAddress } from '../registry/address.js';
import { writeClientDirectory } from '../registry/client-directory.js';
import { findSensor } from '../registry/find.js';
import { openRegistry } from '../registry/lmdb.js';
import type { Registry } from '../registry/store.js';
import { isoOrNull, sensorJson } from '../registry/view.js';
import { cliActor } from './actor.js';
import {
  type ClientOptions,
  dataDirOf,
  type KeyInput,
  type KeyOptions,
  type PlaceOptions,
  parseSensorUuid,
  parseWhole,
  readClientOptions,
  readKey,
} from './sensor-input.js';
import { listJson, listText, sensorText } from './sensor-output.js';

const GRACE_SECONDS_DEFAULT = 86_400;
const SENSOR = 'its UUID, 4 or more of the first digits, or its name';

/** The streams that the commands use; `process` has them. */
export interface SensorIo {
  readonly stdin: AsyncIterable<Buffer | string>;
  readonly stdout: { write(text: string): unknown };
}

type AddOptions = PlaceOptions &
  KeyOptions &
  ClientOptions & {
    uuid?: string;
    name?: string;
    description?: string;
    contact?: string;
    group?: string[];
    expect?: string;
    pending?: true;
    showKey?: true;
  };
type EditOptions = PlaceOptions & {
  name?: string;
  description?: string;
  contact?: string;
  group?: string[];
  groups?: false;
  expect?: string;
};
type RotateOptions = PlaceOptions & KeyOptions & ClientOptions & { grace: string; showKey?: true };

/** `d4gw sensor`: the registry's commands. A running gateway sees each change within a second. */
export function sensorCommand(io: SensorIo = process): Command {
  const command = new Command('sensor').description(
    'Registers, shows and blocks sensors. A running gateway sees each change within a second.',
  );
  addAdd(command, io);
  addEdit(command, io);
  addRotate(command, io);
  addViews(command, io);
  addChanges(command, io);
  return command;
}

function addAdd(parent: Command, io: SensorIo): void {
  const command = parent
    .command('add')
    .summary('register a sensor')
    .description(
      'Registers a sensor. Unless given, its UUID and key are generated; a generated key that ' +
        '--out writes nowhere is printed, this once.',
    )
    .option('--uuid <uuid>', 'version 4 UUID')
    .option('--name <text>', 'short name, which may stand for the UUID')
    .option('--description <text>', 'what it is')
    .option('--contact <text>', 'whom to ask')
    .option('--group <name...>', 'groups that it is in')
    .option('--expect <seconds>', 'an alert opens when it is silent for longer')
    .option('--pending', 'do not let it send before `sensor approve`');
  withPlace(withClient(withKey(command))).action(async (options: AddOptions) => {
    const uuid = options.uuid === undefined ? randomUUID() : parseSensorUuid(options.uuid);
    const client = readClientOptions(options);
    const input = await readKey(options, io.stdin);
    const state = options.pending ? 'pending' : 'approved';
    const { name, description, contact, group: groups } = options;
    const expectSeconds = expectOf(options);
    const about = { name, description, contact, groups, expectSeconds };
    await writing(options, async (registry) => {
      await withOut(options.out, { uuid, key: input.key, ...client }, () =>
        registry.add({ uuid, key: input.key, state, ...about }),
      );
      io.stdout.write(`sensor ${uuid} added, ${state}\n${keyText(input, options)}`);
    });
  });
}

function addEdit(parent: Command, io: SensorIo): void {
  const command = parent
    .command('edit')
    .argument('<sensor>', SENSOR)
    .summary('change what is said of a sensor')
    .description('Changes what is said of a sensor. What is not named stays as it is.')
    .option('--name <text>', 'short name, which may stand for the UUID')
    .option('--description <text>', 'what it is')
    .option('--contact <text>', 'whom to ask')
    .option('--group <name...>', 'groups that it is in, in place of those before')
    .option('--no-groups', 'take it out of every group')
    .option('--expect <seconds>', 'an alert opens when it is silent for longer; 0: never');
  withPlace(command).action(async (sensor: string, options: EditOptions) => {
    const { name, description, contact } = options;
    const groups = options.groups === false ? [] : options.group;
    const expectSeconds = expectOf(options);
    await writing(options, async (registry) => {
      const { uuid } = findSensor(registry, sensor);
      await registry.edit(uuid, { name, description, contact, groups, expectSeconds });
      io.stdout.write(`sensor ${uuid} changed\n`);
    });
  });
}

function expectOf({ expect }: { expect?: string }): number | undefined {
  return expect === undefined ? undefined : parseWhole('--expect', expect);
}

function addRotate(parent: Command, io: SensorIo): void {
  const command = parent
    .command('rotate-key')
    .argument('<sensor>', SENSOR)
    .summary('give a sensor a new key')
    .description(
      'Gives a sensor a new key, generated unless given. The old one stays valid for the grace, ' +
        'so that no frame is lost; a generated key that --out writes nowhere is printed, this once.',
    )
    .option('--grace <seconds>', 'how long the old key stays valid', String(GRACE_SECONDS_DEFAULT));
  withPlace(withClient(withKey(command))).action(async (sensor: string, options: RotateOptions) => {
    const grace = parseWhole('--grace', options.grace);
    const client = readClientOptions(options);
    const input = await readKey(options, io.stdin);
    await writing(options, async (registry) => {
      const { uuid } = findSensor(registry, sensor);
      const changed = await withOut(options.out, { uuid, key: input.key, ...client }, () =>
        registry.rotateKey(uuid, input.key, grace),
      );
      const until = isoOrNull(changed.previousKey?.validUntil);
      const old = until ? `the old one is valid until ${until}` : 'the old one is void';
      io.stdout.write(`sensor ${uuid} has a new key; ${old}\n${keyText(input, options)}`);
    });
  });
}

function addViews(parent: Command, io: SensorIo): void {
  const list = parent
    .command('list')
    .option('--group <name>', 'sensors of this group alone')
    .summary('list the sensors and the blocked addresses')
    .description('Lists the sensors, and the blocked addresses. Times are UTC.')
    .option('--json', 'print one JSON object, without keys');
  withPlace(list).action((options: PlaceOptions & { json?: true; group?: string }) =>
    reading(options, (registry) => {
      const { group } = options;
      const entries = registry
        .list()
        .filter(({ groups }) => group === undefined || groups?.includes(group))
        .map((sensor) => ({ sensor, activity: registry.activity(sensor.uuid) }));
      const addresses = registry.blockedAddresses();
      io.stdout.write(
        options.json ? json(listJson(entries, addresses)) : listText(entries, addresses),
      );
    }),
  );
  const show = parent
    .command('show')
    .argument('<sensor>', SENSOR)
    .summary('show all that is known of a sensor, but its key')
    .description('Shows all that is known of a sensor, but its key. Times are UTC.')
    .option('--json', 'print one JSON object');
  withPlace(show).action((text: string, options: PlaceOptions & { json?: true }) =>
    reading(options, (registry) => {
      const sensor = findSensor(registry, text);
      const entry = { sensor, activity: registry.activity(sensor.uuid) };
      io.stdout.write(options.json ? json(sensorJson(sensor, entry.activity)) : sensorText(entry));
    }),
  );
}

interface Change {
  name: string;
  argument: readonly [name: string, meaning: string];
  summary: string;
  description: string;
  /** Makes the change, and says what was done. */
  act(registry: Registry, text: string): Promise<string>;
}

const ONE_SENSOR = ['sensor', SENSOR] as const;
const SENSOR_OR_ADDRESS = [
  'sensor-or-address',
  `a sensor (${SENSOR}), an address, or a range such as 192.0.2.0/24`,
] as const;

const CHANGES: readonly Change[] = [
  {
    name: 'approve',
    argument: ONE_SENSOR,
    summary: 'let a pending sensor send',
    description: 'Lets a pending sensor send.',
    async act(registry, text) {
      const { uuid } = await registry.approve(findSensor(registry, text).uuid);
      return `sensor ${uuid} approved`;
    },
  },
  {
    name: 'reject',
    argument: ONE_SENSOR,
    summary: 'refuse a pending sensor',
    description: 'Forgets a pending sensor: it was not approved.',
    async act(registry, text) {
      const { uuid } = findSensor(registry, text);
      await registry.reject(uuid);
      return `sensor ${uuid} rejected`;
    },
  },
  {
    name: 'remove',
    argument: ONE_SENSOR,
    summary: 'forget a sensor',
    description: 'Forgets a sensor, its key and its record; what it sent stays stored.',
    async act(registry, text) {
      const { uuid } = findSensor(registry, text);
      await registry.remove(uuid);
      return `sensor ${uuid} removed`;
    },
  },
  {
    name: 'block',
    argument: SENSOR_OR_ADDRESS,
    summary: 'refuse a sensor or an address',
    description:
      'Refuses a sensor, or all connections from an address, and ends those that are open.',
    async act(registry, text) {
      if (isAddress(text)) return `address ${await registry.blockAddress(text)} blocked`;
      const { uuid } = await registry.block(findSensor(registry, text).uuid);
      return `sensor ${uuid} blocked`;
    },
  },
  {
    name: 'unblock',
    argument: SENSOR_OR_ADDRESS,
    summary: 'take a block back',
    description: 'Takes a block back: a sensor is pending or approved as before.',
    async act(registry, text) {
      if (isAddress(text)) return `address ${await registry.unblockAddress(text)} unblocked`;
      const { uuid, state } = await registry.unblock(findSensor(registry, text).uuid);
      return `sensor ${uuid} unblocked, ${state}`;
    },
  },
];

function addChanges(parent: Command, io: SensorIo): void {
  for (const { name, argument, summary, description, act } of CHANGES) {
    const command = parent.command(name).argument(`<${argument[0]}>`, argument[1]);
    withPlace(command.summary(summary).description(description)).action(
      (text: string, options: PlaceOptions) =>
        writing(options, async (registry) => {
          io.stdout.write(`${await act(registry, text)}\n`);
        }),
    );
  }
}

function withPlace(command: Command): Command {
  return command
    .option('--config <file>', 'configuration file (default: the embedded configuration)')
    .option('--data-dir <dir>', "data directory, in place of the configuration's");
}

function withKey(command: Command): Command {
  return command
    .option('--key-file <file>', 'file that holds the HMAC key; one final newline is dropped')
    .addOption(
      new Option('--key-stdin', 'read the HMAC key from standard input').conflicts('keyFile'),
    )
    .option('--show-key', 'print the key');
}

function withClient(command: Command): Command {
  return command
    .option('--out <dir>', 'write a client configuration directory; it must be new or empty')
    .option('--type <number>', 'with --out: D4 type that the client sends (default: 1)')
    .option('--destination <target>', 'with --out: HOST:PORT for the Go client (default: stdout)')
    .option('--meta-header <file>', 'with --out, types 2 and 254: the meta header, JSON');
}

/** Writes the client directory first, so that no key is in force that nobody has. */
async function withOut<T>(
  out: string | undefined,
  settings: Parameters<typeof writeClientDirectory>[1],
  change: () => Promise<T>,
): Promise<T> {
  const undo = out === undefined ? undefined : writeClientDirectory(out, settings);
  try {
    return await change();
  } catch (error) {
    undo?.();
    throw error;
  }
}

function keyText(
  { key, generated }: KeyInput,
  { out, showKey }: { out?: string; showKey?: true },
): string {
  const text = key.toString();
  const line = /^[\x21-\x7e]+$/.test(text)
    ? `key: ${text}\n`
    : `key, in hex: ${key.toString('hex')}\n`;
  const shown = showKey || (generated && out === undefined) ? line : '';
  return out === undefined ? shown : `${shown}client directory: ${out}\n`;
}

async function writing(options: PlaceOptions, use: (registry: Registry) => Promise<void>) {
  await closing(openRegistry(prepareDataDir(dataDirOf(options)), { actor: cliActor() }), use);
}

async function reading(options: PlaceOptions, use: (registry: Registry) => void) {
  await closing(openRegistry(dataDirOf(options), { readOnly: true }), use);
}

async function closing(registry: Registry, use: (registry: Registry) => void | Promise<void>) {
  try {
    await use(registry);
  } finally {
    await registry.close();
  }
}

function isAddress(text: string): boolean {
  return normalizeAddress(text.split('/', 1)[0]!) !== undefined;
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
