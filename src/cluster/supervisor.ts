import cluster, { type Worker } from 'node:cluster';
import type { Logger } from 'pino';
import { RESTART_DELAY_MAX_MS, RESTART_DELAY_MIN_MS, RESTART_HEALTHY_MS } from '../constants.js';
import type { Accepted } from './acceptor.js';
import { Handovers } from './handovers.js';
import { SMALL_YOUNG_GENERATION } from './heap.js';
import type { SocketMessage, ToPrimary, ToWorker, WorkerStart } from './messages.js';

/** How long a worker may take until it is ready. */
const START_TIMEOUT_MS = 30_000;
/** How often connections that no worker takes are looked for. */
const HANDOVER_SWEEP_MS = 1_000;

/** Why a connection reached no worker. */
const DIED = 'the worker died before it took the connection';
const STALLED = 'the worker takes no connections';
const NOT_RECEIVED = 'the worker did not get the connection: it may be out of file descriptors';

export interface SupervisorEvents {
  message(index: number, message: ToPrimary): void;
  /** A worker ended that should not have: its journal holds what was lost. Before a restart. */
  died(index: number, connections: readonly number[]): Promise<void>;
  /** A worker has begun, and is told all that it must know beside its start. */
  ready(index: number): void;
  /** A connection that was dealt reached no worker: it is closed. */
  lost(connection: number, detail: string): void;
}

interface Seat {
  index: number;
  worker: Worker | undefined;
  ready: boolean;
  connections: Set<number>;
  /** Of them, those that the worker has not taken yet. */
  handovers: Handovers;
  startedAt: number;
  delayMs: number;
  restart: NodeJS.Timeout | undefined;
}

/** Starts the workers, restarts those that die, and deals connections out among them. */
export class Supervisor {
  #starts: readonly WorkerStart[];
  readonly #events: SupervisorEvents;
  readonly #log: Logger;
  readonly #seats: Seat[];
  readonly #sweep: NodeJS.Timeout;
  #stopping = false;
  #drain: ToWorker | undefined;
  #onChange: (() => void) | undefined;

  constructor(starts: readonly WorkerStart[], log: Logger, events: SupervisorEvents) {
    this.#starts = starts;
    this.#log = log;
    this.#events = events;
    this.#seats = starts.map(({ index }) => ({
      index,
      worker: undefined,
      ready: false,
      connections: new Set(),
      handovers: new Handovers(),
      startedAt: 0,
      delayMs: RESTART_DELAY_MIN_MS,
      restart: undefined,
    }));
    cluster.setupPrimary({
      exec: new URL('./worker.js', import.meta.url).pathname,
      args: [],
      execArgv: [...process.execArgv, SMALL_YOUNG_GENERATION],
    });
    this.#sweep = setInterval(() => this.#expire(), HANDOVER_SWEEP_MS).unref();
  }

  /** Resolves when every worker is ready. */
  async start(): Promise<void> {
    for (const seat of this.#seats) this.#fork(seat);
    await this.#until(() => this.#seats.every((seat) => seat.ready), START_TIMEOUT_MS);
  }

  /** Hands a connection to the ready worker that has the fewest; false when there is none. */
  deal(message: SocketMessage, handle: Accepted): boolean {
    let best: Seat | undefined;
    for (const seat of this.#seats) {
      if (!seat.ready || !seat.worker?.isConnected() || seat.handovers.stalled()) continue;
      if (!best || seat.connections.size < best.connections.size) best = seat;
    }
    if (!best?.worker) return false;
    best.handovers.begin(best.worker, message, handle);
    best.connections.add(message.connection);
    return true;
  }

  send(index: number, message: ToWorker): void {
    const { worker } = this.#seats[index]!;
    if (worker?.isConnected()) worker.send(message);
  }

  get count(): number {
    return this.#seats.length;
  }

  /** Indexes of the workers that are there. */
  get ready(): number[] {
    return this.#seats.flatMap(({ ready, index }) => (ready ? index : []));
  }

  /** Workers that begin from now on begin so. */
  change(change: Partial<WorkerStart>): void {
    this.#starts = this.#starts.map((start) => ({ ...start, ...change }));
  }

  broadcast(message: ToWorker): void {
    for (const { index } of this.#seats) this.send(index, message);
  }

  /** @returns whether it was one of that worker's */
  connectionClosed(index: number, connection: number): boolean {
    const { connections, handovers } = this.#seats[index]!;
    handovers.taken(connection);
    return connections.delete(connection);
  }

  /** Has every worker finish; resolves when all have ended, or kills them at the deadline. */
  async stop(deadlineMs: number): Promise<boolean> {
    this.#stopping = true;
    this.#drain = { t: 'drain', deadlineMs };
    for (const seat of this.#seats) {
      clearTimeout(seat.restart);
      this.send(seat.index, this.#drain);
    }
    const ended = () => this.#seats.every((seat) => !seat.worker);
    const clean = await this.#until(ended, deadlineMs).then(
      () => true,
      () => false,
    );
    if (!clean) {
      this.kill();
      await this.#until(ended, START_TIMEOUT_MS);
    }
    clearInterval(this.#sweep);
    return clean;
  }

  /** Ends every worker at once. */
  kill(): void {
    this.#stopping = true;
    for (const { worker } of this.#seats) worker?.process.kill('SIGKILL');
  }

  #fork(seat: Seat): void {
    const worker = cluster.fork();
    seat.worker = worker;
    seat.startedAt = Date.now();
    worker.on('message', (message: ToPrimary) => this.#heard(seat, worker, message));
    // A send to a worker that has just died.
    worker.on('error', () => {});
    worker.once('exit', (code, signal) => void this.#exited(seat, code, signal));
  }

  #heard(seat: Seat, worker: Worker, message: ToPrimary): void {
    switch (message.t) {
      case 'hello':
        // What was sent before it said so is lost: one that comes up during a stop is told again.
        worker.send(this.#drain ?? { t: 'start', start: this.#starts[seat.index]! });
        break;
      case 'ready':
        seat.ready = true;
        this.#events.ready(seat.index);
        this.#onChange?.();
        break;
      case 'mentions':
        for (const each of message.messages) this.#heard(seat, worker, each);
        break;
      case 'taken':
        seat.handovers.taken(message.connection);
        break;
      case 'synced': {
        const { connection } = message;
        if (seat.handovers.synced(connection)) this.#lost(seat, connection, NOT_RECEIVED);
        break;
      }
      default:
        this.#events.message(seat.index, message);
    }
  }

  async #exited(seat: Seat, code: number, signal: string | null): Promise<void> {
    const pid = seat.worker?.process.pid;
    seat.ready = false;
    this.#dealAgain(seat);
    const connections = [...seat.connections];
    seat.connections.clear();
    const clean = this.#stopping && code === 0;
    if (!clean) {
      const { index } = seat;
      this.#log.error(
        { worker: index, pid, code, signal, connections: connections.length },
        'worker died',
      );
    }
    await this.#events.died(seat.index, connections);
    if (seat.worker) closeChannel(seat.worker);
    seat.worker = undefined;
    this.#onChange?.();
    if (this.#stopping) return;
    const early = Date.now() - seat.startedAt < RESTART_HEALTHY_MS;
    if (!early) seat.delayMs = RESTART_DELAY_MIN_MS;
    seat.restart = setTimeout(() => this.#fork(seat), seat.delayMs);
    this.#log.info({ worker: seat.index, delayMs: seat.delayMs }, 'worker restarts');
    seat.delayMs = Math.min(seat.delayMs * 2, RESTART_DELAY_MAX_MS);
  }

  /** Connections that the worker had not been sent go to another, or are closed. */
  #dealAgain(seat: Seat): void {
    const { unsent, closed } = seat.handovers.abandon();
    for (const connection of closed) this.#lost(seat, connection, DIED);
    for (const { message, handle } of unsent) {
      if (!this.#stopping && this.deal(message, handle)) {
        seat.connections.delete(message.connection);
      } else {
        handle.close();
        this.#lost(seat, message.connection, DIED);
      }
    }
  }

  #expire(): void {
    for (const seat of this.#seats) {
      if (!seat.worker) continue;
      const closed = seat.handovers.expire(seat.worker);
      for (const connection of closed) this.#lost(seat, connection, STALLED);
    }
  }

  #lost(seat: Seat, connection: number, detail: string): void {
    seat.connections.delete(connection);
    this.#events.lost(connection, detail);
  }

  #until(done: () => boolean, timeoutMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#onChange = undefined;
        reject(new Error(`workers took over ${timeoutMs} ms`));
      }, timeoutMs);
      this.#onChange = () => {
        if (!done()) return;
        clearTimeout(timer);
        this.#onChange = undefined;
        resolve();
      };
      this.#onChange();
    });
  }
}

/**
 * Node leaves the channel of a process open that ended with a handle on its way to it: one file
 * descriptor each time.
 */
function closeChannel({ process }: Worker): void {
  const internal = process as unknown as { _disconnect?: () => void };
  if (!process.connected && process.channel) internal._disconnect?.();
}
