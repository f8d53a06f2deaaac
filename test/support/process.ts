import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { after } from 'node:test';

/** Output kept for the message of a failed wait; older output is dropped from the front. */
const OUTPUT_CHARS_MAX = 4 * 1024 * 1024;
const WAIT_DEADLINE_MS = 20_000;
const KILL_DEADLINE_MS = 5_000;

export interface RunOptions {
  cwd?: string;
  /** Added to this process's environment; `undefined` takes a variable away. */
  env?: Record<string, string | undefined>;
  /** Bytes for stdin, which is then closed; 'pipe' leaves it open; by default it is empty. */
  input?: Uint8Array | string | 'pipe';
}

export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

/**
 * A child process whose output is kept. It is ended, at the latest, when the surrounding suite or
 * file has run: by its own id, first with SIGTERM, then with SIGKILL.
 */
export class Running {
  stdout = '';
  stderr = '';
  readonly child: ChildProcess;
  /** Resolves when the process has ended and its output is read; rejects where it can't start. */
  readonly exited: Promise<Exit>;
  #ended = false;

  constructor(
    readonly command: string,
    args: readonly string[],
    options: RunOptions = {},
  ) {
    this.child = spawn(command, args, {
      cwd: options.cwd,
      env: { ...process.env, ...options.env },
      stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    });
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.stdout = (this.stdout + text).slice(-OUTPUT_CHARS_MAX);
    });
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr = (this.stderr + text).slice(-OUTPUT_CHARS_MAX);
    });
    this.exited = new Promise((resolve, reject) => {
      this.child.once('error', reject);
      this.child.once('close', (code, signal) => resolve({ code, signal }));
    });
    this.exited
      .catch(() => {})
      .finally(() => {
        this.#ended = true;
      });
    const { input } = options;
    if (input !== undefined && this.child.stdin) {
      // EPIPE: the process ended without reading everything, which its exit code tells.
      this.child.stdin.on('error', () => {});
      if (input !== 'pipe') this.child.stdin.end(input);
    }
  }

  get pid(): number {
    const { pid } = this.child;
    if (pid === undefined) throw new Error(`${this.command} did not start`);
    return pid;
  }

  get running(): boolean {
    return !this.#ended;
  }

  /**
   * Resolves with the match as soon as the output holds it, also where it did already. A string
   * is searched as it is. Rejects, with the output so far, when the process ends or time is up.
   */
  waitFor(
    pattern: RegExp | string,
    { stream = 'stdout', deadlineMs = WAIT_DEADLINE_MS }: WaitOptions = {},
  ): Promise<RegExpMatchArray> {
    const expression =
      typeof pattern === 'string'
        ? new RegExp(pattern.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
        : pattern;
    const source = this.child[stream];
    return new Promise((resolve, reject) => {
      const done = (error: string | undefined, match?: RegExpMatchArray) => {
        clearTimeout(timer);
        source?.off('data', look);
        this.child.off('close', onClose);
        if (match) resolve(match);
        else reject(new Error(`${error} while waiting for ${expression}\n${this.output()}`));
      };
      const look = () => {
        const match = this[stream].match(expression);
        if (match) done(undefined, match);
        return match !== null;
      };
      const onClose = () => look() || done(`${this.command} ended`);
      const timer = setTimeout(() => done(`${deadlineMs} ms passed`), deadlineMs);
      this.child.once('close', onClose);
      source?.on('data', look);
      if (!look() && this.#ended) onClose();
    });
  }

  /** Resolves when the process has ended by itself; kills it and rejects when time is up. */
  async exit(deadlineMs = WAIT_DEADLINE_MS): Promise<Exit> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<undefined>((resolve) => {
      timer = setTimeout(resolve, deadlineMs, undefined);
    });
    const exit = await Promise.race([this.exited, late]);
    clearTimeout(timer);
    if (exit) return exit;
    this.child.kill('SIGKILL');
    await once(this.child, 'close');
    throw new Error(`${this.command} had not ended after ${deadlineMs} ms\n${this.output()}`);
  }

  /** Sends a signal to this process alone. */
  kill(signal: NodeJS.Signals = 'SIGTERM'): void {
    this.child.kill(signal);
  }

  /** Ends the process if it still runs: SIGTERM, then SIGKILL after a deadline. */
  async stop(deadlineMs = KILL_DEADLINE_MS): Promise<Exit | undefined> {
    if (this.#ended) return undefined;
    const timer = setTimeout(() => this.child.kill('SIGKILL'), deadlineMs);
    this.child.kill('SIGTERM');
    try {
      return await this.exited;
    } catch {
      return undefined;
    } finally {
      clearTimeout(timer);
    }
  }

  output(): string {
    return `--- stdout\n${this.stdout}\n--- stderr\n${this.stderr}`;
  }
}

export interface WaitOptions {
  stream?: 'stdout' | 'stderr';
  deadlineMs?: number;
}

/** Starts a process that the surrounding suite or file ends, if it has not ended by then. */
export function start(command: string, args: readonly string[], options?: RunOptions): Running {
  const running = new Running(command, args, options);
  after(() => running.stop());
  return running;
}

/** Runs a process to its end. */
export async function run(
  command: string,
  args: readonly string[],
  options: RunOptions & { deadlineMs?: number } = {},
): Promise<Exit & { stdout: string; stderr: string }> {
  const running = new Running(command, args, options);
  const exit = await running.exit(options.deadlineMs);
  return { ...exit, stdout: running.stdout, stderr: running.stderr };
}
