import { Command, InvalidArgumentError } from 'commander';
import { parseBytes } from '../config/units.js';
import { GatewayError } from '../errors.js';
import { systemClock } from '../net/clock.js';
import { connect, StreamConnection } from '../net/connection.js';
import { parseTarget } from '../net/target.js';
import { isSensorUuid } from '../wire/uuid.js';
import { storedFiles } from './frame-source.js';
import { Pace } from './pace.js';
import { type FrameFilter, Replay } from './replay-sessions.js';
import { addSecureOptions, type SecureFlags, secureOptions } from './secure-options.js';

const PROGRESS_MS = 1_000;
const CONNECTIONS = 256;
/** Frames of the largest payload that any gateway takes. */
const PAYLOAD_BYTES_MAX = 16 * 1024 * 1024;

interface Options extends SecureFlags {
  to: string;
  tcp?: boolean;
  rate?: Pace;
  sensor?: string[];
  type?: number[];
  from?: number;
  until?: number;
  connections: number;
  progress: boolean;
}

/** `d4gw replay`: sends archived frames again, byte for byte. */
export function replayCommand(): Command {
  const command = new Command('replay')
    .description(
      'Sends the frames of an archive, a spool or a file of frames to a server again, byte for ' +
        'byte: one connection for each session, its meta header first, and one at a time for each ' +
        'sensor and type. D4 acknowledges nothing: what the server makes of them, its own ledger ' +
        'tells. With --from and --until a stream may begin and end inside a record. Exits 1 where a ' +
        'connection failed or the server closed one, or where something of the files is damaged.',
    )
    .argument('<files...>', 'files of frames, segments or their directories')
    .requiredOption('--to <address>', '[tls://|tcp://]HOST:PORT or stdout');
  return addSecureOptions(command)
    .option(
      '--rate <rate>',
      'no faster than so many bytes (10MiB) or frames (500f) a second',
      parseRate,
    )
    .option('--sensor <uuid>', 'only frames of this sensor; may be repeated', collectSensor)
    .option('--type <number>', 'only sessions of this D4 type; may be repeated', collectType)
    .option('--from <time>', 'only frames from this time on (ISO 8601, or seconds)', parseTime)
    .option('--until <time>', 'only frames before this time', parseTime)
    .option('--connections <number>', 'sessions sent at once', parseCount, CONNECTIONS)
    .option('--no-progress', 'no progress line on a terminal')
    .action((files: string[], options: Options) => run(files, options));
}

async function run(paths: string[], options: Options): Promise<void> {
  const target = parseTarget(options.to, options.tcp);
  const secure = secureOptions(options, target);
  const say = (line: string) => process.stderr.write(`d4gw replay: ${line}\n`);
  if (options.insecure) say('--insecure: anyone on the way can read and replace what is sent');
  if (target.kind === 'stdout' && process.stdout.isTTY) {
    const message = 'frames are binary: pipe the output into a program, or give --to HOST:PORT';
    throw new GatewayError('D4GW_E_USAGE', message);
  }
  const name = target.kind === 'stdout' ? 'standard output' : target.name;
  const replay = new Replay(await storedFiles(paths), {
    connect: (events) =>
      target.kind === 'stdout'
        ? new StreamConnection(process.stdout, events)
        : connect(target, secure, systemClock, events),
    // All sessions share the one output: one after the other.
    connectionsMax: target.kind === 'stdout' ? 1 : options.connections,
    maxPayloadBytes: PAYLOAD_BYTES_MAX,
    filter: filterOf(options),
    pace: options.rate,
    targetName: name,
    say,
  });
  const endProgress = options.progress && process.stderr.isTTY ? showProgress(replay) : undefined;
  try {
    await replay.run();
  } finally {
    endProgress?.();
  }
  const { sessions, frames, bytes } = replay.sent;
  say(`${frames} frames (${bytes} bytes) of ${sessions} sessions sent to ${name}`);
  replay.throwFailures();
}

function filterOf({ sensor, type, from, until }: Options): FrameFilter {
  return {
    ...(sensor ? { sensors: new Set(sensor) } : {}),
    ...(type ? { types: new Set(type) } : {}),
    from: from ?? 0,
    until: until ?? Number.POSITIVE_INFINITY,
  };
}

function showProgress(replay: Replay): () => void {
  const show = () => {
    const { sessions, frames, bytes } = replay.sent;
    const text = `${sessions} sessions, ${frames} frames, ${(bytes / 1e6).toFixed(1)} MB`;
    process.stderr.write(`\r${text.padEnd(50)}`);
  };
  const timer = setInterval(show, PROGRESS_MS);
  timer.unref();
  return () => {
    clearInterval(timer);
    show();
    process.stderr.write('\n');
  };
}

function parseRate(text: string): Pace {
  const frames = /^([1-9]\d{0,8})f$/.exec(text)?.[1];
  if (frames !== undefined) return new Pace(Number(frames), 'frames');
  const bytes = parseBytes(text);
  if (bytes === undefined || bytes <= 0) {
    throw new InvalidArgumentError('Give bytes (10MiB) or frames (500f) a second.');
  }
  return new Pace(bytes, 'bytes');
}

function collectSensor(text: string, before: string[] = []): string[] {
  const uuid = text.toLowerCase();
  if (!isSensorUuid(uuid)) throw new InvalidArgumentError("Give a sensor's UUID (version 4).");
  return [...before, uuid];
}

function collectType(text: string, before: number[] = []): number[] {
  if (!/^\d{1,3}$/.test(text)) throw new InvalidArgumentError('Give 1 to 8, or 254.');
  return [...before, Number(text)];
}

/** Seconds since the epoch. */
export function parseTime(text: string): number {
  if (/^\d{1,12}$/.test(text)) return Number(text);
  const ms = Date.parse(text);
  if (Number.isNaN(ms)) throw new InvalidArgumentError('Give 2026-01-31T12:00:00Z, or seconds.');
  return ms / 1_000;
}

function parseCount(text: string): number {
  if (!/^[1-9]\d{0,4}$/.test(text)) throw new InvalidArgumentError('Give 1 to 99999.');
  return Number(text);
}
