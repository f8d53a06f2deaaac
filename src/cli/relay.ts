import { readFileSync, statSync } from 'node:fs';
import { Command } from 'commander';
import { loadConfig } from '../config/load.js';
import type { Config, RelaySinkConfig } from '../config/schema.js';
import { didYouMean } from '../config/suggest.js';
import { GatewayError, messageOf } from '../errors.js';
import { openRegistry } from '../registry/lmdb.js';
import type { SensorRecord } from '../registry/store.js';
import { pseudonymOf } from '../sinks/relay/identity.js';
import { type Registration, registerSensor } from '../sinks/relay/register.js';
import { type RelaySecrets, relaySecrets, secretPaths } from '../sinks/relay/secrets.js';
import { table } from './table.js';

const TOKEN_BYTES_MAX = 4_096;

interface RegisterCommandOptions {
  config?: string;
  url?: string;
  tokenFile?: string;
  ca?: string;
  allowHttp?: true;
  json?: true;
}

interface Entry {
  pseudonym: string;
  sensor: string;
  name: string;
}

/** `d4gw relay`: what a relay's partner has to know. */
export function relayCommand(): Command {
  const command = new Command('relay').description('Prepares a relay at its partner.');
  command
    .command('register')
    .argument('<name>', 'the relay, by its name under sinks')
    .summary('print or register the pseudonyms of a relay with mode resign')
    .description(
      'Prints the pseudonyms under which a relay with mode resign sends, one for each approved ' +
        "sensor, and where the key is that signs their frames. With --url and --token-file it registers them at the partner's " +
        'D4 server (POST /api/v1/add/sensor/register), where they then wait for approval. ' +
        'Pseudonyms are stable: run it again when sensors were added.',
    )
    .option('--config <file>', 'configuration of the gateway (default: the embedded one)')
    .option('--url <url>', "the partner's web interface, https://HOST[:PORT]")
    .option(
      '--token-file <file>',
      'file with a token of a user there, with the role sensor_register',
    )
    .option('--ca <file>', "authorities of the web interface's certificate, PEM")
    .option('--allow-http', 'take a URL without TLS: token and key can be read on the way')
    .option('--json', 'print JSON')
    .action(run);
  return command;
}

async function run(name: string, options: RegisterCommandOptions): Promise<void> {
  const config = loadConfig(options.config);
  const sink = relayOf(config, name);
  if ((options.url === undefined) !== (options.tokenFile === undefined)) {
    throw new GatewayError('D4GW_E_USAGE', '--url and --token-file: give both, or neither');
  }
  const paths = secretPaths(config.dataDir, name, sink);
  const secrets = relaySecrets(paths);
  const entries = await entriesOf(config, sink, secrets);
  if (options.url === undefined) print(entries, paths.signingKeyFile, options.json);
  else await registerAll(entries, secrets, { ...options, url: options.url });
}

function relayOf(config: Config, name: string): RelaySinkConfig {
  const sink = config.sinks[name];
  const relays = Object.entries(config.sinks).filter(([, { kind }]) => kind === 'relay');
  if (sink?.kind !== 'relay') {
    const hint = didYouMean(
      name,
      relays.map(([known]) => known),
    );
    throw new GatewayError('D4GW_E_USAGE', `${name}: no relay of the configuration${hint}`);
  }
  if (sink.mode !== 'resign') {
    throw new GatewayError(
      'D4GW_E_USAGE',
      `${name}: its mode is preserve, which has no pseudonyms: the partner needs each sensor's own ` +
        'UUID and key (d4gw sensor list)',
    );
  }
  return sink;
}

async function entriesOf(
  config: Config,
  sink: RelaySinkConfig,
  { secret }: RelaySecrets,
): Promise<Entry[]> {
  const registry = openRegistry(config.dataDir, { readOnly: true });
  try {
    const { sensors } = sink;
    const leaves = ({ uuid, state, blocked }: SensorRecord) =>
      state === 'approved' &&
      !blocked &&
      (!sensors || sensors.includes('*') || sensors.includes(uuid));
    return registry
      .list()
      .filter(leaves)
      .map(({ uuid, name }) => ({ pseudonym: pseudonymOf(uuid, secret), sensor: uuid, name }));
  } finally {
    await registry.close();
  }
}

function print(entries: readonly Entry[], keyFile: string, isJson: true | undefined): void {
  if (isJson) {
    process.stdout.write(
      `${JSON.stringify({ signingKeyFile: keyFile, sensors: entries }, null, 2)}\n`,
    );
    return;
  }
  const rows = entries.map(({ pseudonym, sensor, name }) => [pseudonym, sensor, name]);
  process.stdout.write(`${table(['pseudonym', 'sensor', 'name'], rows).join('\n')}\n`);
  process.stderr.write(
    `The key that signs for all of them is in ${keyFile}. At a d4-gateway each is added with\n` +
      '  d4gw sensor add --uuid PSEUDONYM --key-stdin < KEYFILE\n',
  );
}

async function registerAll(
  entries: readonly Entry[],
  { key }: RelaySecrets,
  options: RegisterCommandOptions & { url: string },
): Promise<void> {
  const { url, allowHttp } = options;
  const token = readToken(options.tokenFile!);
  const ca = options.ca === undefined ? undefined : readText(options.ca);
  const results: (Entry & { result: Registration })[] = [];
  for (const entry of entries) {
    const to = { url, token, ca, allowHttp };
    const result = await registerSensor(to, entry.pseudonym, key.toString('latin1'));
    results.push({ ...entry, result });
    if (!options.json) process.stdout.write(`${entry.pseudonym}  ${result}\n`);
  }
  if (options.json) process.stdout.write(`${JSON.stringify({ sensors: results }, null, 2)}\n`);
  else process.stderr.write('Those registered wait for approval at the partner.\n');
}

/** One line; a final newline and blanks around it are not part of it. */
function readToken(file: string): string {
  const token = readText(file).trim();
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  throw new GatewayError(
    'D4GW_E_USAGE',
    `--token-file ${file}: expected one token, without blanks`,
  );
}

function readText(file: string): string {
  try {
    const { size } = statSync(file);
    if (size > 256 * TOKEN_BYTES_MAX) throw new Error('is too large');
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new GatewayError('D4GW_E_USAGE', `${file}: ${messageOf(cause)}`, { cause });
  }
}
