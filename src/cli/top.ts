import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import type { Overview } from '../control/api/schemas.js';
import { GatewayError, messageOf } from '../errors.js';
import { ApiClient, type ApiOptions } from './api-client.js';
import { overviewLines } from './overview-text.js';
import { withApi } from './status.js';

const PERIOD_MS = 1_000;
const ENTER_SCREEN = '\u001b[?1049h\u001b[?25l';
const LEAVE_SCREEN = '\u001b[?25h\u001b[?1049l';
const HOME = '\u001b[H';
const CLEAR_LINE = '\u001b[K';
const CLEAR_BELOW = '\u001b[J';
const CTRL_C = '\u0003';
const ROWS_DEFAULT = 24;
const COLUMNS_DEFAULT = 80;

/** The terminal that `top` draws on; `process` has one. */
export interface TopIo {
  readonly stdin: NodeJS.ReadStream;
  readonly stdout: NodeJS.WriteStream;
}

/** `d4gw top`: the overview in a terminal, once a second. */
export function topCommand(io: TopIo = process): Command {
  return withApi(
    new Command('top').description(
      'Shows the overview of a running gateway in the terminal, once a second, over its control ' +
        'plane. q or Ctrl-C ends it.',
    ),
  ).action(async (options: ApiOptions) => {
    if (!io.stdout.isTTY) {
      throw new GatewayError('D4GW_E_USAGE', 'top needs a terminal: use `d4gw status`');
    }
    const client = new ApiClient(options);
    // What is wrong from the start ends it; later the gateway may be restarted.
    const first = (await client.get('/api/v1/overview')) as Overview;
    await show(io, client, first);
  });
}

async function show({ stdin, stdout }: TopIo, client: ApiClient, first: Overview): Promise<void> {
  const stop = new AbortController();
  const key = (data: Buffer) => {
    const text = data.toString();
    if (text.includes('q') || text.includes(CTRL_C)) stop.abort();
  };
  const end = () => stop.abort();
  process.on('SIGTERM', end).on('SIGINT', end);
  if (stdin.isTTY) stdin.setRawMode(true);
  stdin.on('data', key).resume();
  stdout.write(ENTER_SCREEN);
  try {
    let lines = overviewLines(first);
    while (!stop.signal.aborted) {
      stdout.write(screen(lines, stdout));
      await sleep(PERIOD_MS, undefined, { signal: stop.signal }).catch(() => {});
      if (stop.signal.aborted) break;
      try {
        lines = overviewLines((await client.get('/api/v1/overview')) as Overview);
      } catch (error) {
        lines = [messageOf(error), 'trying again'];
      }
    }
  } finally {
    stdout.write(LEAVE_SCREEN);
    stdin.off('data', key).pause();
    if (stdin.isTTY) stdin.setRawMode(false);
    process.off('SIGTERM', end).off('SIGINT', end);
  }
}

/** What draws lines over the ones before; what does not fit is left out. */
export function screen(
  lines: readonly string[],
  size: { rows?: number; columns?: number },
): string {
  // A terminal that knows no size of its own says 0.
  const rows = size.rows || ROWS_DEFAULT;
  const columns = size.columns || COLUMNS_DEFAULT;
  const shown = lines.slice(0, rows - 1).map((line) => [...line].slice(0, columns).join(''));
  return HOME + shown.map((line) => `${line}${CLEAR_LINE}\r\n`).join('') + CLEAR_BELOW;
}
