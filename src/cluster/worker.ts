import cluster from 'node:cluster';
import { Socket, type SocketConstructorOpts } from 'node:net';
import type { Duplex } from 'node:stream';
import { isDeepStrictEqual } from 'node:util';
import { MessageChannel, Worker } from 'node:worker_threads';
import type { Logger } from 'pino';
import type { Config } from '../config/schema.js';
import { KEEPALIVE_DELAY_MS, REGISTRY_POLL_MS, SECRET_GRACE_MS, SWEEP_MS } from '../constants.js';
import { LinkStore } from '../link/store.js';
import { createLogger } from '../log/logger.js';
import { RateLimitedLog } from '../log/rate.js';
import { openRegistry } from '../registry/lmdb.js';
import type { Registry } from '../registry/store.js';
import { assemblyBlockBytes } from '../ring/assembly-block.js';
import { BuddyAllocator } from '../ring/buddy.js';
import { CONTROL_BASE, CONTROL_TYPES, SCRATCH_PRODUCER } from '../ring/layout.js';
import { RingProducer } from '../ring/producer.js';
import { inlineWakes, PortWake, type Wake } from '../ring/wait.js';
import { RouteTable } from '../route/table.js';
import type { Origin } from '../sources/connection.js';
import { Intake } from '../sources/intake.js';
import { LinkServer } from '../sources/link/server.js';
import { TlsSource } from '../sources/tls.js';
import { WebSocketSource } from '../sources/websocket/source.js';
import type { SinkSideStats } from '../stats/messages.js';
import { ThreadMonitor } from '../stats/thread-monitor.js';
import { Admission } from '../verify/admission.js';
import { createMemory, instantiate, loadModule } from '../wasm/loader.js';
import { endName, type RejectCode } from '../wire/reject.js';
import type {
  SocketMessage,
  SourceStart,
  ToIntake,
  ToPipeline,
  ToPrimary,
  ToWorker,
  WorkerReload,
  WorkerStart,
} from './messages.js';
import { planMemory } from './plan.js';
import { fatal, SinkSide, type SinkSideOptions } from './sink-side.js';

/** One bit for each of the 256 values that a frame's type may have. */
const TYPE_SET_BYTES = 32;

/** How long what is mentioned together may wait, and how much of it may. */
const MENTION_MS = 2;
const MENTIONS_MAX = 256;

/**
 * One cluster worker: sockets and framing on this thread, verification and sinks on a thread of
 * their own (pipelined) or on this one (inline). The primary accepts connections and hands them
 * over, and is told what happened to them.
 */
class GatewayWorker {
  readonly #log: Logger;
  readonly #rejects: RateLimitedLog;
  readonly #registry: Registry;
  readonly #intake: Intake;
  /** By number, as connections carry it. */
  #sources: { start: SourceStart; tls: TlsSource | undefined }[] = [];
  readonly #admission: Admission;
  /** As it is in force; what a reload can't change is as the worker began. */
  #config: Config;
  readonly #types: Uint8Array;
  readonly #timers: NodeJS.Timeout[];
  readonly #producer: RingProducer;
  readonly #ringBytes: number;
  /** Of the I/O thread; inline, the sink side's is the same. */
  readonly #monitor: ThreadMonitor | undefined;
  #rssBytes = 0;
  /** Where gateways link to this one. */
  readonly #links: LinkServer;
  readonly #linkStore: LinkStore;
  #toPipeline: (message: ToPipeline) => void = () => {};
  #unmentioned: ToPrimary[] = [];
  #mentionTimer: NodeJS.Timeout | undefined;
  /** With `threads: inline`. */
  #drainNow: (() => void) | undefined;
  #registryVersion: number;

  constructor(start: WorkerStart) {
    this.#config = start.config;
    const { config, index, workers, threads } = start;
    this.#log = createLogger(config.log).child({ worker: index });
    this.#rejects = new RateLimitedLog(this.#log);
    this.#registry = openRegistry(config.dataDir, { readOnly: true });
    this.#registryVersion = this.#registry.version();
    const { limits } = config;
    const map = planMemory(limits, workers);
    const memory = createMemory(map);
    const bytes = new Uint8Array(memory.buffer);
    const typesAt = CONTROL_BASE + CONTROL_TYPES;
    this.#types = bytes.subarray(typesAt, typesAt + TYPE_SET_BYTES);
    this.#acceptTypes(config.admission.types);
    const { module } = loadModule();
    const options: SinkSideOptions = {
      config,
      index,
      memory,
      map,
      module,
      sharedSecret: start.sharedSecret,
      workers,
      gateway: start.gateway,
      slots: start.slots,
    };
    const secret = start.sharedSecret;
    this.#admission = new Admission(
      this.#registry,
      secret === undefined ? undefined : Buffer.from(secret, 'base64'),
    );
    const wake = threads === 'inline' ? this.#inline(options) : this.#pipelined(options);
    const block = assemblyBlockBytes(limits.maxPayloadBytes);
    this.#monitor = threads === 'inline' ? undefined : new ThreadMonitor();
    this.#ringBytes = map.ringBytes;
    this.#producer = new RingProducer(memory, map, wake);
    this.#intake = new Intake(
      {
        memory,
        map,
        producer: this.#producer,
        bindings: instantiate(module, memory, SCRATCH_PRODUCER, map, limits.maxPayloadBytes),
        blocks: new BuddyAllocator(map.arenaBase, map.assemblyBytes, 256, block),
        admission: this.#admission,
        routes: new RouteTable(config.routes, start.slots),
        idPrefix: `${Date.now().toString(36)}-${process.pid.toString(36)}`,
        firstFrameTimeoutMs: limits.firstFrameTimeoutMs,
        idleTimeoutMs: limits.idleTimeoutMs,
        timestampSkewSeconds: config.admission.timestampSkewSeconds,
        drainNow: this.#drainNow,
      },
      {
        refused: (code, origin, detail, sensor) => this.#refused(code, origin, detail, sensor),
        rejected: (code, origin, detail, sensor) => this.#rejected(code, origin, detail, sensor),
      },
    );
    this.#linkStore = LinkStore.open(config.dataDir);
    this.#links = this.#linkServer(start.gateway);
    this.#takeSources(start.sources);
    this.#timers = [
      setInterval(() => this.#intake.sweep(Date.now()), SWEEP_MS),
      setInterval(() => this.#pollRegistry(), REGISTRY_POLL_MS),
    ];
  }

  /** @param handle of a `socket` message, as the primary accepted it */
  handle(message: ToWorker, handle?: unknown): void {
    switch (message.t) {
      case 'socket':
        this.#accept(handle, message);
        break;
      case 'sync':
        this.#send({ t: 'synced', connection: message.connection });
        break;
      case 'end':
        this.#intake.end(message, message.code, message.detail);
        break;
      case 'sources':
        this.#takeSources(message.sources);
        break;
      case 'reload':
        this.#reload(message);
        this.#toPipeline(message);
        break;
      case 'folded':
      case 'hold':
      case 'sinks':
      case 'sinks-undo':
        this.#toPipeline(message);
        break;
      case 'link-granted':
        this.#links.granted(message.link, message.claim);
        break;
      case 'link-release':
        this.#links.release(message.claim);
        break;
      case 'drain':
        this.#links.stop();
        void this.#intake.drain().then(() => this.#toPipeline(message));
        break;
      default:
        break;
    }
  }

  #accept(handle: unknown, message: SocketMessage): void {
    const { start: source, tls } = this.#sources[message.source]!;
    const { connection, address } = message;
    this.#mention({ t: 'taken', connection });
    const socket = new Socket({ handle, readable: true, writable: true } as SocketConstructorOpts);
    const origin: Origin = { connection, source: source.kind, address };
    socket.on('close', () => {
      this.#mention({ t: 'closed', connection });
      tls?.closed(socket);
    });
    if (source.kind !== 'unix') {
      socket.setKeepAlive(true, KEEPALIVE_DELAY_MS);
      socket.setNoDelay(true);
    }
    if (tls) tls.take(socket, origin);
    else this.#intake.accept(socket, origin);
  }

  /** Listeners as they are now; a certificate that is another holds for handshakes from now on. */
  #takeSources(starts: readonly SourceStart[]): void {
    this.#sources = starts.map((start, number) => {
      const known = this.#sources[number];
      return isDeepStrictEqual(known?.start, start)
        ? known!
        : { start, tls: this.#tlsSource(start) };
    });
  }

  #reload({ config, slots, sharedSecret }: WorkerReload): void {
    const isOther = config.limits.handshakeTimeoutMs !== this.#config.limits.handshakeTimeoutMs;
    this.#config = config;
    if (isOther) {
      this.#sources = this.#sources.map(({ start }) => ({ start, tls: this.#tlsSource(start) }));
    }
    this.#acceptTypes(config.admission.types);
    if (sharedSecret !== undefined) {
      this.#admission.changeSecret(Buffer.from(sharedSecret, 'base64'), SECRET_GRACE_MS);
    }
    const { firstFrameTimeoutMs, idleTimeoutMs } = config.limits;
    this.#intake.reconfigure({
      routes: new RouteTable(config.routes, slots),
      firstFrameTimeoutMs,
      idleTimeoutMs,
      timestampSkewSeconds: config.admission.timestampSkewSeconds,
    });
  }

  /** The set that the scan looks in: one bit a type. */
  #acceptTypes(types: readonly number[]): void {
    for (let byte = 0; byte < TYPE_SET_BYTES; byte += 1) {
      const own = types.filter((type) => type >> 3 === byte);
      this.#types[byte] = own.reduce((bits, type) => bits | (1 << (type & 7)), 0);
    }
  }

  #tlsSource({ tls, path }: SourceStart): TlsSource | undefined {
    if (!tls) return undefined;
    const { handshakeTimeoutMs } = this.#config.limits;
    const failed = (code: RejectCode, origin: Origin, detail: string) =>
      this.#refused(code, origin, detail);
    const accept = (stream: Duplex, origin: Origin) => this.#intake.accept(stream, origin);
    if (path === undefined)
      return new TlsSource(tls, handshakeTimeoutMs, { secure: accept, failed });
    const webSockets = new WebSocketSource(path, handshakeTimeoutMs, {
      accept,
      link: (request) => this.#links.take(request),
      end: (connection, code, detail) => this.#intake.end(connection, code, detail),
      failed,
    });
    const secure = (stream: Duplex, origin: Origin) => webSockets.take(stream, origin);
    return new TlsSource(tls, handshakeTimeoutMs, { secure, failed });
  }

  #linkServer(gateway: string): LinkServer {
    const { handshakeTimeoutMs } = this.#config.limits;
    const log = this.#log.child({ part: 'link' });
    return new LinkServer(this.#linkStore, this.#intake, gateway, handshakeTimeoutMs, log, {
      claim: (link, claim) => this.#send({ t: 'link-claim', link, claim }),
      free: (link, claim) => this.#send({ t: 'link-free', link, claim }),
    });
  }

  #inline(options: SinkSideOptions): Wake {
    const wakes = inlineWakes();
    // The other half of a message waits for the next turn, as it would between two threads.
    const side = new SinkSide(options, wakes.consumer, this.#log, (message) =>
      setImmediate(() => this.#fromSinkSide(message)),
    );
    this.#toPipeline = (message) => side.handle(message);
    this.#drainNow = side.drainNow;
    return wakes.producer;
  }

  #pipelined(options: SinkSideOptions): Wake {
    const { port1, port2 } = new MessageChannel();
    const thread = new Worker(new URL('./sink-thread.js', import.meta.url), {
      workerData: { options, wakePort: port2 },
      transferList: [port2],
    });
    thread.on('message', (message: ToIntake) => this.#fromSinkSide(message));
    thread.on('error', (error) => {
      fatal(this.#log, error);
      process.exit(1);
    });
    this.#toPipeline = (message) => thread.postMessage(message);
    return new PortWake(options.memory, 'producer', port1);
  }

  #fromSinkSide(message: ToIntake): void {
    switch (message.t) {
      case 'started':
        this.#send({ t: 'ready' });
        break;
      case 'reject':
        // A peer may be gone before its frames are verified: it is told of all the same.
        if (!this.#intake.end(message, message.code, message.detail)) {
          this.#links.rejected(message);
          this.#rejected(message.code, message, message.detail, message.sensor);
        }
        break;
      case 'routed':
        this.#intake.routed(message, message.sinks);
        break;
      case 'free':
        this.#intake.free(message);
        break;
      case 'link-committed':
        this.#links.committed(message.link, message.position);
        break;
      case 'link-released':
        this.#links.released(message.link, message.claim);
        break;
      case 'pressure':
        this.#intake.pressure(message.sink, message.full);
        break;
      case 'up':
        if (message.message.t === 'verified') this.#intake.verified(message.message);
        this.#send(message.message);
        break;
      case 'stats':
        this.#tell(message.stats);
        break;
      case 'drained':
        this.#close();
        break;
      default:
        break;
    }
  }

  #tell(side: SinkSideStats): void {
    const { user, system } = process.cpuUsage();
    this.#send({
      t: 'stats',
      stats: {
        ...side,
        pid: process.pid,
        connections: this.#intake.connections,
        ring: {
          usedBytes: this.#producer.usedBytes(),
          bytes: this.#ringBytes,
          descriptors: this.#producer.unreleased(),
        },
        io: this.#monitor?.sample() ?? side.thread,
        cpu: { user: user / 1e6, system: system / 1e6 },
        rssBytes: this.#residentBytes(),
      },
    });
  }

  /** Node reads it from a file: a worker without a free descriptor tells what it last was. */
  #residentBytes(): number {
    try {
      this.#rssBytes = process.memoryUsage.rss();
    } catch {
      // EMFILE, or ENFILE: the connections at hand are served all the same.
    }
    return this.#rssBytes;
  }

  /** Everything is on disk and counted: the process may end. */
  #close(): void {
    for (const timer of this.#timers) clearInterval(timer);
    this.#rejects.close();
    this.#monitor?.close();
    void this.#linkStore.close();
    this.#registry.close();
    this.#flush();
    if (!process.connected) process.exit(0);
    process.send?.({ t: 'drained' } satisfies ToPrimary, () => process.exit(0));
  }

  /** A connection ended before it had a session: no session's totals will tell of it. */
  #refused(code: number, origin: Origin, detail: string, sensor?: string): void {
    this.#rejected(code, origin, detail, sensor);
    const named = sensor === undefined ? {} : { sensor };
    this.#mention({
      t: 'refused',
      reason: endName(code),
      address: origin.address,
      detail,
      ...named,
    });
  }

  #rejected(
    code: number,
    origin: Pick<Origin, 'source' | 'address'>,
    detail: string,
    sensor?: string,
  ): void {
    const reason = endName(code);
    const { source, address } = origin;
    const named = sensor ? { sensor } : {};
    this.#rejects.warn(reason, { source, address, ...named, detail }, 'rejected');
    if (sensor) this.#send({ t: 'rejected', sensor, reason, detail, address });
  }

  #pollRegistry(): void {
    const version = this.#registry.version();
    if (version === this.#registryVersion) return;
    this.#registryVersion = version;
    this.#intake.recheck();
  }

  /**
   * What the primary only counts goes to it with what else comes within `MENTION_MS`: each message
   * costs both of them more than what it says. Whatever is sent later still comes later.
   */
  #mention(message: ToPrimary): void {
    this.#unmentioned.push(message);
    if (this.#unmentioned.length >= MENTIONS_MAX) this.#flush();
    else this.#mentionTimer ??= setTimeout(() => this.#flush(), MENTION_MS);
  }

  #flush(): void {
    clearTimeout(this.#mentionTimer);
    this.#mentionTimer = undefined;
    const messages = this.#unmentioned;
    if (messages.length === 0) return;
    this.#unmentioned = [];
    if (process.connected) process.send?.({ t: 'mentions', messages } satisfies ToPrimary);
  }

  #send(message: ToPrimary): void {
    this.#flush();
    if (process.connected) process.send?.(message);
  }
}

/** What a worker whose primary died gets to finish; the next start waits for longer. */
const ORPHAN_DRAIN_MS = 5_000;

let worker: GatewayWorker | undefined;

// A terminal's Ctrl-C and an init system's stop reach every process of the gateway: the primary
// decides, and says so by IPC.
process.on('SIGINT', () => {});
process.on('SIGHUP', () => {});
process.on('SIGTERM', () => {});
process.on('message', (message: ToWorker, handle?: unknown) => {
  if (message.t === 'start') worker = new GatewayWorker(message.start);
  else if (worker) worker.handle(message, handle);
  else if (message.t === 'drain') process.exit(0);
});
// Without a primary nobody restarts this: what was received is finished, and the next start adds the
// journal to the ledger. (`node:cluster` would end the process at once, were this not set.)
if (cluster.worker) cluster.worker.exitedAfterDisconnect = true;
process.on('disconnect', () => {
  if (!worker) process.exit(1);
  worker.handle({ t: 'drain', deadlineMs: ORPHAN_DRAIN_MS, alone: true });
  setTimeout(() => process.exit(1), ORPHAN_DRAIN_MS);
});
// What was sent before this module ran would be lost: the primary begins when it hears this.
process.send?.({ t: 'hello' } satisfies ToPrimary);
