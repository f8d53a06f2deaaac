import type { Logger } from 'pino';
import type { Config } from '../config/schema.js';
import { ACTIVITY_MS, LEDGER_SYNC_MS, REGISTRY_POLL_MS, SECRET_GRACE_MS } from '../constants.js';
import { messageOf } from '../errors.js';
import { LedgerJournal } from '../ledger/journal.js';
import { journalPath } from '../ledger/journal-names.js';
import { LinkKeeper } from '../link/keeper.js';
import { LinkStore } from '../link/store.js';
import { openRegistry } from '../registry/lmdb.js';
import type { Registry } from '../registry/store.js';
import { RingConsumer } from '../ring/consumer.js';
import { type MemoryMap, SCRATCH_CONSUMER } from '../ring/layout.js';
import type { Wake } from '../ring/wait.js';
import { RouteTable } from '../route/table.js';
import { createSink } from '../sinks/create.js';
import { blocksOf } from '../sinks/files/pool.js';
import type { SinkBlocks, SinkHost } from '../sinks/sink.js';
import { Counters } from '../stats/counters.js';
import { FLOW_MS, type SinkStats, STATS_MS } from '../stats/messages.js';
import { ThreadMonitor } from '../stats/thread-monitor.js';
import { Admission } from '../verify/admission.js';
import { memoryCopy } from '../wasm/copy.js';
import { instantiate } from '../wasm/loader.js';
import type { LiveSession } from './live-session.js';
import type { ToIntake, ToPipeline, ToPrimary, WorkerReload } from './messages.js';
import { Pipeline } from './pipeline.js';
import { SinkSet } from './sink-set.js';

/** Of the time to stop, what sinks get to finish: the rest is for the books. */
const CLOSE_SHARE = 0.8;

/** All that the sink side needs; it can be posted to a thread. */
export interface SinkSideOptions {
  config: Config;
  index: number;
  memory: WebAssembly.Memory;
  map: MemoryMap;
  module: WebAssembly.Module;
  sharedSecret?: string | undefined;
  workers: number;
  /** The gateway's own id. */
  gateway: string;
  /** Names of the sinks by slot; '' where there is none. */
  slots: readonly string[];
}

/**
 * Verification, routing and sinks with all that they own, on the worker's sink thread or, inline,
 * on its only one.
 */
export class SinkSide {
  readonly #post: (message: ToIntake) => void;
  readonly #log: Logger;
  readonly #registry: Registry;
  readonly #journal: LedgerJournal;
  readonly #consumer: RingConsumer;
  readonly #admission: Admission;
  readonly #pipeline: Pipeline;
  readonly #sinks: SinkSet;
  readonly #blocks: SinkBlocks;
  /** How many sinks share the memory for blocks. */
  #sharers: number;
  readonly #timers: NodeJS.Timeout[];
  readonly #counters: Counters;
  readonly #monitor = new ThreadMonitor();
  #flowAt = 0;
  readonly #started: Promise<void>;
  /** Reloads are taken one after the other. */
  #reloading: Promise<void>;
  readonly #links: LinkStore;
  readonly #keeper: LinkKeeper;
  #registryVersion: number;
  #closed = false;
  #draining = false;

  constructor(
    options: SinkSideOptions,
    wake: Wake,
    log: Logger,
    post: (message: ToIntake) => void,
  ) {
    const { config, memory, map, module, index, sharedSecret } = options;
    this.#post = post;
    this.#log = log;
    this.#registry = openRegistry(config.dataDir, { readOnly: true });
    this.#links = LinkStore.open(config.dataDir);
    this.#registryVersion = this.#registry.version();
    this.#blocks = blocksOf(map.poolBase, map.poolBytes);
    this.#sharers = countOf(options.slots);
    this.#sinks = new SinkSet(log, {
      make: (slot, name, sink) => createSink(name, sink, this.#host(slot, name, options)),
      memory: new Uint8Array(memory.buffer),
      drain: (slot) => this.#pipeline.drained(slot),
      named: () => this.#journal.renamed(),
      isUsed: (slot) => this.#pipeline.isUsed(slot),
      gone: (slot, revision) => {
        this.#pipeline.gone(slot);
        this.#up({ t: 'sink-gone', slot, revision });
      },
    });
    const { names } = this.#sinks;
    names.push(...options.slots);
    this.#journal = new LedgerJournal(journalPath(config.dataDir, index), {
      sinks: names,
      sessions: map.sessions,
      onFault: (error) => log.error({ error: error.message }, 'the journal cannot be written'),
    });
    this.#counters = new Counters(names);
    this.#consumer = new RingConsumer(memory, map, wake);
    const secret = sharedSecret === undefined ? undefined : Buffer.from(sharedSecret, 'base64');
    this.#admission = new Admission(this.#registry, secret);
    const made = this.#sinks.make(options.slots, config.sinks);
    const bindings = instantiate(
      module,
      memory,
      SCRATCH_CONSUMER,
      map,
      config.limits.maxPayloadBytes,
    );
    this.#keeper = this.#makeKeeper(names);
    this.#pipeline = new Pipeline(
      {
        memory,
        map,
        bindings,
        consumer: this.#consumer,
        admission: this.#admission,
        routes: new RouteTable(config.routes, options.slots),
        sinks: this.#sinks.sinks,
        metaTypes: config.admission.metaTypes,
        journal: this.#journal,
        links: this.#keeper,
        log,
        leaving: (session) => this.#counters.take(session),
      },
      post,
    );
    this.#timers = [
      setInterval(() => this.#journal.sync(), LEDGER_SYNC_MS),
      setInterval(() => this.#pipeline.reportActivity(), ACTIVITY_MS),
      setInterval(() => this.#pollRegistry(), REGISTRY_POLL_MS),
      setInterval(() => this.#tell(), STATS_MS),
    ];
    this.#started = this.#start(made, config.sinks);
    this.#reloading = this.#started;
  }

  /** Nothing comes before the sinks are ready: the primary waits for it. */
  async #start(made: readonly number[], sinks: Config['sinks']): Promise<void> {
    await this.#sinks.begin(made, sinks);
    this.#consumer.sleep(this.#soon);
    this.#post({ t: 'started' });
  }

  handle(message: ToPipeline): void {
    switch (message.t) {
      case 'folded':
        this.#pipeline.folded(message.ids);
        break;
      case 'hold':
        this.#hold(message.sink, message.held);
        break;
      case 'drain':
        void this.#drain(message.deadlineMs, message.alone);
        break;
      default:
        this.#reloading = this.#reloading.then(() => this.#takeReload(message));
    }
  }

  async #takeReload(message: Extract<ToPipeline, { revision: number }>): Promise<void> {
    if (this.#closed) return;
    if (message.t === 'sinks') {
      const { config, slots, revision } = message;
      this.#sharers = Math.max(this.#sharers, countOf(slots));
      const problem = await this.#sinks.prepare(slots, config.sinks).then(() => {}, messageOf);
      this.#up({ t: 'sinks-ready', revision, ...(problem === undefined ? {} : { problem }) });
    } else if (message.t === 'sinks-undo') {
      await this.#sinks.undo();
    } else {
      await this.#reload(message);
    }
  }

  /** Takes all that is in the ring; for the I/O thread that this is on. */
  readonly drainNow = (): void => {
    if (this.#closed || this.#draining) return;
    this.#draining = true;
    while (this.#pipeline.drain());
    this.#draining = false;
  };

  readonly #soon = () => {
    setImmediate(this.#turn);
  };

  /** One batch a turn of the event loop, so that writes go on beside it; then sleeps. */
  readonly #turn = () => {
    if (this.#closed) return;
    if (this.#pipeline.drain()) setImmediate(this.#turn);
    else this.#consumer.sleep(this.#soon);
  };

  async #reload({ config, slots, revision, sharedSecret }: WorkerReload): Promise<void> {
    const { sinks, routes, admission } = config;
    // All of it is there, but in a worker that began while the others were asked.
    await this.#sinks.prepare(slots, sinks).catch(ends);
    const { metaTypes } = admission;
    this.#pipeline.reconfigure({ routes: new RouteTable(routes, slots), metaTypes });
    this.#sharers = countOf(slots);
    const taken = this.#sinks.take(slots, sinks, revision);
    if (sharedSecret === undefined) return await taken;
    this.#admission.changeSecret(Buffer.from(sharedSecret, 'base64'), SECRET_GRACE_MS);
    this.#pipeline.refreshKeys();
    await taken;
  }

  #hold(name: string, held: boolean): void {
    const sink = this.#sinks.names.indexOf(name);
    if (sink >= 0) this.#pipeline.hold(sink, held);
  }

  /** How the sink side is, for the primary. */
  #tell(now = Date.now(), last = false): void {
    let sessions = 0;
    for (const session of this.#pipeline.sessions) {
      if (session.verified && !session.settled) sessions += 1;
      this.#counters.take(session);
    }
    this.#sinks.sweep();
    const sinks: SinkStats[] = this.#sinks.sinks.flatMap((sink, index) => {
      if (!sink) return [];
      const { name, kind } = sink;
      const status = sink.status?.() ?? { state: 'ok' as const };
      return [{ name, kind, ...this.#pipeline.pressureOf(index), ...status }];
    });
    const isDue = last || now - this.#flowAt >= FLOW_MS;
    if (isDue) this.#flowAt = now;
    const stats = {
      tallies: this.#counters.tallies,
      sinks,
      sessions,
      thread: this.#monitor.sample(),
      ...(isDue ? { flow: this.#counters.takeFlow() } : {}),
    };
    this.#post({ t: 'stats', stats });
  }

  #pollRegistry(): void {
    const version = this.#registry.version();
    if (version === this.#registryVersion) return;
    this.#registryVersion = version;
    this.#pipeline.refreshKeys();
  }

  /**
   * The I/O thread has put every session's end into the ring: takes them all, closes the sinks and
   * waits until the ledger has every session, or without a primary the journal. The primary ends
   * what is not done at the deadline.
   */
  async #drain(deadlineMs: number, alone?: boolean): Promise<void> {
    await this.#reloading;
    this.#keeper.close();
    while (this.#pipeline.drain());
    await this.#sinks.close(deadlineMs * CLOSE_SHARE);
    await this.#pipeline.idle(alone);
    this.#tell(Date.now(), true);
    this.close();
    this.#post({ t: 'drained' });
  }

  close(): void {
    this.#closed = true;
    for (const timer of this.#timers) clearInterval(timer);
    this.#monitor.close();
    this.#journal.close();
    this.#keeper.close();
    void this.#links.close();
    this.#registry.close();
  }

  #makeKeeper(sinks: readonly string[]): LinkKeeper {
    const forceJournal = () => this.#journal.force();
    return new LinkKeeper(this.#links, sinks, forceJournal, this.#log, {
      committed: (link, position) => this.#post({ t: 'link-committed', link, position }),
      released: (link, claim) => this.#post({ t: 'link-released', link, claim }),
    });
  }

  #up(message: ToPrimary): void {
    this.#post({ t: 'up', message });
  }

  #host(sink: number, name: string, options: SinkSideOptions): SinkHost {
    const { map, memory } = options;
    const share = () => Math.floor(map.poolBytes / this.#sharers / 4096) * 4096;
    return {
      memory: new Uint8Array(memory.buffer),
      copy: memoryCopy(memory),
      log: this.#log.child({ sink: name }),
      place: {
        dataDir: options.config.dataDir,
        gateway: options.gateway,
        worker: options.index,
        workers: options.workers,
      },
      blocks: this.#blocks,
      get poolBytes() {
        return share();
      },
      journal: this.#journal,
      delivered: (session, frames, bytes) =>
        (session as LiveSession).row.delivered(sink, frames, bytes),
      drain: () => this.#pipeline.drained(sink),
      keyOf: (sensor) => this.#admission.keys(sensor)?.current,
      note: (session, text) => {
        this.#log.warn({ session: session.id, sensor: session.sensor, sink: name }, text);
        this.#up({ t: 'note', sensor: session.sensor, text });
      },
    };
  }
}

function countOf(slots: readonly string[]): number {
  return Math.max(1, slots.filter((name) => name !== '').length);
}

/** Ends the thread, or the process where it has none of its own; never resolves. */
function ends(error: unknown): Promise<never> {
  setImmediate(() => {
    throw error;
  });
  return new Promise(() => {});
}

/** The log line of an error that ends a thread. */
export function fatal(log: Logger, error: unknown): void {
  log.fatal({ error: error instanceof Error ? error.stack : messageOf(error) }, 'worker failed');
}
