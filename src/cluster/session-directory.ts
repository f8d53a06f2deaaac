import type { Flow } from '../stats/messages.js';
import type { VerifiedSession } from './messages.js';

/** An open session of which a frame held. A class: V8 made a shape of each copy of a message. */
export class SessionEntry implements VerifiedSession {
  readonly id: string;
  readonly slot: number;
  readonly generation: number;
  readonly sensor: string;
  readonly type: number;
  readonly address: string;
  readonly source: string;
  readonly openedAt: number;
  readonly worker: number;
  /** As its worker last told, at most 5 s ago. */
  frames = 0;
  bytes = 0;
  rejected = 0;

  constructor(worker: number, session: VerifiedSession) {
    this.id = session.id;
    this.slot = session.slot;
    this.generation = session.generation;
    this.sensor = session.sensor;
    this.type = session.type;
    this.address = session.address;
    this.source = session.source;
    this.openedAt = session.openedAt;
    this.worker = worker;
  }
}

/** The open sessions of all workers, as the primary knows them. As many as there are connections. */
export class SessionDirectory {
  readonly #byId = new Map<string, SessionEntry>();

  get size(): number {
    return this.#byId.size;
  }

  get(id: string): SessionEntry | undefined {
    return this.#byId.get(id);
  }

  values(): IterableIterator<SessionEntry> {
    return this.#byId.values();
  }

  opened(worker: number, session: VerifiedSession): void {
    this.#byId.set(session.id, new SessionEntry(worker, session));
  }

  over(id: string): void {
    this.#byId.delete(id);
  }

  workerGone(worker: number): void {
    for (const { id, worker: own } of this.#byId.values()) {
      if (own === worker) this.#byId.delete(id);
    }
  }

  flowed(flow: readonly Flow[]): void {
    for (const [id, , , frames, bytes, rejected] of flow) {
      const entry = this.#byId.get(id);
      if (!entry) continue;
      entry.frames += frames;
      entry.bytes += bytes;
      entry.rejected += rejected;
    }
  }
}
