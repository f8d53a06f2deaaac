import type { Logger } from 'pino';
import {
  BATCH_DESCRIPTORS_MAX,
  META_BYTES_TOTAL_MAX,
  META_HEADER_BYTES_MAX,
  META_HEADER_WIRE_BYTES_MAX,
} from '../constants.js';
import { messageOf } from '../errors.js';
import type { LedgerJournal } from '../ledger/journal.js';
import { type SessionTotals, UNVERIFIED_SENSOR } from '../ledger/totals.js';
import type { LinkKeeper } from '../link/keeper.js';
import type { RingConsumer } from '../ring/consumer.js';
import {
  FrameStatus,
  KEY_BYTES,
  Kind,
  type MemoryMap,
  SESSION_BYTES,
  SESSION_FRAMES,
  SESSION_PAYLOAD,
} from '../ring/layout.js';
import { Fanout, MetaCollector } from '../route/fanout.js';
import { ResumedStream } from '../route/resumed.js';
import type { RouteTable } from '../route/table.js';
import type { FrameRef, Sink, SinkStream } from '../sinks/sink.js';
import type { Admission } from '../verify/admission.js';
import { SessionKey } from '../verify/session-key.js';
import { Verifier } from '../verify/verifier.js';
import type { WasmInstance } from '../wasm/bindings.js';
import { HEADER_BYTES, OFFSET_SIZE } from '../wire/layout.js';
import { parseMetaHeader } from '../wire/meta-header.js';
import { End, endName, Reject } from '../wire/reject.js';
import { TYPE_EXTENDED, TYPE_META } from '../wire/types.js';
import { LiveSession } from './live-session.js';
import type { EndEvent, OpenEvent, ToIntake } from './messages.js';

export interface PipelineOptions {
  memory: WebAssembly.Memory;
  map: MemoryMap;
  consumer: RingConsumer;
  bindings: WasmInstance;
  admission: Admission;
  routes: RouteTable;
  /** By slot. */
  sinks: readonly (Sink | undefined)[];
  metaTypes: readonly string[];
  journal: LedgerJournal;
  /** Where gateways may link to this one. */
  links?: LinkKeeper;
  log: Logger;
  /** Before a session's row is freed: the last look at its figures. */
  leaving(session: LiveSession): void;
}

/**
 * The sink thread's half of the data path: takes descriptors from the ring, verifies every frame,
 * hands those that hold to the sinks of their session's route, and releases the ring. Each batch
 * is taken in order:
 *
 *   descriptors ─▶ open sessions, set keys ─▶ verify all ─▶ deliver, end ─▶ release
 */
export class Pipeline {
  #options: PipelineOptions;
  readonly #memory: Buffer;
  readonly #counts: DataView;
  readonly #verifier: Verifier;
  readonly #bySlot = new Map<number, LiveSession>();
  readonly #byId = new Map<string, LiveSession>();
  readonly #touched: LiveSession[] = [];
  readonly #frame: FrameRef = { header: 0, payload: 0, size: 0, type: 0 };
  readonly #post: (message: ToIntake) => void;
  /** Sinks by bit: those that asked for no more, and those that an operator holds. */
  #fullSinks = 0;
  #heldSinks = 0;
  #metaBytes = 0;
  #now = 0;
  #onIdle: (() => void) | undefined;
  /** Nobody takes the sessions' totals: their rows stay for the next start. */
  #alone = false;

  constructor(options: PipelineOptions, post: (message: ToIntake) => void) {
    this.#options = options;
    this.#post = post;
    const { buffer } = options.memory;
    this.#memory = Buffer.from(buffer as ArrayBuffer);
    this.#counts = new DataView(buffer);
    this.#verifier = new Verifier(options.bindings, options.consumer, this.#memory);
  }

  /** Sessions that are open, or whose totals the ledger has not acknowledged. */
  get sessions(): Iterable<LiveSession> {
    return this.#bySlot.values();
  }

  sessionOf(slot: number): LiveSession | undefined {
    return this.#bySlot.get(slot);
  }

  /** Takes one batch; true when more is waiting. */
  drain(): boolean {
    const { consumer } = this.#options;
    const count = Math.min(consumer.available(), BATCH_DESCRIPTORS_MAX);
    if (count === 0) return false;
    const first = consumer.tail;
    this.#now = Date.now();
    for (let index = 0; index < count; index += 1) {
      const seq = (first + index) >>> 0;
      if (consumer.kind(seq) === Kind.OPEN) this.#open(seq);
    }
    this.#options.links?.begun();
    this.#verifier.verify(first, count, (slot) => this.#bySlot.get(slot)?.key);
    for (let index = 0; index < count; index += 1) {
      const seq = (first + index) >>> 0;
      const kind = consumer.kind(seq);
      if (kind === Kind.FRAME) this.#take(seq);
      else if (kind === Kind.END) this.#end(seq);
      else if (kind === Kind.MARK) this.#options.links?.mark(JSON.parse(this.#text(seq)));
    }
    for (const session of this.#touched) {
      session.touched = false;
      this.#countReceived(session);
    }
    this.#touched.length = 0;
    consumer.release(count);
    return consumer.available() > 0;
  }

  /** Holds for sessions that are routed from now on. */
  reconfigure(change: Pick<PipelineOptions, 'routes' | 'metaTypes'>): void {
    this.#options = { ...this.#options, ...change };
  }

  /** Whether a session that the ledger has not taken yet was routed to a sink. */
  isUsed(sink: number): boolean {
    const bit = 1 << sink;
    for (const { sinks } of this.#bySlot.values()) if ((sinks & bit) !== 0) return true;
    return false;
  }

  /** A sink is no more: nothing waits for it. */
  gone(sink: number): void {
    const left = ~(1 << sink);
    this.#press(this.#fullSinks & left, this.#heldSinks & left);
  }

  /** Sensors' keys may have changed: sessions go on with those that hold now. */
  refreshKeys(): void {
    const { admission, bindings } = this.#options;
    for (const session of this.#bySlot.values()) {
      const keys = admission.keys(session.sensor);
      if (keys && session.key?.update(keys)) bindings.setKey(session.slot, session.key.bytes);
    }
  }

  /** The ledger holds these sessions' totals: their rows and slots are free. */
  folded(ids: readonly string[]): void {
    for (const id of ids) {
      const session = this.#byId.get(id);
      if (!session) continue;
      const { slot, generation } = session;
      this.#options.leaving(session);
      session.row.release();
      const key = this.#options.map.keyBase + slot * KEY_BYTES;
      this.#memory.fill(0, key, key + KEY_BYTES);
      this.#byId.delete(id);
      this.#bySlot.delete(slot);
      this.#post({ t: 'free', slot, generation });
    }
    this.#checkIdle();
  }

  /**
   * Resolves once no session is left but those that are abandoned.
   * @param alone the primary is gone: it is enough that the journal has their totals
   */
  idle(alone = false): Promise<void> {
    this.#alone = alone;
    return new Promise((resolve) => {
      this.#onIdle = resolve;
      this.#checkIdle();
    });
  }

  #checkIdle(): void {
    if (!this.#onIdle) return;
    for (const session of this.#bySlot.values()) {
      if (!session.abandoned && !(this.#alone && session.settled)) return;
    }
    this.#onIdle();
  }

  /** A sink that was full takes again. */
  drained(sink: number): void {
    this.#press(this.#fullSinks & ~(1 << sink), this.#heldSinks);
  }

  /** An operator holds a sink, or lets it go: its sessions wait meanwhile, as if it were full. */
  hold(sink: number, held: boolean): void {
    const bit = 1 << sink;
    this.#press(this.#fullSinks, held ? this.#heldSinks | bit : this.#heldSinks & ~bit);
  }

  pressureOf(sink: number): { full: boolean; held: boolean } {
    const bit = 1 << sink;
    return { full: (this.#fullSinks & bit) !== 0, held: (this.#heldSinks & bit) !== 0 };
  }

  #open(seq: number): void {
    const { consumer, admission, bindings, journal } = this.#options;
    const event = JSON.parse(this.#text(seq)) as OpenEvent;
    const ref = { slot: consumer.session(seq), generation: consumer.generation(seq) };
    const keys = admission.keys(event.sensor);
    const key = keys && new SessionKey(keys);
    if (key) bindings.setKey(ref.slot, key.bytes);
    const row = journal.openSession({
      id: event.id,
      slot: ref.slot,
      sensor: event.sensor,
      type: event.type === TYPE_META ? TYPE_EXTENDED : event.type,
      openedAt: event.openedAt,
    });
    const link = event.link && this.#options.links?.begin(event.id, event.link);
    const session = new LiveSession(event, ref, row, key, link);
    if (event.type === TYPE_META) session.collector = new MetaCollector();
    this.#bySlot.set(ref.slot, session);
    this.#byId.set(session.id, session);
    if (!key) this.#reject(session, Reject.SENSOR_REMOVED, 'no key is known');
    else if (event.link?.meta) {
      this.#collectBefore(session, Buffer.from(event.link.meta, 'base64'));
    }
  }

  /** The meta header that an earlier session brought; that it did is only what its sender says. */
  #collectBefore(session: LiveSession, wire: Buffer): void {
    const { key } = session;
    session.collector = new MetaCollector();
    for (let at = 0; at < wire.length; ) {
      const size = wire.readUInt32LE(at + OFFSET_SIZE);
      const holds = key?.verify(wire, at, size) || key?.verifyPrevious(wire, at, size, this.#now);
      if (!holds) {
        session.collector = undefined;
        this.#reject(session, Reject.BAD_HMAC, 'its meta header');
        return;
      }
      session.collector.add(wire.subarray(at, at + HEADER_BYTES + size));
      at += HEADER_BYTES + size;
    }
    this.#metaBytes += session.collector.wireBytes;
  }

  #take(seq: number): void {
    const { consumer } = this.#options;
    const session = this.#bySlot.get(consumer.session(seq))!;
    const size = consumer.size(seq);
    const address = consumer.address(seq);
    if (!session.touched) {
      session.touched = true;
      this.#touched.push(session);
      if (session.link) this.#options.links!.touched(session);
      // Received is never behind delivered, not even for a sink that delivers at once: the I/O
      // thread has counted all frames of this batch.
      this.#countReceived(session);
    }
    if (session.dead === 0 && consumer.status(seq) !== FrameStatus.VERIFIED) {
      if (!session.key?.verifyPrevious(this.#memory, address, size, this.#now)) {
        this.#reject(session, Reject.BAD_HMAC, `payload of ${size} bytes`);
      }
    }
    if (session.dead === 0) this.#deliver(session, address, size, consumer.type(seq));
    if (session.dead !== 0) session.row.reject(session.dead, 1, session.uncounted(size));
    else if (session.countedLeft > 0) session.uncounted(size);
  }

  /** One verified frame. It may still be rejected: a meta header must be one. */
  #deliver(session: LiveSession, address: number, size: number, type: number): void {
    session.seenAt = this.#now;
    if (!session.verified) this.#firstVerified(session);
    const payload = address + HEADER_BYTES;
    if (type === TYPE_META) {
      this.#collect(session, this.#memory.subarray(address, payload + size));
      return;
    }
    const frame = this.#frame;
    frame.header = address;
    frame.payload = payload;
    frame.size = size;
    frame.type = type;
    if (!session.fanout && !this.#route(session, frame)) return;
    const full = session.fanout!.write(frame) & ~this.#fullSinks;
    if (full !== 0) this.#press(this.#fullSinks | full, this.#heldSinks);
  }

  #firstVerified(session: LiveSession): void {
    session.verified = true;
    const { id, slot, generation, sensor, type, address, source } = session;
    this.#options.log.info({ session: id, sensor, type, address, source }, 'session opened');
    const openedAt = session.openedAt.getTime();
    const who = { sensor, type, address, source, openedAt };
    const linked = session.link !== undefined;
    this.#up({ t: 'verified', id, slot, generation, ...who, linked });
  }

  /** @param frame of type 2, header and payload */
  #collect(session: LiveSession, frame: Buffer): void {
    const collector = session.collector!;
    if (collector.bytes + frame.length - HEADER_BYTES > META_HEADER_BYTES_MAX) {
      const detail = `over ${META_HEADER_BYTES_MAX} bytes`;
      this.#rejectMeta(session, Reject.META_TOO_LONG, detail);
    } else if (collector.wireBytes + frame.length > META_HEADER_WIRE_BYTES_MAX) {
      const detail = `${collector.frames + 1} frames, over ${META_HEADER_WIRE_BYTES_MAX} bytes`;
      this.#rejectMeta(session, Reject.META_TOO_LONG, detail);
    } else if (this.#metaBytes + frame.length > META_BYTES_TOTAL_MAX) {
      this.#rejectMeta(session, Reject.ASSEMBLY_BUDGET, 'too many meta headers are waiting');
    } else {
      collector.add(frame);
      this.#metaBytes += frame.length;
    }
  }

  /**
   * Opens the session's streams; its meta header, if it has one, is whole by now.
   * @param frame the first behind it
   */
  #route(session: LiveSession, frame?: FrameRef): boolean {
    const { admission, routes, sinks, metaTypes } = this.#options;
    const { collector, sensor, type, slot, generation } = session;
    if (collector) {
      const parsed = parseMetaHeader(collector.text(), metaTypes);
      if ('reject' in parsed) {
        this.#rejectMeta(session, parsed.reject, parsed.detail);
        return false;
      }
      session.meta = collector.header(parsed.type);
      this.#dropCollector(session);
    }
    const groups = admission.groups(sensor);
    const routed = routes.sinksFor({ sensor, type, metaType: session.meta?.type, groups });
    const mask = routed & ~this.#declined(routed, session, frame);
    session.sinks = mask;
    session.row.route(mask);
    session.fanout = new Fanout(
      sinks,
      mask,
      session,
      session.link && ((sink, name, stream) => resumed(session, sink, name, stream)),
    );
    this.#post({ t: 'routed', slot, generation, sinks: mask });
    if (routed === 0) {
      const { id } = session;
      this.#options.log.warn({ session: id, sensor, type }, 'no route takes this stream');
    }
    return true;
  }

  /** Those of the sinks of a route that don't want the stream. */
  #declined(routed: number, session: LiveSession, frame: FrameRef | undefined): number {
    let declined = 0;
    for (const [index, sink] of this.#options.sinks.entries()) {
      if ((routed & (1 << index)) === 0) continue;
      if (sink?.declines?.(session, frame) !== undefined) declined |= 1 << index;
    }
    return declined;
  }

  /** The frames of the meta header are rejected with it. */
  #rejectMeta(session: LiveSession, code: number, detail: string): void {
    const { frames, bytes } = session.collector!;
    if (frames > 0) session.row.reject(code, frames, bytes);
    this.#dropCollector(session);
    this.#reject(session, code, detail);
  }

  #dropCollector(session: LiveSession): void {
    this.#metaBytes -= session.collector?.wireBytes ?? 0;
    session.collector = undefined;
  }

  #reject(session: LiveSession, code: number, detail: string): void {
    session.dead = code;
    const { slot, generation, sensor, address, source } = session;
    this.#post({ t: 'reject', slot, generation, code, detail, sensor, address, source });
  }

  /** Tells the I/O thread of each sink that begins or ceases to hold its sessions back. */
  #press(full: number, held: number): void {
    const changed = (this.#fullSinks | this.#heldSinks) ^ (full | held);
    this.#fullSinks = full;
    this.#heldSinks = held;
    for (let sink = 0; changed >> sink !== 0; sink += 1) {
      const bit = 1 << sink;
      if ((changed & bit) === 0) continue;
      this.#post({ t: 'pressure', sink, full: ((full | held) & bit) !== 0 });
    }
  }

  #end(seq: number): void {
    const { consumer } = this.#options;
    const session = this.#bySlot.get(consumer.session(seq))!;
    const event = JSON.parse(this.#text(seq)) as EndEvent;
    const code = consumer.status(seq);
    if (event.truncatedBytes > 0) session.row.truncate(event.truncatedBytes);
    if (event.atHeader) {
      session.headerRejects = 1;
      this.#countReceived(session);
      session.row.reject(code, 1, 0);
    }
    this.#endMeta(session);
    this.#up({ t: 'over', id: session.id });
    const isOver = session.dead !== 0 || (code !== End.INTERRUPTED && code !== End.DRAINED);
    if (session.link && isOver && session.dead === 0 && !session.fanout) this.#route(session);
    const closing = this.#close(session, session.dead || code, event.detail, isOver);
    if (session.link) this.#options.links!.closing(session, closing, isOver);
  }

  /** A meta header without data after it is stored all the same, where it is one. */
  #endMeta(session: LiveSession): void {
    const { collector, dead } = session;
    if (!collector || collector.frames === 0) return;
    if (dead === 0 || !('reject' in parseMetaHeader(collector.text(), this.#options.metaTypes))) {
      this.#route(session);
    } else {
      // Its frames held, but the session ended before they came to a header.
      session.row.reject(dead, collector.frames, collector.bytes);
      this.#dropCollector(session);
    }
  }

  async #close(session: LiveSession, code: number, detail: string, isOver: boolean): Promise<void> {
    const end = endName(code);
    const how = { code: end, detail };
    await (session.link && !isOver ? session.fanout?.suspend(how) : session.fanout?.end(how));
    this.#dropCollector(session);
    this.#countReceived(session);
    this.#report([session]);
    if (this.#undelivered(session)) {
      session.abandoned = true;
      this.#options.log.error({ session: session.id }, 'not all of a session was delivered');
      this.#checkIdle();
      return;
    }
    const totals = session.row.totals(end);
    if (session.link && !(await this.#settleLink(session, totals, isOver ? end : undefined)))
      return;
    // Strangers that claim ever new UUIDs shall not fill the ledger with them.
    const isStranger = !session.verified && !this.#options.admission.knows(session.sensor);
    if (isStranger) totals.sensor = UNVERIFIED_SENSOR;
    const { id, sensor, type, address } = session;
    const { received, truncated } = totals;
    if (session.verified) {
      this.#options.log.info(
        {
          session: id,
          sensor,
          type,
          address,
          end,
          ...(detail ? { detail } : {}),
          frames: received.frames,
          bytes: received.bytes,
          ...(truncated.bytes > 0 ? { truncatedBytes: truncated.bytes } : {}),
        },
        'session closed',
      );
    }
    session.settled = true;
    this.#up({ t: 'ended', totals });
    this.#checkIdle();
  }

  /** False where what is held of it could not be kept: the next start finds it out. */
  async #settleLink(
    session: LiveSession,
    totals: SessionTotals,
    over: string | undefined,
  ): Promise<boolean> {
    try {
      await this.#options.links!.settle(session, totals, over);
      return true;
    } catch (error) {
      session.abandoned = true;
      const { id } = session;
      this.#options.log.error({ session: id, error: messageOf(error) }, 'a link cannot be written');
      this.#checkIdle();
      return false;
    }
  }

  /** Only a sink that was closed in an outage leaves something. */
  #undelivered(session: LiveSession): boolean {
    return this.#options.sinks.some(
      (_, sink) =>
        (session.sinks & (1 << sink)) !== 0 &&
        (session.row.inFlightFrames(sink) > 0 || session.row.inFlightBytes(sink) > 0),
    );
  }

  /** Reports the sessions' newest frames for the sensors' records, where there is something new. */
  reportActivity(): void {
    this.#report(this.#bySlot.values());
  }

  #report(sessions: Iterable<LiveSession>): void {
    const seen = [];
    for (const session of sessions) {
      if (session.seenAt === session.reportedAt) continue;
      session.reportedAt = session.seenAt;
      seen.push({ sensor: session.sensor, at: session.seenAt, address: session.address });
    }
    if (seen.length > 0) this.#up({ t: 'activity', seen });
  }

  /** The I/O thread counts what it received in the session's slot. */
  #countReceived(session: LiveSession): void {
    const at = this.#options.map.sessionBase + session.slot * SESSION_BYTES;
    const frames = this.#counts.getFloat64(at + SESSION_FRAMES, true) + session.headerRejects;
    const bytes = this.#counts.getFloat64(at + SESSION_PAYLOAD, true);
    session.row.received(frames, Math.max(0, bytes - session.counted));
  }

  #up(message: Extract<ToIntake, { t: 'up' }>['message']): void {
    this.#post({ t: 'up', message });
  }

  #text(seq: number): string {
    const { consumer } = this.#options;
    const address = consumer.address(seq);
    return this.#memory.toString('utf8', address, address + consumer.size(seq));
  }
}

/** A sink's stream, past what the sink holds of the session already. */
function resumed(session: LiveSession, sink: number, name: string, stream: SinkStream): SinkStream {
  const { attempt, skips } = session.link!;
  // A sink that came by a reload holds nothing.
  const skip = { ...(skips.get(name) ?? { frames: 0, bytes: 0, counted: 0 }) };
  const { meta, row } = session;
  // It came before the first frame that is written to streams.
  if (meta && attempt.base.frames === 0 && skip.frames >= meta.frames) {
    skip.frames -= meta.frames;
    skip.bytes -= meta.bytes.length;
    row.delivered(sink, meta.frames, meta.bytes.length);
  }
  if (skip.frames === 0 && skip.bytes === 0) return stream;
  return new ResumedStream(stream, skip, (frames, bytes) => row.delivered(sink, frames, bytes));
}
