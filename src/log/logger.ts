import { createRequire } from 'node:module';
import { isatty } from 'node:tty';
import { type Bindings, type DestinationStream, type Logger, pino } from 'pino';
import type { PrettyOptions } from 'pino-pretty';

export interface LoggerOptions {
  level: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';
  /** auto: readable on a terminal, JSON lines elsewhere. */
  format: 'auto' | 'json' | 'pretty';
  /** The part that logs, such as `primary` or `worker`. */
  name?: string;
  /** Fields of every line. */
  bindings?: Bindings;
}

const STDOUT_FD = 1;
/** What may wait while standard output takes nothing; lines beyond are dropped. */
const UNWRITTEN_BYTES_MAX = 1024 * 1024;

/** Fields that never appear, at the top of a line or one level in. No caller should pass one. */
const SECRET_FIELDS = [
  'key',
  'keys',
  'hmacKey',
  'oldKey',
  'newKey',
  'secret',
  'sharedSecret',
  'privateKey',
  'password',
  'passphrase',
];

/**
 * A logger that writes each line straight to standard output before the call returns, so it serves
 * the primary, workers and their threads alike, and no line is lost when a process ends. A standard
 * output that fails (closed pipe, full disk) costs lines, never the gateway.
 */
export function createLogger(options: LoggerOptions): Logger {
  return buildLogger(options, stdoutDestination(), isatty(STDOUT_FD));
}

/** As `createLogger`, on any destination. */
export function buildLogger(
  { level, format, name, bindings }: LoggerOptions,
  destination: DestinationStream,
  terminal: boolean,
): Logger {
  const readable = format === 'pretty' || (format === 'auto' && terminal);
  const logger = pino(
    {
      level,
      base: { pid: process.pid, ...(name !== undefined && { name }) },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: errorFields(level === 'debug' || level === 'trace') },
      redact: { paths: SECRET_FIELDS.flatMap((field) => [field, `*.${field}`]) },
    },
    readable ? prettyDestination(destination, terminal) : destination,
  );
  return bindings ? logger.child(bindings) : logger;
}

function stdoutDestination(): DestinationStream {
  const destination = pino.destination({
    dest: STDOUT_FD,
    sync: true,
    maxLength: UNWRITTEN_BYTES_MAX,
  });
  // Without a listener, a full disk under a redirected standard output would end the process.
  destination.on('error', () => {});
  return destination;
}

/** Formats in the call itself: a transport's thread would lose the last lines of a process. */
function prettyDestination(destination: DestinationStream, terminal: boolean): DestinationStream {
  const load = createRequire(import.meta.url);
  const { prettyFactory } = load('pino-pretty') as {
    prettyFactory(options: PrettyOptions): (line: string) => string | undefined;
  };
  const format = prettyFactory({
    colorize: terminal && !process.env.NO_COLOR,
    translateTime: 'SYS:HH:MM:ss.l',
    ignore: 'pid',
    singleLine: true,
  });
  return { write: (line) => destination.write(format(withoutControls(line)) ?? '') };
}

/**
 * A JSON line whose strings, once parsed, hold no control character but white space: what a peer
 * sent must not steer the operator's terminal. An escaped backslash is passed over as a whole.
 */
function withoutControls(line: string): string {
  return line
    .replace(/\\\\|\\u00(?:[01][0-9a-f]|7f)/g, (found) => (found === '\\\\' ? found : `\\${found}`))
    .replace(/[\u007f-\u009f]/g, '?');
}

/** An error's type, code and message; with `stack` where the level asks for such detail. */
function errorFields(stack: boolean): (error: unknown) => unknown {
  return (error) => {
    if (!(error instanceof Error)) return error;
    const { code } = error as NodeJS.ErrnoException;
    return {
      type: error.name,
      ...(code !== undefined && { code }),
      message: error.message,
      ...(stack && { stack: error.stack }),
    };
  };
}
