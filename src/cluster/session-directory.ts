import type { Flow } from '../stats/messages.js';
import type { VerifiedSession } from './messages.js';

/** An open session of which a frame held. */
export interface SessionEntry extends VerifiedSession {
  worker: number;
  /** As its worker last told, at most 5 s ago. */
  frames: number;
  bytes: number;
  rejected: number;
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
    this.#byId.set(session.id, { ...session, worker, frames: 0, bytes: 0, rejected: 0 });
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
