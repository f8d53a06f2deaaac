/** A connection of a link: of which worker, and its number there. */
export interface LinkClaim {
  worker: number;
  claim: number;
}

export interface ClaimEvents {
  granted(link: string, to: LinkClaim): void;
  /** Its holder is to give it up. */
  release(link: string, by: LinkClaim): void;
}

interface Entry {
  holder: LinkClaim;
  isReleasing: boolean;
  /** The newest connection that wants it; the others were of the same sender, and are gone. */
  next: LinkClaim | undefined;
}

/**
 * Who serves each gateway link, over all workers: one connection at a time, so that what one has in
 * hand can't come a second time by another. A holder gives its link up once all that it brought is
 * settled; that of a worker that died counts as settled when its journal is recovered.
 */
export class LinkClaims {
  readonly #events: ClaimEvents;
  readonly #links = new Map<string, Entry>();

  constructor(events: ClaimEvents) {
    this.#events = events;
  }

  /** A connection wants a link. */
  claim(link: string, by: LinkClaim): void {
    const entry = this.#links.get(link);
    if (!entry) {
      this.#grant(link, by);
      return;
    }
    entry.next = by;
    if (entry.isReleasing) return;
    entry.isReleasing = true;
    this.#events.release(link, entry.holder);
  }

  /** A connection has given a link up, or does not want it any more. */
  free(link: string, by: LinkClaim): void {
    const entry = this.#links.get(link);
    if (!entry) return;
    if (entry.next && isSame(entry.next, by)) entry.next = undefined;
    if (isSame(entry.holder, by)) this.#pass(link, entry);
  }

  /** A worker has died: nobody waits for it there any more, but its links are not free yet. */
  workerDied(worker: number): LinkClaim[] {
    const held: LinkClaim[] = [];
    for (const entry of this.#links.values()) {
      if (entry.next?.worker === worker) entry.next = undefined;
      if (entry.holder.worker !== worker) continue;
      entry.isReleasing = true;
      held.push(entry.holder);
    }
    return held;
  }

  /** What a dead worker had in hand is settled. */
  settled(holders: readonly LinkClaim[]): void {
    for (const [link, entry] of [...this.#links]) {
      if (holders.includes(entry.holder)) this.#pass(link, entry);
    }
  }

  #pass(link: string, { next }: Entry): void {
    this.#links.delete(link);
    if (next) this.#grant(link, next);
  }

  #grant(link: string, holder: LinkClaim): void {
    this.#links.set(link, { holder, isReleasing: false, next: undefined });
    this.#events.granted(link, holder);
  }
}

function isSame(a: LinkClaim, b: LinkClaim): boolean {
  return a.worker === b.worker && a.claim === b.claim;
}
