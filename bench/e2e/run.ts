import { randomBytes } from 'node:crypto';
import { selfSigned } from '../../src/config/self-signed.js';
import { messageOf } from '../../src/errors.js';
import { Fleet } from '../load/fleet.js';
import type { Format } from '../load/payload.js';
import { describeMachine, fileSystemOf, loadAverage } from '../machine.js';
import { ownDirectory, removeDirectory } from '../proc/owned.js';
import { addBound, HmacLoop, handshakeSample, idleSample } from './extras.js';
import { type Contender, type Group, type HmacContender, seriesOf, serverKey } from './plan.js';
import type { Results, Series } from './results.js';
import { takeSample } from './sample.js';
import { Servers } from './servers.js';

/** Runs a plan: samples of each group's contenders in turns, A, B, A, B. */

export interface RunOptions {
  form: Results['form'];
  command: string;
  samples: number;
  sampleMilliseconds: number;
  /** CPU time of each way of the HMAC loop, a sample. */
  hmacMilliseconds: number;
  idleSamples: number;
  workers: number | 'auto';
  format: Format;
  loadProcesses: number;
  /** Where data is stored meanwhile: should be on a real disk. */
  dir: string;
  skipped: readonly string[];
  say: (text: string) => void;
  /** Called after each group with the series that it filled. */
  finished: (group: Group, series: readonly Series[]) => void;
}

/** Frames of a stream at most: a bound for what one sample stores. */
const SAMPLE_BYTES_MAX = 6 * 1024 ** 3;
/** How much longer a long sample is. */
const LONG_FACTOR = 2;
const MIN_FREE_BYTES = 2 * 1024 ** 3;

export async function runPlan(plan: readonly Group[], options: RunOptions): Promise<Results> {
  const dir = ownDirectory(options.dir);
  const run = new Run(dir, options, await selfSigned());
  try {
    return await run.all(plan);
  } finally {
    await run.stop();
    removeDirectory(dir);
  }
}

class Run {
  readonly #options: RunOptions;
  readonly #dir: string;
  readonly #secret = randomBytes(32).toString('hex');
  readonly #series = new Map<string, Series>();
  readonly #fleets = new Map<string, Fleet>();
  readonly #hmac = new HmacLoop();
  readonly #servers: Servers;

  constructor(dir: string, options: RunOptions, { cert, key }: { cert: string; key: string }) {
    this.#dir = dir;
    this.#options = options;
    const around = { dir, cert, key, secret: this.#key };
    this.#servers = new Servers(around, options.workers, options.say);
  }

  get #key(): Buffer {
    return Buffer.from(this.#secret);
  }

  async all(plan: readonly Group[]): Promise<Results> {
    const startedAt = new Date();
    const loadBefore = loadAverage();
    for (const [index, group] of plan.entries()) {
      this.#options.say(`${index + 1}/${plan.length} ${group.title}`);
      const filled = await this.#group(group);
      const wanted = plan.slice(index + 1).flatMap(({ contenders }) => contenders.flatMap(keyOf));
      await this.#servers.retire(new Set(wanted));
      this.#options.finished(group, filled);
    }
    const { samples, sampleMilliseconds, workers, loadProcesses, format } = this.#options;
    return {
      format: 1,
      startedAt: startedAt.toISOString(),
      seconds: Math.round((Date.now() - startedAt.getTime()) / 1000),
      form: this.#options.form,
      command: this.#options.command,
      machine: describeMachine(),
      settings: {
        ...{ samples, workers, loadProcesses, loadBefore },
        sampleSeconds: sampleMilliseconds / 1000,
        payload: format,
        fileSystem: fileSystemOf(this.#dir).name,
      },
      series: [...this.#series.values()],
      skipped: [...this.#options.skipped],
    };
  }

  async stop(): Promise<void> {
    await this.#servers.retire(new Set());
    for (const fleet of this.#fleets.values()) await fleet.stop();
    await this.#hmac.stop();
  }

  async #group({ contenders, tag, long = false, factor }: Group): Promise<Series[]> {
    const times = factor ?? (long ? LONG_FACTOR : 1);
    const milliseconds = this.#options.sampleMilliseconds * times;
    const before = new Map([...this.#series].map(([id, series]) => [id, countOf(series)]));
    for (let sample = 0; sample < this.#options.samples; sample++) {
      for (const contender of contenders) await this.#sample(contender, sample, milliseconds, tag);
    }
    this.#bounds(contenders, tag);
    return [...this.#series.values()].filter((series) => before.get(series.id) !== countOf(series));
  }

  async #sample(
    contender: Contender,
    sample: number,
    milliseconds: number,
    tag?: string,
  ): Promise<void> {
    const { hmacMilliseconds, idleSamples, format } = this.#options;
    if (contender.kind === 'hmac') {
      const { payloadBytes } = contender;
      const params = { payloadBytes, milliseconds: hmacMilliseconds };
      await this.#hmac.sample(params, (way) => this.#hmacSeries(way, contender));
      return;
    }
    const { server } = contender;
    if (contender.kind === 'idle') {
      if (sample >= idleSamples) return;
      const id = `${server.subject}/idle/${contender.connections}`;
      const series = this.#of({ id, subject: server.subject, idle: contender.connections });
      const start = () => this.#servers.start(server);
      await idleSample(start, this.#key, contender.connections, series);
      return;
    }
    const series =
      contender.kind === 'handshakes'
        ? this.#of({ id: `${server.subject}/handshakes`, subject: server.subject })
        : this.#of(seriesOf(contender, tag));
    try {
      const subject = await this.#servers.get(server, series);
      if (contender.kind === 'handshakes') {
        await handshakeSample(subject, this.#fleet(undefined), series);
        return;
      }
      const { transport, payloadBytes, connections, loadCpus } = contender;
      if (server.sink !== 'blackhole') this.#checkRoom();
      await takeSample(
        subject,
        this.#fleet(loadCpus),
        {
          ...{ transport, format, payloadBytes, connections },
          milliseconds,
          framesMax: Math.ceil(SAMPLE_BYTES_MAX / connections / payloadBytes),
        },
        series,
      );
    } catch (error) {
      series.failures.push(messageOf(error));
    }
  }

  #bounds(contenders: readonly Contender[], tag?: string): void {
    for (const contender of contenders) {
      if (contender.kind !== 'stream' || contender.server.subject !== 'read') continue;
      const read = this.#of(seriesOf(contender, tag));
      const { transport, payloadBytes, connections } = contender;
      const hmac = this.#series.get(`hmac/best/${payloadBytes}`);
      if (!hmac) continue;
      const id = `bound/${transport}/${payloadBytes}/${connections}c`;
      addBound(
        read,
        hmac,
        this.#of({ id, subject: 'bound', transport, payloadBytes, connections }),
      );
    }
  }

  #hmacSeries(way: string, { payloadBytes }: HmacContender): Series {
    return this.#of({
      ...{ id: `hmac/${way}/${payloadBytes}`, subject: 'hmac', variant: way, payloadBytes },
    });
  }

  /** The series of this run that has the id; a new one where there is none. */
  #of(fresh: Omit<Series, 'values' | 'failures'>): Series {
    const known = this.#series.get(fresh.id);
    if (known) return known;
    const series = { ...fresh, values: {}, failures: [] };
    this.#series.set(series.id, series);
    return series;
  }

  #fleet(cpus: string | undefined): Fleet {
    const known = this.#fleets.get(cpus ?? '');
    if (known) return known;
    const fleet = new Fleet(this.#options.loadProcesses, this.#key, cpus);
    this.#fleets.set(cpus ?? '', fleet);
    return fleet;
  }

  #checkRoom(): void {
    const { freeBytes } = fileSystemOf(this.#dir);
    if (freeBytes < MIN_FREE_BYTES) {
      throw new Error(`${this.#dir}: ${freeBytes} bytes free, ${MIN_FREE_BYTES} needed`);
    }
  }
}

function keyOf(contender: Contender): string[] {
  return contender.kind === 'stream' || contender.kind === 'handshakes'
    ? [serverKey(contender.server)]
    : [];
}

const countOf = ({ values, failures }: Series) =>
  Object.values(values).reduce((sum, list) => sum + list.length, failures.length);
