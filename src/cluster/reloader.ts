import { isDeepStrictEqual } from 'node:util';
import type { Logger } from 'pino';
import { reloadedKeys } from '../config/reload.js';
import type { Config } from '../config/schema.js';
import { GatewayError } from '../errors.js';
import type { Acceptor } from './acceptor.js';
import { type PreparedSource, prepareSecret, prepareSinks, prepareSources } from './prepare.js';
import type { SinkBook } from './sink-book.js';
import type { SinkRollout } from './sink-rollout.js';
import type { SourceBook } from './source-book.js';
import type { Supervisor } from './supervisor.js';

/** What is reloaded, and what is told of it. */
export interface ReloadTarget {
  readonly begun: Config;
  readonly sources: SourceBook;
  readonly acceptor: Acceptor;
  readonly supervisor: Supervisor;
  readonly sinks: SinkBook;
  readonly rollout: SinkRollout;
  /** Checks what it would take, and throws where that is wrong; returns what takes it. */
  prepare(config: Config): Promise<() => void>;
}

/** What a reload changed. */
export interface ReloadReport {
  /** Keys of the configuration, such as `routes`. */
  changed: string[];
}

/**
 * Takes a configuration anew, and with it certificates, CA and shared secret. All that can be wrong is
 * found first; what is wrong is refused whole. Established connections are not touched.
 */
export class Reloader {
  readonly #target: ReloadTarget;
  readonly #log: Logger;
  #config: Config;
  #running: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(target: ReloadTarget, log: Logger) {
    this.#target = target;
    this.#log = log;
    this.#config = target.begun;
  }

  /** The configuration in force. */
  get config(): Config {
    return this.#config;
  }

  /**
   * One at a time.
   * @param read reads the configuration; what it throws refuses the reload
   * @throws GatewayError naming what is wrong: then the old one is in force
   */
  reload(read: () => Config): Promise<ReloadReport> {
    const reloaded = this.#running.then(() => this.#reload(read));
    this.#running = reloaded.catch(() => {});
    return reloaded;
  }

  /** Waits for what is under way; nothing more is reloaded. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#running;
  }

  async #reload(read: () => Config): Promise<ReloadReport> {
    if (this.#closed) throw new GatewayError('D4GW_E_CONFIG', 'the gateway is stopping');
    const { begun, sources, acceptor, supervisor, sinks } = this.#target;
    const config = read();
    const changed = reloadedKeys(this.#config, config, begun);
    const prepared: PreparedSource[] = await prepareSources(config, this.#log);
    const sharedSecret = prepareSecret(config);
    const sinkPlan = sinks.plan(config.sinks);
    await prepareSinks(config, changedSinks(this.#config, config));
    const take = await this.#target.prepare(config);
    const plan = sources.plan(prepared);
    const { revision, slots } = sinkPlan;
    if (sinkPlan.added.length > 0) {
      await this.#target.rollout.prepare({ t: 'sinks', config, slots, revision });
    }
    // Workers know of new listeners before they bring the first connection.
    const known = [...sources.starts, ...plan.added.map((number) => plan.entries[number]!.start)];
    supervisor.change({ sources: known });
    supervisor.broadcast({ t: 'sources', sources: known });
    const listeners = plan.added.map((number) => ({
      number,
      config: plan.entries[number]!.config,
    }));
    const names = await acceptor.add(listeners).catch((error) => {
      this.#target.rollout.undo(revision);
      throw error;
    });
    // From here on nothing fails.
    sources.commit(plan);
    sinks.commit(sinkPlan);
    for (const [index, number] of plan.added.entries()) sources.named(number, names[index]!);
    acceptor.remove(plan.removed);
    const secret = sharedSecret === undefined ? {} : { sharedSecret };
    const { starts } = sources;
    supervisor.change({ config, sources: starts, slots, ...secret });
    supervisor.broadcast({ t: 'sources', sources: starts });
    supervisor.broadcast({ t: 'reload', config, slots, revision, ...secret });
    this.#config = config;
    take();
    const { added, removed } = sinkPlan;
    const sinkChanges = added.length + removed.length > 0 ? { sinks: { added, removed } } : {};
    this.#log.info({ changed, sources: sources.names, ...sinkChanges }, 'reloaded');
    return { changed };
  }
}

/** Names of sinks that are new, or have another configuration. */
function changedSinks(now: Config, next: Config): string[] {
  return Object.keys(next.sinks).filter(
    (name) => !isDeepStrictEqual(now.sinks[name], next.sinks[name]),
  );
}
