import { type ChildProcess, fork } from 'node:child_process';
import { messageOf } from '../../src/errors.js';
import { end, own } from './owned.js';

/** Calls into a child process: one request, one reply. Keys travel here, never in arguments. */

const STOP_DEADLINE_MS = 5_000;

interface Request {
  id: number;
  method: string;
  params: unknown;
}

interface Reply {
  id: number;
  result?: unknown;
  error?: string;
}

export interface StartOptions {
  env?: Record<string, string>;
  /** CPU list that the process is held to, as `taskset -c` takes it. */
  cpus?: string | undefined;
}

/** A Node program of this suite in a process of its own. */
export class RpcProcess {
  readonly child: ChildProcess;
  readonly #name: string;
  readonly #waiting = new Map<number, (reply: Reply) => void>();
  #next = 1;

  /** @param module the compiled file, as a URL */
  static start(module: URL, options: StartOptions = {}): RpcProcess {
    return new RpcProcess(module, options);
  }

  private constructor(module: URL, { env, cpus }: StartOptions) {
    this.#name = module.pathname.split('/').at(-1) ?? 'child';
    this.child = own(
      fork(module, [], {
        env: { ...process.env, ...env },
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
        ...(cpus === undefined
          ? {}
          : { execPath: 'taskset', execArgv: ['-c', cpus, process.execPath] }),
      }),
    );
    this.child.on('message', (reply: Reply) => {
      this.#waiting.get(reply.id)?.(reply);
      this.#waiting.delete(reply.id);
    });
    const lost = (why: string) => {
      for (const [id, settle] of this.#waiting) settle({ id, error: why });
      this.#waiting.clear();
    };
    this.child.once('error', (error) => lost(error.message));
    this.child.once('exit', (code, signal) => lost(`ended (${signal ?? code})`));
  }

  get pid(): number {
    if (this.child.pid === undefined) throw new Error(`${this.#name} did not start`);
    return this.child.pid;
  }

  /** @throws Error when the child throws, ends, or has not answered within the deadline */
  call<Result>(method: string, params: unknown, deadlineMs: number): Promise<Result> {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(new Error(`${this.#name}: ${method} had not ended after ${deadlineMs} ms`));
      }, deadlineMs);
      this.#waiting.set(id, ({ result, error }) => {
        clearTimeout(timer);
        if (error === undefined) resolve(result as Result);
        else reject(new Error(`${this.#name}: ${method}: ${error}`));
      });
      const request: Request = { id, method, params };
      this.child.send(request, (error) => {
        if (!error) return;
        this.#waiting.get(id)?.({ id, error: error.message });
        this.#waiting.delete(id);
      });
    });
  }

  async stop(): Promise<void> {
    if (this.child.connected) this.child.disconnect();
    await end(this.child, STOP_DEADLINE_MS);
  }
}

// biome-ignore lint/suspicious/noExplicitAny: each handler knows its own parameters.
export type Handlers = Record<string, (params: any) => unknown>;

/** The child's side. The process ends when its parent is gone; Ctrl-C is the parent's to handle. */
export function serveCalls(handlers: Handlers): void {
  process.on('SIGINT', () => {});
  process.on('disconnect', () => process.exit(0));
  process.on('message', async ({ id, method, params }: Request) => {
    let reply: Reply;
    try {
      const handler = handlers[method];
      if (!handler) throw new Error('no such method');
      reply = { id, result: await handler(params) };
    } catch (error) {
      reply = { id, error: messageOf(error) };
    }
    if (process.connected) process.send?.(reply);
  });
}
