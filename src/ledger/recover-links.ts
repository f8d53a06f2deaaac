import { countAsHeld, heldAfter, leastDelivered } from '../link/held.js';
import { type LinkStore, ownerOf } from '../link/store.js';
import type { CarriedPart } from '../sinks/sink.js';
import type { JournalHeader } from './journal-layout.js';
import type { FileImage, SessionImage } from './journal-reader.js';
import { PROCESS_DIED } from './recover.js';
import type { SessionTotals } from './totals.js';

/**
 * What recovery does for sessions that served a gateway link: the other gateway has all that was
 * not acknowledged, so nothing of them is lost. What the sinks hold of each is kept for when it is
 * brought again.
 */
export class LinkRecovery {
  readonly #store: LinkStore;

  constructor(store: LinkStore) {
    this.#store = store;
  }

  /** Whether a file's stream goes on in another file. */
  isLinked(file: FileImage): boolean {
    return this.#store.attempt(file.sessionId) !== undefined;
  }

  /**
   * Keeps the end of a file before it is cut off.
   * @param at payload bytes of the session that the sink holds with it
   */
  async keep(file: FileImage, at: number, end: CarriedPart): Promise<void> {
    await this.#store.keepPart(file.sessionId, file.sink, { at, ...end });
  }

  /** Bytes that a file held and that are kept elsewhere; 0 for one that serves no link. */
  keptBytes(file: FileImage): number {
    const part = this.#store.parts(file.sessionId).get(file.sink);
    return part?.tail.length ?? 0;
  }

  /** Once a journal is settled: of its process's sessions only those of `unsettled` are left. */
  async forget(header: JournalHeader, unsettled: ReadonlySet<string>): Promise<void> {
    await this.#store.forget(ownerOf(header), unsettled);
  }

  /**
   * Settles one session, where it served a link.
   * @param totals what was found of it
   * @returns its totals for the ledger
   */
  async settle({ ended }: SessionImage, totals: SessionTotals): Promise<SessionTotals> {
    const attempt = this.#store.attempt(totals.id);
    if (!attempt) return totals;
    const { link, session } = attempt;
    const before = this.#store.held(link, session);
    const parts = this.#store.parts(totals.id);
    const found = structuredClone(totals);
    if (!ended) countAsHeld(found, parts, this.#store.rests(totals.id));
    const reason = Object.keys(found.rejected)[0];
    const end = ended && found.end !== PROCESS_DIED ? found.end : undefined;
    const isOpen = end === undefined || end === 'interrupted' || end === 'drained';
    const over = reason ?? (isOpen ? undefined : end);
    const held = heldAfter({ totals: found, attempt, before, parts, over });
    const sinks = Object.keys(found.delivered);
    await this.#store.settle(totals.id, attempt, held, sinks);
    return ended ? found : leastDelivered(found);
  }
}
