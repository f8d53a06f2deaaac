import { createReadStream, openSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { Command, InvalidArgumentError } from 'commander';
import { readClientDirectory } from '../client/directory.js';
import { Sender } from '../client/sender.js';
import { GatewayError, messageOf } from '../errors.js';
import { systemClock } from '../net/clock.js';
import { connect, StreamConnection } from '../net/connection.js';
import { parseTarget } from '../net/target.js';
import { addSecureOptions, type SecureFlags, secureOptions } from './secure-options.js';

const PROGRESS_MS = 1_000;

interface Options extends SecureFlags {
  config: string;
  to?: string;
  tcp?: boolean;
  type?: number;
  input?: string;
  once?: boolean;
  progress: boolean;
}

/** `d4gw client`: a native sensor. */
export function clientCommand(): Command {
  const command = new Command('client')
    .description(
      'Sends its input as the frames of one sensor, to a server or to standard output. A lost ' +
        'connection is made again, and the stream goes on at the start of the record (packet, ' +
        'line) that was cut, behind its meta header or file header. D4 acknowledges nothing: what ' +
        'was on its way when a connection broke may be lost, and the record that was cut comes ' +
        'again whole.',
    )
    .requiredOption('-c, --config <dir>', "the sensor's directory, as of `d4gw sensor add --out`")
    .option('--to <address>', '[tls://|tcp://]HOST:PORT or stdout (default: its destination)');
  return addSecureOptions(command)
    .option('--type <number>', 'D4 type, instead of that of the directory', parseType)
    .option('--input <file>', 'read this file instead of standard input')
    .option('--once', 'exit 1 when a connection fails or is lost, instead of trying again')
    .option('--no-progress', 'no progress line on a terminal')
    .action((options: Options) => run(options));
}

async function run(options: Options): Promise<void> {
  const directory = readClientDirectory(options.config, options.type);
  const target = parseTarget(options.to ?? directory.destination, options.tcp);
  const secure = secureOptions(options, target);
  const say = (line: string) => process.stderr.write(`d4gw client: ${line}\n`);
  for (const warning of directory.warnings) say(warning);
  if (options.insecure) say('--insecure: anyone on the way can read and replace what is sent');
  if (target.kind === 'stdout' && process.stdout.isTTY) {
    throw usage('frames are binary: pipe the output into a program, or give --to HOST:PORT');
  }
  const sender = new Sender({
    ...directory,
    input: openInput(options.input),
    isNetwork: target.kind !== 'stdout',
    targetName: target.kind === 'stdout' ? 'standard output' : target.name,
    connect: (events) =>
      target.kind === 'stdout'
        ? new StreamConnection(process.stdout, events)
        : connect(target, secure, systemClock, events),
    once: options.once ?? false,
    clock: systemClock,
    say,
  });
  // Once each: a second signal ends the process at once.
  const stop = () => {
    process.off('SIGINT', stop).off('SIGTERM', stop);
    sender.stop();
  };
  process.on('SIGINT', stop).on('SIGTERM', stop);
  const endProgress = options.progress && process.stderr.isTTY ? showProgress(sender) : undefined;
  try {
    await sender.run();
  } finally {
    endProgress?.();
    process.off('SIGINT', stop).off('SIGTERM', stop);
  }
}

function openInput(path: string | undefined): Readable {
  if (path !== undefined && path !== '-') {
    try {
      return createReadStream(path, { fd: openSync(path, 'r') });
    } catch (cause) {
      throw new GatewayError('D4GW_E_CLIENT', `${path}: ${messageOf(cause)}`, { cause });
    }
  }
  if (process.stdin.isTTY) {
    process.stderr.write('d4gw client: reading from the terminal; end with Ctrl-D\n');
  }
  return process.stdin;
}

function showProgress(sender: Sender): () => void {
  const show = () => {
    const { frames, bytes } = sender.sent;
    const text = `${frames} frames, ${(bytes / 1e6).toFixed(1)} MB`;
    process.stderr.write(`\r${text.padEnd(40)}`);
  };
  const timer = setInterval(show, PROGRESS_MS);
  timer.unref();
  return () => {
    clearInterval(timer);
    show();
    process.stderr.write('\n');
  };
}

function parseType(text: string): number {
  if (!/^\d{1,3}$/.test(text)) throw new InvalidArgumentError('Give 1 to 8, or 254.');
  return Number(text);
}

function usage(message: string): GatewayError {
  return new GatewayError('D4GW_E_USAGE', message);
}
