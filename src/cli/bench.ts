import { availableParallelism } from 'node:os';
import { Command, InvalidArgumentError } from 'commander';
import type { BenchOptions } from '../../bench/main.js';
import { readKeyFile } from '../client/key-file.js';
import { parseBytes } from '../config/units.js';
import { GatewayError } from '../errors.js';
import { parseTarget } from '../net/target.js';
import { formatUuid, isSensorUuid, parseUuid } from '../wire/uuid.js';

interface Options {
  quick?: boolean;
  smoke?: boolean;
  check?: boolean;
  from?: string;
  list?: boolean;
  samples?: number;
  seconds?: number;
  filter?: string[];
  workers: number | 'auto';
  format: 'jsonl' | 'pcap';
  loadProcesses?: number;
  dir?: string;
  json?: string;
  to?: string;
  tcp?: boolean;
  keyFile?: string;
  uuid?: string;
  sizes: number[];
  connections: number;
}

const PAYLOAD_BYTES_MAX = 1_000_000;
/** The shortest payload that holds a whole line, or a whole packet. */
const PAYLOAD_BYTES_MIN = 64;

/** `d4gw bench`: the Gbps suite, or its load alone at another server. */
export function benchCommand(): Command {
  return new Command('bench')
    .description(
      'Measures gigabits a second, end to end, with yardsticks beside. Starts gateways of its own ' +
        'on 127.0.0.1; a row that lost a frame is printed as failed and never as a rate.',
    )
    .option('--quick', 'what the targets need, in under 3 minutes')
    .option('--smoke', 'every path once, in under 30 seconds: fails on lost frames alone')
    .option('--check', 'compare with bench/targets.json; exit 1 where one is missed')
    .option('--from <file>', 'with --check: of results that were kept, without a run')
    .option('--filter <text...>', 'only groups and rows whose name holds one of these')
    .option('--list', 'print what would be run')
    .option('--samples <n>', 'samples of each row, taken in turns', whole(1, 1000))
    .option('--seconds <s>', 'length of a sample', seconds)
    .option('--workers <n|auto>', "the gateway's worker processes", workers, 'auto')
    .option('--format <jsonl|pcap>', 'what the sensors send', format, 'jsonl')
    .option(
      '--load-processes <n>',
      'processes of the load (default: half the cores, two at least)',
      whole(1, 64),
    )
    .option('--dir <dir>', 'where data lies meanwhile, on a real disk (default: the temporary one)')
    .option('--json <file>', 'write the results there too')
    .option('--to <host:port>', 'only send, to that server, and print what was sent')
    .option('--tcp', 'with --to: without TLS')
    .option('--key-file <file>', 'with --to: the HMAC key')
    .option('--uuid <uuid>', 'with --to: the one sensor that the server knows')
    .option('--sizes <bytes,...>', 'with --to: payload sizes', sizes, [128, 4096, 65_536])
    .option('--connections <n>', 'with --to: connections', whole(1, 10_000), 16)
    .addHelpText(
      'after',
      `
Rates count payload alone: neither headers nor TLS. The load is JSON lines (type 6), or packets
(type 1) with --format pcap. Results are kept in bench/results; npm run bench:report draws them.
Exit codes: 0 done, 1 a row failed or with --check a target was missed, 2 usage.`,
    )
    .action(run);
}

async function run(options: Options): Promise<void> {
  if (options.quick && options.smoke) {
    throw new GatewayError('D4GW_E_USAGE', 'give one of --quick and --smoke');
  }
  if (options.from !== undefined) {
    if (!options.check) throw new GatewayError('D4GW_E_USAGE', '--from goes with --check');
    const { checkKept } = await import('../../bench/main.js');
    process.exitCode = checkKept(options.from);
    return;
  }
  const work = options.to === undefined ? suite : remote;
  process.exitCode = await work(options);
}

async function suite(options: Options): Promise<number> {
  const { runBench } = await import('../../bench/main.js');
  const { samples, seconds, loadProcesses, dir, json, workers, format } = options;
  const form: BenchOptions['form'] = options.smoke ? 'smoke' : options.quick ? 'quick' : 'full';
  // Where things were written says nothing of the figures.
  const given = process.argv.slice(2).join(' ');
  const command = `d4gw ${given.replace(/ --(json|dir)[ =]\S+/g, '')}`;
  const settings: BenchOptions = {
    ...{ form, workers, format },
    filter: options.filter ?? [],
    check: options.check ?? false,
    list: options.list ?? false,
    ...(samples === undefined ? {} : { samples }),
    ...(seconds === undefined ? {} : { seconds }),
    ...(loadProcesses === undefined ? {} : { loadProcesses }),
    ...(dir === undefined ? {} : { dir }),
    ...(json === undefined ? {} : { json }),
  };
  return runBench(settings, command);
}

async function remote(options: Options): Promise<number> {
  const target = parseTarget(options.to!, options.tcp);
  if (target.kind === 'stdout' || options.keyFile === undefined) {
    throw new GatewayError(
      'D4GW_E_USAGE',
      '--to needs HOST:PORT, and --key-file with the HMAC key',
    );
  }
  const uuid = options.uuid === undefined ? undefined : sensorOf(options.uuid);
  if (uuid !== undefined && options.connections > 1) {
    const mend = 'one sensor has one connection: give --connections 1';
    throw new GatewayError(
      'D4GW_E_USAGE',
      `--uuid with ${options.connections} connections; ${mend}`,
    );
  }
  const key = readKeyFile(options.keyFile, (line) => process.stderr.write(`d4gw: ${line}\n`));
  const { runRemote } = await import('../../bench/remote.js');
  const { kind, host, port, name } = target;
  return runRemote({
    ...{ to: { kind, host, port }, name, key },
    ...(uuid === undefined ? {} : { uuid }),
    ...{ sizes: options.sizes, connections: options.connections, format: options.format },
    samples: options.samples ?? 3,
    seconds: options.seconds ?? 5,
    loadProcesses: options.loadProcesses ?? Math.max(2, Math.floor(availableParallelism() / 2)),
  });
}

function sensorOf(text: string): string {
  const bytes = parseUuid(text);
  const uuid = bytes && formatUuid(bytes);
  if (uuid && isSensorUuid(uuid)) return uuid;
  throw new GatewayError('D4GW_E_USAGE', `--uuid ${text}: expected a version 4 UUID`);
}

function whole(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (Number.isInteger(value) && value >= min && value <= max) return value;
    throw new InvalidArgumentError(`Expected a whole number from ${min} to ${max}.`);
  };
}

function workers(text: string): number | 'auto' {
  return text === 'auto' ? 'auto' : whole(1, 256)(text);
}

function seconds(text: string): number {
  const value = Number(text);
  if (value >= 0.05 && value <= 3600) return value;
  throw new InvalidArgumentError('Expected seconds from 0.05 to 3600.');
}

function format(text: string): 'jsonl' | 'pcap' {
  if (text === 'jsonl' || text === 'pcap') return text;
  throw new InvalidArgumentError('Expected jsonl or pcap.');
}

function sizes(text: string): number[] {
  return text.split(',').map((part) => {
    const bytes = parseBytes(part);
    if (bytes !== undefined && bytes >= PAYLOAD_BYTES_MIN && bytes <= PAYLOAD_BYTES_MAX)
      return bytes;
    throw new InvalidArgumentError(
      `Expected bytes from ${PAYLOAD_BYTES_MIN} to ${PAYLOAD_BYTES_MAX}.`,
    );
  });
}
