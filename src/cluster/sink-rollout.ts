import { setTimeout as sleep } from 'node:timers/promises';
import { GatewayError } from '../errors.js';
import type { ToPrimary, ToWorker } from './messages.js';

/** What each worker gets to make new sinks ready: a spool that is found may be long. */
const PREPARE_MS_MAX = 20_000;

/** What a worker that is being started gets, so that it can be asked with the others. */
const READY_MS_MAX = 5_000;
const POLL_MS = 20;

export interface RolloutWorkers {
  readonly count: number;
  /** Those that are there to be asked. */
  readonly ready: readonly number[];
  broadcast(message: ToWorker): void;
}

/** Has every worker make the sinks of a reload ready, before any of it is in force. */
export class SinkRollout {
  readonly #workers: RolloutWorkers;
  #waiting: { revision: number; left: Set<number>; done(problem?: string): void } | undefined;

  constructor(workers: RolloutWorkers) {
    this.#workers = workers;
  }

  /**
   * One at a time.
   * @throws GatewayError D4GW_E_SINK where a worker can't: then all are told to undo it
   */
  async prepare(message: Extract<ToWorker, { t: 'sinks' }>): Promise<void> {
    const { revision } = message;
    for (let waited = 0; waited < READY_MS_MAX; waited += POLL_MS) {
      if (this.#workers.ready.length === this.#workers.count) break;
      await sleep(POLL_MS);
    }
    const problem = await new Promise<string | undefined>((resolve) => {
      const seconds = PREPARE_MS_MAX / 1000;
      const timer = setTimeout(() => resolve(`not ready within ${seconds} s`), PREPARE_MS_MAX);
      const done = (found?: string) => {
        clearTimeout(timer);
        resolve(found);
      };
      this.#waiting = { revision, left: new Set(this.#workers.ready), done };
      this.#workers.broadcast(message);
      this.#check();
    });
    this.#waiting = undefined;
    if (problem === undefined) return;
    this.undo(revision);
    throw new GatewayError('D4GW_E_SINK', `nothing was reloaded: ${problem}`);
  }

  undo(revision: number): void {
    this.#workers.broadcast({ t: 'sinks-undo', revision });
  }

  answered(worker: number, message: Extract<ToPrimary, { t: 'sinks-ready' }>): void {
    if (this.#waiting?.revision !== message.revision) return;
    if (message.problem !== undefined) this.#waiting.done(message.problem);
    this.workerGone(worker);
  }

  /** The next one of it begins with what is in force then. */
  workerGone(worker: number): void {
    this.#waiting?.left.delete(worker);
    this.#check();
  }

  #check(): void {
    if (this.#waiting?.left.size === 0) this.#waiting.done();
  }
}
