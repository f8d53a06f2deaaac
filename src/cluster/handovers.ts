import type { SendHandle } from 'node:child_process';
import type { Worker } from 'node:cluster';
import type { Accepted } from './acceptor.js';
import type { SocketMessage } from './messages.js';

/** After this long a worker that has not taken a connection is asked whether it still may. */
export const HANDOVER_TIMEOUT_MS = 5_000;

interface Handover {
  message: SocketMessage;
  handle: Accepted;
  beganAt: number;
  /** Written to the worker; until then it waits in Node's queue for earlier ones. */
  sent: boolean;
  asked: boolean;
}

/**
 * The connections on their way to one worker. Ours stays open until the worker says that it has its
 * own: what it will never take is found and closed here.
 *
 * The native handle is sent: a `net.Socket` would be taken away at the send, kept open by Node for
 * good when the worker dies before it acknowledges, and sent again wrapped in its first message when
 * the worker is out of file descriptors. A handle that
 * finds no free descriptor is dropped with its message; but messages stay in order, so an answer to
 * a later one (`sync`) proves it.
 */
export class Handovers {
  readonly #open = new Map<number, Handover>();
  /** When the worker took one last: many at once wait for each other, and not for it. */
  #tookAt = 0;

  begin(worker: Worker, message: SocketMessage, handle: Accepted): void {
    const beganAt = performance.now();
    const handover: Handover = { message, handle, beganAt, sent: false, asked: false };
    this.#open.set(message.connection, handover);
    worker.send(message, handle as SendHandle, {}, (error) => {
      handover.sent = !error;
    });
  }

  /** The worker has it: our end is closed, which its own does not notice. */
  taken(connection: number): void {
    this.#tookAt = performance.now();
    this.#end(connection);
  }

  /**
   * The worker answered to a `sync`: that connection was taken before, or never will be.
   * @returns whether it was lost; it is closed
   */
  synced(connection: number): boolean {
    return this.#end(connection);
  }

  /** Whether the worker has left a connection waiting for too long to be given another. */
  stalled(): boolean {
    for (const { beganAt } of this.#open.values()) return isLate(Math.max(beganAt, this.#tookAt));
    return false;
  }

  /**
   * Looks for what waits too long. What the worker may have got is asked for; what it was not even
   * sent is closed, where it takes no others meanwhile.
   * @returns the connections that were closed
   */
  expire(worker: Worker): number[] {
    const closed: number[] = [];
    for (const [connection, handover] of this.#open) {
      if (!isLate(handover.beganAt)) break;
      if (!handover.sent) {
        if (!isLate(this.#tookAt)) continue;
        this.#end(connection);
        closed.push(connection);
      } else if (!handover.asked && worker.isConnected()) {
        handover.asked = true;
        worker.send({ t: 'sync', connection });
      }
    }
    return closed;
  }

  /**
   * The worker is gone. What it was sent it may have read from: that is closed.
   * @returns `unsent`, untouched, which another worker can be given, and what was closed
   */
  abandon(): { unsent: { message: SocketMessage; handle: Accepted }[]; closed: number[] } {
    const all = [...this.#open.values()];
    this.#open.clear();
    const sent = all.filter((handover) => handover.sent);
    for (const { handle } of sent) handle.close();
    return {
      unsent: all.filter((handover) => !handover.sent),
      closed: sent.map(({ message }) => message.connection),
    };
  }

  #end(connection: number): boolean {
    const handover = this.#open.get(connection);
    if (!handover) return false;
    this.#open.delete(connection);
    handover.handle.close();
    return true;
  }
}

const isLate = (beganAt: number) => performance.now() - beganAt >= HANDOVER_TIMEOUT_MS;
