import { messageOf } from '../../src/errors.js';
import { Fleet } from '../load/fleet.js';
import { startChildServer } from '../subjects/child-server.js';
import { startGateway } from '../subjects/gateway.js';
import { startRelaying } from '../subjects/relaying.js';
import { startOpenssl, startSocat } from '../subjects/socat.js';
import type { Subject, Surroundings } from '../subjects/subject.js';
import { startWatched } from '../subjects/watched.js';
import { type ServerSpec, serverKey } from './plan.js';
import type { Series } from './results.js';

/** Numbers of the sensors that are idle begin here, beyond those of any load. */
export const IDLE_SENSORS = 100_000;
const IDLE_OPEN_DEADLINE_MS = 180_000;
const IDLE_CLOSE_DEADLINE_MS = 60_000;

interface Running {
  subject: Subject;
  idle: Fleet | undefined;
  /** Series that took samples of it: what it finds wrong at its end is wrong with all of them. */
  series: Set<Series>;
}

/** The servers that are up: started when first asked for, ended when no later group needs them. */
export class Servers {
  readonly #running = new Map<string, Running>();
  readonly #around: Surroundings;
  readonly #workers: number | 'auto';
  readonly #say: (text: string) => void;

  constructor(around: Surroundings, workers: number | 'auto', say: (text: string) => void) {
    this.#around = around;
    this.#workers = workers;
    this.#say = say;
  }

  async get(spec: ServerSpec, series: Series): Promise<Subject> {
    const key = serverKey(spec);
    let running = this.#running.get(key);
    if (!running) {
      const subject = await this.start(spec);
      running = { subject, idle: undefined, series: new Set() };
      this.#running.set(key, running);
      if (spec.idle !== undefined) running.idle = await this.#openIdle(subject, spec.idle);
    }
    running.series.add(series);
    return running.subject;
  }

  /** A server of its own, that the caller ends. */
  start(spec: ServerSpec): Promise<Subject> {
    const { subject, sink, threads = 'auto', cpus, small = false, viewers } = spec;
    switch (subject) {
      case 'gateway':
        if (sink === 'relay' || sink === 'link') {
          return startRelaying(
            { sink, threads, cpus, small, workers: this.#workers },
            this.#around,
          );
        }
        return viewers === undefined
          ? startGateway({ sink, threads, cpus, small, workers: this.#workers }, this.#around)
          : startWatched(
              { sink, threads, cpus, small, workers: this.#workers },
              viewers,
              this.#around,
            );
      case 'socat':
        return startSocat(this.#around, cpus);
      case 'openssl':
        return startOpenssl(this.#around, cpus);
      default:
        return startChildServer(subject, sink, this.#around, cpus);
    }
  }

  async #openIdle(subject: Subject, count: number): Promise<Fleet> {
    this.#say(`opening ${count} idle connections`);
    const fleet = new Fleet(1, this.#around.secret);
    const to = { kind: 'tls', host: subject.host, port: subject.ports.tls! } as const;
    const options = { first: IDLE_SENSORS, count, frame: true, deadlineMs: IDLE_OPEN_DEADLINE_MS };
    const { opened, errors } = await fleet.openIdle(to, options);
    if (opened !== count) {
      await fleet.stop();
      throw new Error(`${opened} of ${count} idle connections opened: ${errors[0] ?? 'too slow'}`);
    }
    return fleet;
  }

  /** Ends every server whose key is not wanted any more. */
  async retire(wanted: ReadonlySet<string>): Promise<void> {
    for (const [key, running] of this.#running) {
      if (wanted.has(key)) continue;
      this.#running.delete(key);
      await this.#end(running);
    }
  }

  async #end({ subject, idle, series }: Running): Promise<void> {
    const problems: string[] = [];
    try {
      const gone = await idle?.closeIdle(IDLE_CLOSE_DEADLINE_MS);
      if (gone) problems.push(`the server had ended ${gone} idle connections`);
      await idle?.stop();
      problems.push(...(await subject.stop()));
    } catch (error) {
      problems.push(messageOf(error));
    }
    if (problems.length === 0) return;
    for (const each of series) each.failures.push(...problems);
    this.#say(`FAILED at the end of a server: ${problems.join('; ')}`);
  }
}
