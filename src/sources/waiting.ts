import { Reject, type RejectCode } from '../wire/reject.js';
import type { AssemblyBudget } from './assembly-budget.js';
import { type Connection, Pause } from './connection.js';

/** Connections that try again each time when assembly memory was given back. */
const SERVED_AT_ONCE_MAX = 16;

/** What of the ring's producer waiting needs. */
interface Ring {
  reclaim(): void;
  unreleased(): number;
  onSpace(callback: () => void): void;
}

/** Connections that wait for ring space or for assembly memory, longest first, and whose turn it is. */
export class Waiting {
  readonly #ring: Ring;
  readonly #assembly: AssemblyBudget<Connection>;
  readonly #goOn: (connection: Connection) => void;
  readonly #forRing = new Set<Connection>();
  readonly #forAssembly = new Set<Connection>();
  readonly #onSpace = () => this.#space();
  #spaceAsked = false;
  #serving = false;

  /** @param goOn moves a connection on as far as it goes; it then leaves, and may wait again */
  constructor(
    ring: Ring,
    assembly: AssemblyBudget<Connection>,
    goOn: (connection: Connection) => void,
  ) {
    this.#ring = ring;
    this.#assembly = assembly;
    this.#goOn = goOn;
  }

  /** `goOn` is called when there may be room. */
  add(connection: Connection, reason: number): void {
    connection.paused |= reason;
    (reason === Pause.RING ? this.#forRing : this.#forAssembly).add(connection);
    // Blocks may have been released and not taken back yet: then it is served in a moment.
    if (reason === Pause.ASSEMBLY) this.#ring.reclaim();
    this.#askForSpace();
  }

  leave(connection: Connection): void {
    this.#forRing.delete(connection);
    this.#forAssembly.delete(connection);
    connection.paused &= Pause.SINK;
  }

  /** Memory was given back within another connection's turn. */
  serveSoon(): void {
    if (this.#serving || !this.#assembly.freed || this.#forAssembly.size === 0) return;
    this.#serving = true;
    setImmediate(() => this.#serveAssembly());
  }

  /**
   * Where others wait for assembly memory, frames that fell behind are given up. Those that wait
   * themselves fell behind through no fault of theirs: where nobody else has memory that will come
   * back, one of them goes, so that the rest do not wait for each other.
   */
  relieve(
    now: number,
    giveUp: (connection: Connection, code: RejectCode, detail: string) => void,
  ): void {
    if (this.#forAssembly.size === 0) {
      this.#ring.reclaim();
      return;
    }
    const behind = this.#assembly.stalled(now);
    const atFault = behind.filter((connection) => !this.#forAssembly.has(connection));
    const isStuck = !this.#assembly.some((connection) => !this.#forAssembly.has(connection));
    for (const connection of isStuck ? behind.slice(0, 1) : atFault) {
      const { fill, size } = connection.assembly!;
      const detail = `frame stalled at ${fill} of ${size} bytes while others waited for memory`;
      giveUp(connection, Reject.ASSEMBLY_BUDGET, detail);
    }
    this.#ring.reclaim();
    this.#assembly.freed = true;
    this.#serveAssembly();
  }

  /** The ring has released something: those who wait go on, in the order in which they came. */
  #space(): void {
    this.#spaceAsked = false;
    this.#ring.reclaim();
    for (const connection of [...this.#forRing]) {
      if (this.#spaceAsked) break;
      this.#goOn(connection);
    }
    this.#serveAssembly();
    this.#askForSpace();
  }

  /** Asks for a call when the ring releases something that somebody may be waiting for. */
  #askForSpace(): void {
    if (this.#spaceAsked) return;
    // Where the ring holds nothing, memory is held by frames that are not whole. Asked only then:
    // the question makes the producer forget when it last found the ring full.
    const waits =
      this.#forRing.size > 0 || (this.#forAssembly.size > 0 && this.#ring.unreleased() > 0);
    if (!waits) return;
    this.#spaceAsked = true;
    this.#ring.onSpace(this.#onSpace);
  }

  /** Some of those who wait for assembly memory try again; who finds none goes to the end. */
  #serveAssembly(): void {
    this.#serving = false;
    if (!this.#assembly.freed) return;
    this.#assembly.freed = false;
    let left = SERVED_AT_ONCE_MAX;
    for (const connection of [...this.#forAssembly]) {
      if (left === 0) break;
      left -= 1;
      this.#goOn(connection);
    }
  }
}
