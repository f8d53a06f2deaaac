import { reasonName, type SessionRow, type Tally } from '../ledger/session-row.js';
import { type Amount, UNVERIFIED_SENSOR } from '../ledger/totals.js';
import type { Flow, Tallies } from './messages.js';

/** What the counters need of a session of the sink thread. */
export interface CountedSession {
  readonly id: string;
  readonly sensor: string;
  readonly type: number;
  readonly verified: boolean;
  readonly row: SessionRow;
}

/**
 * What a worker's sessions came to, since it began. Nothing is counted here for a frame: the rows
 * of the ledger's journal have the figures, and tell once a second what was added to them.
 */
export class Counters implements Tally {
  readonly #sinks: readonly string[];
  readonly #received: Record<number, Amount> = {};
  readonly #rejected: Record<string, Amount> = {};
  readonly #delivered: Record<string, Amount> = {};
  /** By session: what was added since the flow was last taken. */
  #flow = new Map<string, Flow>();
  #session: CountedSession | undefined;

  /** @param sinks names by slot; they may change */
  constructor(sinks: readonly string[]) {
    this.#sinks = sinks;
    for (const sink of sinks) if (sink !== '') this.#delivered[sink] = { frames: 0, bytes: 0 };
  }

  /** Takes what was counted of a session since the last time. */
  take(session: CountedSession): void {
    this.#session = session;
    session.row.tell(this);
  }

  get tallies(): Tallies {
    return { received: this.#received, rejected: this.#rejected, delivered: this.#delivered };
  }

  /** What each session added since the last call. */
  takeFlow(): Flow[] {
    const flow = [...this.#flow.values()];
    this.#flow = new Map();
    return flow;
  }

  received(frames: number, bytes: number): void {
    add(this.#received, this.#session!.type, frames, bytes);
    const flow = this.#flowOf(this.#session!);
    flow[3] += frames;
    flow[4] += bytes;
  }

  delivered(sink: number, frames: number, bytes: number): void {
    add(this.#delivered, this.#sinks[sink]!, frames, bytes);
  }

  rejected(code: number, frames: number, bytes: number): void {
    add(this.#rejected, reasonName(code), frames, bytes);
    this.#flowOf(this.#session!)[5] += frames;
  }

  #flowOf({ id, sensor, type, verified }: CountedSession): Flow {
    // Strangers of whom nothing held are one, whatever they claim: as in the ledger.
    const key = verified ? id : UNVERIFIED_SENSOR;
    let flow = this.#flow.get(key);
    if (!flow) {
      flow = [verified ? id : '', verified ? sensor : UNVERIFIED_SENSOR, type, 0, 0, 0];
      this.#flow.set(key, flow);
    }
    return flow;
  }
}

function add<Key extends string | number>(
  totals: Record<Key, Amount>,
  key: Key,
  frames: number,
  bytes: number,
): void {
  totals[key] ??= { frames: 0, bytes: 0 };
  totals[key].frames += frames;
  totals[key].bytes += bytes;
}
