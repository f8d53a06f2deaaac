import type { Duplex } from 'node:stream';
import type { EndEvent, OpenEvent, SlotRef } from '../cluster/messages.js';
import { CUT_BYTES, Kind, READ_BYTES, regionBytesMax, ScanStatus } from '../ring/layout.js';
import { MemoryWriter } from '../wasm/copy.js';
import {
  HEADER_BYTES,
  OFFSET_SIZE,
  OFFSET_TYPE,
  OFFSET_VERSION,
  PROTOCOL_VERSION,
} from '../wire/layout.js';
import { End, Reject } from '../wire/reject.js';
import { TYPE_EXTENDED, TYPE_META } from '../wire/types.js';
import { uuidOfHeader } from '../wire/uuid.js';
import { type Assembly, AssemblyBudget } from './assembly-budget.js';
import { Connection, type Ending, type Origin, Pause } from './connection.js';
import { describeHeader } from './describe.js';
import { readDirectly } from './direct-read.js';
import type { ChangeableIntake, IntakeEvents, IntakeOptions } from './intake-options.js';
import { SessionSlots } from './slots.js';
import { Waiting } from './waiting.js';

/** Bytes staged in the ring at once: a read is seldom larger. */
const STAGE_BYTES_MAX = 256 * 1024;

/**
 * A cut frame that has no more than this of its bytes moves into the ring with what makes it whole,
 * among the frames that follow it: copying so little again costs less than a descriptor of its own.
 */
const REJOINED_BYTES_MAX = 16 * 1024;

/**
 * On one thread so much is verified while the processor's nearest caches still hold it, and no more
 * is read before: enough frames, however large, for the verifier's lanes.
 */
const HOT_BYTES = 128 * 1024;

/** Where a socket has its connection. */
const CONNECTION = Symbol('connection');
type Served = Duplex & { [CONNECTION]?: Connection };

/**
 * The I/O thread's half of the data path: takes what sockets read, puts whole frames into the ring
 * and pauses the sockets whenever something behind it is full. Never waits, never drops.
 *
 *   read ─▶ chunk ─┬─ whole frames ─▶ ring (one copy, scanned in place)
 *                  ├─ cut header   ─▶ the connection's 62 bytes
 *                  └─ cut frame    ─▶ a block of the assembly budget, described in place when whole
 */
export class Intake {
  #options: IntakeOptions;
  readonly #events: IntakeEvents;
  readonly #memory: Buffer;
  readonly #writer: MemoryWriter;
  /** Where sockets put what they read. */
  readonly #reading: Buffer;
  readonly #slots: SessionSlots;
  readonly #assembly: AssemblyBudget<Connection>;
  readonly #connections = new Map<number, Connection>();
  readonly #waiting: Waiting;
  readonly #freeBlock = (address: number) => this.#assembly.free(address);
  readonly #stageBytesMax: number;
  readonly #handlers = this.#makeHandlers();
  #fullSinks = 0;
  #nextId = 1;
  #drained: (() => void) | undefined;

  constructor(options: IntakeOptions, events: IntakeEvents) {
    this.#options = options;
    this.#events = events;
    this.#memory = Buffer.from(options.memory.buffer as ArrayBuffer);
    this.#writer = new MemoryWriter(options.memory);
    const { map } = options;
    this.#reading = this.#memory.subarray(map.readBase, map.readBase + READ_BYTES);
    this.#slots = new SessionSlots(options.memory, map);
    this.#assembly = new AssemblyBudget(options.blocks, this.#writer, map.assemblyBytes);
    const { producer } = options;
    this.#waiting = new Waiting(producer, this.#assembly, (connection) => this.#pump(connection));
    this.#stageBytesMax = Math.min(STAGE_BYTES_MAX, regionBytesMax(map.ringBytes));
  }

  /** Holds for sessions that begin from now on; the time limits, for all. */
  reconfigure(change: ChangeableIntake): void {
    this.#options = { ...this.#options, ...change };
  }

  get connections(): number {
    return this.#connections.size;
  }

  /**
   * Serves a connection that is ready to read; under TLS its handshake is done.
   * @returns its state; undefined where there was no room for it, and it was closed
   */
  accept(socket: Duplex, origin: Origin): Readonly<Connection> | undefined {
    const ref = this.#slots.take();
    if (!ref || this.#drained) {
      if (ref) this.#slots.give(ref.slot);
      if (!ref) this.#events.refused(Reject.CONNECTION_LIMIT, origin, 'no free session slot');
      socket.on('error', ignore);
      socket.destroy();
      return undefined;
    }
    const connection = this.#connection(socket, origin, ref);
    this.#connections.set(ref.slot, connection);
    this.#listen(connection);
    return connection;
  }

  /**
   * Begins a session of a gateway link, whose sensor and type are known before its first frame.
   * @param header of 62 bytes, that tells both
   * @returns undefined where there is no room for it now
   */
  adopt(stream: Duplex, origin: Origin, header: Buffer): Readonly<Connection> | undefined {
    const ref = this.#drained ? undefined : this.#slots.take();
    if (!ref) return undefined;
    const connection = this.#connection(stream, origin, ref);
    // Its sender has proved who it is, and no stranger's share of the memory limits it.
    connection.trusted = true;
    this.#connections.set(ref.slot, connection);
    if (this.#admit(connection, header) || connection.ending) {
      this.#listen(connection);
      this.#options.producer.wake();
      return connection;
    }
    this.#waiting.leave(connection);
    this.#connections.delete(ref.slot);
    this.#slots.give(ref.slot);
    return undefined;
  }

  /** Tells the sink side that all before it was published; false where there is no room for it. */
  mark(text: Buffer): boolean {
    const { producer } = this.#options;
    if (!producer.pushEvent(Kind.MARK, 0, 0, 0, text)) return false;
    producer.wake();
    return true;
  }

  #connection(socket: Duplex, origin: Origin, ref: SlotRef): Connection {
    const headAt = this.#options.map.cutBase + ref.slot * CUT_BYTES;
    return new Connection(socket, origin, ref, headAt, Date.now());
  }

  /** What sockets call, shared by all: closures of its own made a hundredth of an idle one's memory. */
  #makeHandlers() {
    const intake = this;
    return {
      read(this: Served, bytes: number): true {
        intake.#read(this[CONNECTION]!, bytes);
        return true;
      },
      closed(this: Served): void {
        intake.#finish(this[CONNECTION]!, End.CLOSED, '');
      },
      failed(this: Served, error: NodeJS.ErrnoException): void {
        intake.#keepUnread(this[CONNECTION]!);
        intake.#finish(this[CONNECTION]!, End.RESET, error.code ?? error.message);
      },
    };
  }

  #listen(connection: Connection): void {
    const socket: Served = connection.socket;
    const { read, closed, failed } = this.#handlers;
    socket[CONNECTION] = connection;
    if (!readDirectly(socket, this.#reading, read)) {
      socket.on('data', (chunk: Buffer) => this.#receive(connection, chunk));
    }
    socket.on('end', closed);
    socket.on('error', failed);
    socket.on('close', closed);
    if (connection.ending) socket.destroy();
    else socket.resume();
  }

  /**
   * Ends the session in a slot, unless the slot serves another one by now.
   * @returns false where its connection had ended already: then nothing is reported
   */
  end(ref: SlotRef, code: number, detail: string): boolean {
    const connection = this.#connections.get(ref.slot);
    if (connection?.generation !== ref.generation || connection.ending) return false;
    this.#finish(connection, code, detail);
    return true;
  }

  /** A frame of the session held: its sender has the sensor's key. */
  verified(ref: SlotRef): void {
    const connection = this.#connections.get(ref.slot);
    if (connection?.generation === ref.generation) connection.trusted = true;
  }

  /** The sinks of a session are known: those of type 254 once its meta header is. */
  routed(ref: SlotRef, sinks: number): void {
    const connection = this.#connections.get(ref.slot);
    if (connection?.generation !== ref.generation) return;
    connection.sinks = sinks;
    this.#settle(connection);
  }

  /** A session's last word was taken and counted: its slot may serve again. */
  free(ref: SlotRef): void {
    this.#slots.give(ref.slot);
  }

  /** A sink is full, or takes again: those who feed it pause, or go on. */
  pressure(sink: number, full: boolean): void {
    const bit = 1 << sink;
    this.#fullSinks = full ? this.#fullSinks | bit : this.#fullSinks & ~bit;
    for (const connection of this.#connections.values()) this.#settle(connection);
  }

  /** Ends the sessions that the registry, as it is now, would not admit. */
  recheck(): void {
    for (const connection of this.#connections.values()) {
      if (!connection.identity || connection.ending) continue;
      const { sensor } = connection.identity;
      let code = this.#options.admission.refusal(sensor, connection.origin.address);
      if (code === Reject.UNKNOWN_SENSOR) code = Reject.SENSOR_REMOVED;
      if (code !== undefined) {
        this.#finish(connection, code, 'the registry changed while the session was open');
      }
    }
  }

  /** Applies the time limits; called every `SWEEP_MS`. */
  sweep(now: number): void {
    const { firstFrameTimeoutMs, idleTimeoutMs } = this.#options;
    for (const connection of this.#connections.values()) {
      // Who waits for ring or sink is not to blame; nor is a sensor that waits for memory, but a
      // stranger who does has its time all the same.
      const waits = connection.hasFrame ? ~Pause.NONE : ~Pause.ASSEMBLY;
      if (connection.ending || (connection.paused & waits) !== 0) continue;
      // A link's sensors are elsewhere: it is their gateway that waits for them.
      if (connection.origin.link) continue;
      const quiet = now - connection.quietSince;
      if (!connection.hasFrame) {
        if (quiet > firstFrameTimeoutMs) {
          const detail = `no whole frame within ${firstFrameTimeoutMs} ms`;
          this.#finish(connection, Reject.FIRST_FRAME_TIMEOUT, detail);
        }
      } else if (idleTimeoutMs > 0 && quiet > idleTimeoutMs) {
        const detail = `no whole frame for ${idleTimeoutMs} ms`;
        this.#finish(connection, Reject.IDLE_TIMEOUT, detail);
      }
    }
    this.#waiting.relieve(now, (...args) => this.#finish(...args));
  }

  /** Stops reading and puts the end of every session into the ring; resolves when all are in. */
  drain(): Promise<void> {
    return new Promise((resolve) => {
      this.#drained = resolve;
      for (const connection of this.#connections.values()) {
        this.#finish(connection, End.DRAINED, 'the gateway is stopping');
      }
      this.#checkDrained();
    });
  }

  #receive(connection: Connection, chunk: Buffer): void {
    if (connection.ending) return;
    connection.chunk = chunk;
    connection.offset = 0;
    this.#pump(connection);
  }

  /** A socket has put bytes where all put them: what is not consumed now is copied away. */
  #read(connection: Connection, bytes: number): void {
    if (connection.ending) return;
    const read = this.#reading.subarray(0, bytes);
    if (connection.chunk) {
      // Read before a pause took effect: at most what Node had read and decrypted by then.
      connection.chunk = Buffer.concat([connection.chunk.subarray(connection.offset), read]);
      connection.offset = 0;
      return;
    }
    connection.chunk = read;
    connection.offset = 0;
    this.#pump(connection);
    if (connection.chunk !== read) return;
    connection.chunk = Buffer.from(read.subarray(connection.offset));
    connection.offset = 0;
  }

  /** After an error a paused stream emits nothing more, and still holds what it had read. */
  #keepUnread(connection: Connection): void {
    const { socket, chunk, offset, ending } = connection;
    if (ending) return;
    const parts: Buffer[] = chunk ? [chunk.subarray(offset)] : [];
    for (let part = socket.read(); part !== null; part = socket.read()) parts.push(part);
    if (parts.length === 0) return;
    connection.chunk = Buffer.concat(parts);
    connection.offset = 0;
  }

  /**
   * Ends a connection once. What was read before is still delivered, unless the end is a reject:
   * then only the frames before the place that was wrong are.
   */
  #finish(connection: Connection, code: number, detail: string, atHeader = false): void {
    if (connection.ending) return;
    const ending: Ending = { code, detail, atHeader };
    connection.ending = ending;
    if (code >= Reject.BAD_VERSION) {
      connection.chunk = undefined;
      connection.headFill = atHeader ? 0 : connection.headFill;
      const { identity, origin } = connection;
      if (identity) this.#events.rejected(code, origin, detail, identity.sensor);
      else if (!atHeader) this.#events.refused(code, origin, detail);
    }
    // After the peer's own end the stream closes by itself, with a close_notify under TLS.
    if (code !== End.CLOSED) connection.socket.destroy();
    this.#pump(connection);
  }

  /** Moves a connection on as far as it goes: until it has nothing more, or waits for something. */
  #pump(connection: Connection): void {
    this.#waiting.leave(connection);
    while (!connection.done) {
      const { assembly, chunk } = connection;
      if (assembly && assembly.fill === assembly.size) {
        if (!this.#describeAssembled(connection, assembly)) break;
      } else if (chunk === undefined) {
        if (!connection.ending || !this.#pushEnd(connection)) break;
      } else if (connection.offset === chunk.length) {
        connection.chunk = undefined;
      } else if (!connection.ending && this.#isHeldBySink(connection)) {
        break;
      } else if (assembly) {
        const take = this.#canRejoin(assembly, chunk.length - connection.offset)
          ? this.#rejoin(connection, assembly, chunk)
          : this.#fillAssembly(connection, assembly, chunk);
        if (!take) break;
      } else if (!this.#takeFromChunk(connection, chunk)) {
        break;
      }
    }
    this.#hand();
    this.#waiting.serveSoon();
    this.#settle(connection);
  }

  /** What is published is the consumer's: at once, where it is on this thread and there is enough. */
  #hand(): void {
    const { producer, drainNow } = this.#options;
    if (drainNow && producer.usedBytes() >= HOT_BYTES) drainNow();
    else producer.wake();
  }

  /** Frames into the ring, or a cut header aside; false when it has to wait or has ended. */
  #takeFromChunk(connection: Connection, chunk: Buffer): boolean {
    const { offset, headFill } = connection;
    const remaining = chunk.length - offset;
    if (headFill + remaining < HEADER_BYTES) return this.#keepHead(connection, chunk);
    if (headFill > 0) {
      return this.#stage(connection, this.#headOf(connection), headFill, chunk, remaining);
    }
    // A frame larger than what is left goes to its own block: only its header is staged.
    const frame = HEADER_BYTES + chunk.readUInt32LE(offset + OFFSET_SIZE);
    const count = frame > remaining ? HEADER_BYTES : remaining;
    return this.#stage(connection, chunk, 0, chunk, count);
  }

  /** What of a cut header is there. */
  #headOf({ headAt, headFill }: Connection): Buffer {
    return this.#memory.subarray(headAt, headAt + headFill);
  }

  /** Keeps the start of a header that a read has cut. */
  #keepHead(connection: Connection, chunk: Buffer): boolean {
    this.#cut(connection, chunk, chunk.length);
    if (this.#memory[connection.headAt + OFFSET_VERSION] === PROTOCOL_VERSION) return true;
    this.#rejectStart(connection);
    return false;
  }

  /** Adds the chunk's bytes up to `end` to the header that was cut there. */
  #cut(connection: Connection, chunk: Buffer, end: number): void {
    const { headAt, headFill, offset } = connection;
    this.#writer.write(headAt + headFill, chunk, offset, end);
    connection.headFill += end - offset;
    connection.offset = end;
  }

  /** The rest of a cut frame has come: it moves on among the frames that follow it. */
  #rejoin(connection: Connection, assembly: Assembly<Connection>, chunk: Buffer): boolean {
    const { address, fill } = assembly;
    const start = this.#memory.subarray(address, address + fill);
    return this.#stage(connection, start, fill, chunk, chunk.length - connection.offset);
  }

  #canRejoin({ size, fill, address }: Assembly<Connection>, left: number): boolean {
    // The header would be checked again: its time must not count as skewed for what came late.
    if (this.#options.timestampSkewSeconds > 0 || address === 0) return false;
    return fill <= REJOINED_BYTES_MAX && size <= this.#stageBytesMax && size - fill <= left;
  }

  /**
   * Copies the start of a frame that was kept, and `left` bytes of the chunk behind it, into the
   * ring, scans them there and publishes the whole frames among them.
   */
  #stage(
    connection: Connection,
    start: Buffer,
    kept: number,
    chunk: Buffer,
    left: number,
  ): boolean {
    const { producer, bindings, timestampSkewSeconds } = this.#options;
    const { offset } = connection;
    const count = Math.min(kept + left, this.#stageBytesMax);
    const address = producer.reserve(count);
    if (address === 0) return this.#waitFor(connection, Pause.RING);
    if (kept > 0) this.#writer.write(address, start, 0, kept);
    this.#writer.write(address + kept, chunk, offset, offset + count - kept);
    const now = Date.now();
    const status = bindings.scan(
      address,
      count,
      connection.slot,
      producer.head,
      producer.room(),
      producer.releaseBase,
      Math.floor(now / 1000),
      timestampSkewSeconds,
    );
    const { count: frames, consumed, need } = bindings;
    producer.publish(frames, consumed);
    if (frames > 0) {
      this.#sawFrame(connection, now);
      // The first of them began with what was kept.
      connection.offset += consumed - kept;
      connection.headFill = 0;
      this.#dropAssembly(connection);
    }
    switch (status) {
      case ScanStatus.DONE:
        return true;
      case ScanStatus.ROOM:
        return this.#waitFor(connection, Pause.RING);
      case ScanStatus.PARTIAL_HEADER: {
        // Of what was staged: behind a region's limit there may be more of it.
        this.#cut(connection, chunk, offset + count - kept);
        return true;
      }
      case ScanStatus.PARTIAL_FRAME:
        return this.#beginAssembly(connection, need, now);
      default: {
        const header = this.#memory.subarray(address + consumed, address + consumed + HEADER_BYTES);
        if (status === ScanStatus.NEW_SESSION) return this.#admit(connection, header);
        return this.#rejectHeader(connection, status, header);
      }
    }
  }

  /** A frame's header is valid and its payload not all there: it gets a block of its own. */
  #beginAssembly(connection: Connection, need: number, now: number): boolean {
    if (connection.ending && this.#dropCutFrame(connection, need)) return true;
    const early = !connection.trusted;
    let assembly = this.#assembly.begin(connection, need, now, early);
    if (!assembly) {
      this.#options.producer.reclaim();
      assembly = this.#assembly.begin(connection, need, now, early);
    }
    if (!assembly) return this.#waitFor(connection, Pause.ASSEMBLY);
    connection.assembly = assembly;
    if (connection.headFill > 0) {
      this.#assembly.take(assembly, this.#headOf(connection), 0);
      connection.headFill = 0;
    }
    return true;
  }

  /** The connection has ended and its last frame is not all there: no memory is needed for it. */
  #dropCutFrame(connection: Connection, need: number): boolean {
    const { chunk, offset, headFill } = connection;
    const left = headFill + (chunk ? chunk.length - offset : 0);
    if (left >= need) return false;
    connection.cutBytes = left;
    connection.headFill = 0;
    connection.chunk = undefined;
    return true;
  }

  #fillAssembly(connection: Connection, assembly: Assembly<Connection>, chunk: Buffer): boolean {
    const taken = this.#assembly.take(assembly, chunk, connection.offset);
    connection.offset += taken;
    if (taken > 0) return true;
    const left = chunk.length - connection.offset;
    const canBeWhole = !connection.ending || left >= assembly.size - assembly.fill;
    if (canBeWhole) return this.#waitFor(connection, Pause.ASSEMBLY);
    connection.cutBytes = left;
    connection.chunk = undefined;
    return true;
  }

  /** Publishes a frame where it was assembled; its block is freed when the ring has released it. */
  #describeAssembled(connection: Connection, assembly: Assembly<Connection>): boolean {
    const { producer } = this.#options;
    const { slot, generation } = connection;
    if (!this.#assembly.place(assembly)) return this.#waitFor(connection, Pause.ASSEMBLY);
    const { address, size } = assembly;
    const payload = size - HEADER_BYTES;
    const type = this.#memory[address + OFFSET_TYPE]!;
    if (!producer.pushFrame(address, payload, slot, generation, type)) {
      return this.#waitFor(connection, Pause.RING);
    }
    producer.afterRelease((producer.head - 1) >>> 0, this.#freeBlock, address);
    this.#slots.count(slot, payload);
    this.#assembly.finish(assembly);
    connection.assembly = undefined;
    this.#sawFrame(connection, Date.now());
    return true;
  }

  /**
   * The first header: decides on the sensor, and fixes the session's identity.
   * @param header in the ring, beyond what is published: gone with the next reservation
   */
  #admit(connection: Connection, header: Buffer): boolean {
    const { admission, producer, idPrefix } = this.#options;
    const { origin, slot, generation, openedAt } = connection;
    const copy = Buffer.from(header);
    const sensor = uuidOfHeader(copy);
    const type = copy[OFFSET_TYPE]!;
    const refusal =
      admission.refusal(sensor, origin.address) ??
      admission.ban(sensor, type === TYPE_META ? TYPE_EXTENDED : type) ??
      (type === TYPE_EXTENDED && !origin.link ? Reject.META_MISSING : undefined);
    if (refusal !== undefined) {
      this.#events.refused(refusal, origin, '', sensor);
      this.#finish(connection, refusal, '', true);
      return false;
    }
    const id = `${idPrefix}-${this.#nextId}`;
    const { address, source, link } = origin;
    const event: OpenEvent = { id, sensor, type, address, source, openedAt };
    if (link) event.link = link;
    if (!producer.pushEvent(Kind.OPEN, slot, generation, 0, Buffer.from(JSON.stringify(event)))) {
      return this.#waitFor(connection, Pause.RING);
    }
    this.#slots.fix(slot, copy);
    this.#nextId += 1;
    connection.identity = { sensor, type, id };
    // The sinks of type 254 are known with its meta header: it must not wait for one it never feeds.
    if (type !== TYPE_META) {
      const groups = admission.groups(sensor);
      connection.sinks = this.#options.routes.sinksFor({ sensor, type, groups });
    }
    return true;
  }

  #rejectHeader(connection: Connection, code: number, header: Buffer): boolean {
    const detail = describeHeader(code, header);
    if (!connection.identity) this.#events.refused(code, connection.origin, detail);
    this.#finish(connection, code, detail, true);
    return false;
  }

  /** A header of which less than 62 bytes came can be no D4: nothing more is waited for. */
  #rejectStart(connection: Connection): void {
    const detail = describeHeader(Reject.BAD_VERSION, this.#headOf(connection));
    if (!connection.identity) {
      this.#events.refused(Reject.BAD_VERSION, connection.origin, detail);
    }
    this.#finish(connection, Reject.BAD_VERSION, detail, true);
  }

  /** The connection's last word. Slots without a session are free at once. */
  #pushEnd(connection: Connection): boolean {
    const { slot, generation, ending, identity } = connection;
    const { code, detail, atHeader } = ending!;
    const truncatedBytes = connection.partialBytes;
    if (identity) {
      const event: EndEvent = { detail, truncatedBytes, atHeader };
      const text = Buffer.from(JSON.stringify(event));
      if (!this.#options.producer.pushEvent(Kind.END, slot, generation, code, text)) {
        return this.#waitFor(connection, Pause.RING);
      }
    }
    connection.done = true;
    this.#dropAssembly(connection);
    this.#connections.delete(slot);
    if (!identity) {
      this.#slots.give(slot);
      const cut = truncatedBytes > 0 && code < Reject.BAD_VERSION;
      if (cut) this.#events.refused(End.TRUNCATED, connection.origin, `${truncatedBytes} bytes`);
    }
    this.#checkDrained();
    return true;
  }

  #dropAssembly(connection: Connection): void {
    if (connection.assembly) this.#assembly.abandon(connection.assembly);
    connection.assembly = undefined;
  }

  #sawFrame(connection: Connection, now: number): void {
    connection.hasFrame = true;
    connection.quietSince = now;
  }

  /** Always false: the caller stops, and `#pump` is called again when there may be room. */
  #waitFor(connection: Connection, reason: number): false {
    this.#waiting.add(connection, reason);
    return false;
  }

  /** A sink that this session feeds, or may feed once its meta header is known, takes no more. */
  #isHeldBySink({ sinks }: Connection): boolean {
    return sinks !== undefined && (sinks & this.#fullSinks) !== 0;
  }

  /** Reads on, or pauses, as what is behind the connection demands. */
  #settle(connection: Connection): void {
    if (connection.ending) return;
    if (this.#isHeldBySink(connection)) connection.paused |= Pause.SINK;
    else connection.paused &= ~Pause.SINK;
    const { socket } = connection;
    if (connection.paused !== Pause.NONE) {
      socket.pause();
    } else if (connection.chunk) {
      this.#pump(connection);
    } else if (socket.isPaused()) {
      connection.quietSince = Date.now();
      socket.resume();
    }
  }

  #checkDrained(): void {
    if (this.#connections.size === 0) this.#drained?.();
  }
}

function ignore(): void {}
