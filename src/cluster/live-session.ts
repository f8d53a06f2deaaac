import type { SessionRow } from '../ledger/session-row.js';
import type { LinkService } from '../link/keeper.js';
import type { Fanout, MetaCollector } from '../route/fanout.js';
import type { MetaHeader, SinkResume, SinkSession } from '../sinks/sink.js';
import type { SessionKey } from '../verify/session-key.js';
import { TYPE_EXTENDED, TYPE_META } from '../wire/types.js';
import type { OpenEvent, SlotRef } from './messages.js';

/** One session as the sink thread sees it: what was verified, and where it goes. */
export class LiveSession implements SinkSession, SlotRef {
  readonly id: string;
  readonly slot: number;
  readonly generation: number;
  readonly sensor: string;
  /** 254 from the start for a session that begins with a meta header. */
  readonly type: number;
  readonly address: string;
  readonly source: string;
  readonly #openedAtMs: number;
  readonly row: SessionRow;
  readonly key: SessionKey | undefined;

  /** The meta header while it comes in, then as it was found. */
  collector: MetaCollector | undefined;
  meta?: MetaHeader;
  fanout: Fanout | undefined;
  /** The sinks of its route, by index. */
  sinks = 0;
  /** A frame of it held: from then on the session counts as its sensor's. */
  verified = false;
  /** The reject that ended it, or 0: every later frame is rejected for the same reason. */
  dead = 0;
  /** A frame that was rejected for its header is received too, though the ring never saw it. */
  headerRejects = 0;
  /** When its newest verified frame was taken (ms), and what of that was reported. */
  seenAt = 0;
  reportedAt = 0;
  /** Its end could not be delivered in time: its row stays, and the next start settles it. */
  abandoned = false;
  /** All of it is delivered and its row says so; the ledger has yet to take its totals. */
  settled = false;
  /** What it does for a gateway link. */
  readonly link: LinkService | undefined;
  readonly resume?: ReadonlyMap<string, SinkResume>;
  readonly origin?: string;
  readonly hops?: readonly string[];
  readonly tags?: readonly string[];
  /** Payload bytes of its first frame that the ledger has counted already, and what is left of them. */
  readonly counted: number;
  countedLeft: number;
  /** Taken in the batch at hand: its row is behind. */
  touched = false;

  get openedAt(): Date {
    return new Date(this.#openedAtMs);
  }

  constructor(
    event: OpenEvent,
    ref: SlotRef,
    row: SessionRow,
    key: SessionKey | undefined,
    link?: LinkService,
  ) {
    this.id = event.id;
    this.slot = ref.slot;
    this.generation = ref.generation;
    this.sensor = event.sensor;
    this.type = event.type === TYPE_META ? TYPE_EXTENDED : event.type;
    this.address = event.address;
    this.source = event.source;
    this.#openedAtMs = event.openedAt;
    this.row = row;
    this.key = key;
    this.link = link;
    if (link) {
      const { origin, hops, tags } = link.open;
      this.resume = link.resume;
      this.hops = hops;
      if (origin !== undefined) this.origin = origin;
      if (tags) this.tags = tags;
    }
    this.counted = link?.attempt.counted ?? 0;
    this.countedLeft = this.counted;
  }

  /** Of a frame's payload bytes, those that are not counted yet; each is asked for once. */
  uncounted(bytes: number): number {
    const known = Math.min(bytes, this.countedLeft);
    this.countedLeft -= known;
    return bytes - known;
  }
}
