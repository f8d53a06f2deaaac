import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../src/errors.js';
import { Fleet } from '../load/fleet.js';
import { RpcProcess } from '../proc/rpc.js';
import { treeCpuSeconds, treeMemory } from '../proc/tree.js';
import type { Subject } from '../subjects/subject.js';
import type { HmacParams, HmacResult } from '../yardsticks/hmac-loop.js';
import type { Series } from './results.js';
import { IDLE_SENSORS } from './servers.js';

/** Samples that are no streams: HMAC in memory, handshakes, memory of idle connections. */

const HMAC_MODULE = new URL('../yardsticks/hmac-loop.js', import.meta.url);
const HMAC_DEADLINE_MS = 60_000;
const HANDSHAKES = 600;
/** Before the first sample: by then a server's code is compiled, as in one that has run for a while. */
const WARM_HANDSHAKES = 2_000;
const HANDSHAKES_DEADLINE_MS = 30_000;
/** The first connections warm a server up: what it allocates once is not counted. */
const WARM_CONNECTIONS = 1_000;
const IDLE_DEADLINE_MS = 120_000;
/** For a server to go on with what it puts off. */
const REST_MS = 500;

export function add(series: Series, metric: string, value: number): void {
  series.values[metric] ??= [];
  series.values[metric].push(value);
}

/** The HMAC loop's process; one for a run. */
export class HmacLoop {
  #process: RpcProcess | undefined;

  /** Adds a sample to `hmac/<way>/<size>` of each way, and the best of them to `hmac/best/<size>`. */
  async sample(params: HmacParams, seriesOf: (way: string) => Series): Promise<void> {
    try {
      this.#process ??= RpcProcess.start(HMAC_MODULE);
      const rates = await this.#process.call<HmacResult>('measure', params, HMAC_DEADLINE_MS);
      for (const [way, rate] of Object.entries(rates)) add(seriesOf(way), 'gbpsPerCore', rate);
      add(seriesOf('best'), 'gbpsPerCore', Math.max(...Object.values(rates)));
    } catch (error) {
      seriesOf('best').failures.push(messageOf(error));
    }
  }

  async stop(): Promise<void> {
    await this.#process?.stop();
  }
}

/** 1/(1/read + 1/hmac), sample by sample: both parts on one core, one after the other. */
export function addBound(read: Series, hmac: Series, bound: Series): void {
  const rates = (series: Series) => series.values.gbpsPerCore ?? [];
  bound.failures = [...read.failures, ...hmac.failures];
  bound.values.gbpsPerCore = rates(read)
    .slice(0, rates(hmac).length)
    .map((rate, index) => 1 / (1 / rate + 1 / rates(hmac)[index]!));
}

export async function handshakeSample(
  subject: Subject,
  fleet: Fleet,
  series: Series,
): Promise<void> {
  try {
    const to = { kind: 'tls', host: subject.host, port: subject.ports.tls! } as const;
    if (series.values.handshakesPerCore === undefined) {
      await fleet.handshakes(to, WARM_HANDSHAKES, HANDSHAKES_DEADLINE_MS);
    }
    const before = treeCpuSeconds(subject.pid) ?? Number.NaN;
    const result = await fleet.handshakes(to, HANDSHAKES, HANDSHAKES_DEADLINE_MS);
    const cpuSeconds = (treeCpuSeconds(subject.pid) ?? Number.NaN) - before;
    const { done, failed, seconds, protocol } = result;
    if (done !== HANDSHAKES || protocol !== 'TLSv1.3') {
      series.failures.push(
        `${done} of ${HANDSHAKES} handshakes done, ${failed} failed, ${protocol}`,
      );
      return;
    }
    add(series, 'handshakesPerCore', done / cpuSeconds);
    add(series, 'handshakesPerSecond', done / seconds);
  } catch (error) {
    series.failures.push(messageOf(error));
  }
}

/** Resident memory that connections take which shook hands, sent one frame and then nothing. */
export async function idleSample(
  start: () => Promise<Subject>,
  secret: Buffer,
  connections: number,
  series: Series,
): Promise<void> {
  let subject: Subject | undefined;
  const fleet = new Fleet(1, secret);
  try {
    subject = await start();
    const to = { kind: 'tls', host: subject.host, port: subject.ports.tls! } as const;
    const open = async (first: number, count: number) => {
      const options = { first, count, frame: true, deadlineMs: IDLE_DEADLINE_MS };
      const { opened, errors } = await fleet.openIdle(to, options);
      if (opened !== count) throw new Error(`${opened} of ${count} opened: ${errors[0] ?? ''}`);
      await sleep(REST_MS);
    };
    await open(IDLE_SENSORS, WARM_CONNECTIONS);
    const before = treeMemory(subject.pid).rssBytes;
    await open(IDLE_SENSORS + WARM_CONNECTIONS, connections);
    add(series, 'idleBytes', (treeMemory(subject.pid).rssBytes - before) / connections);
    const gone = await fleet.closeIdle(IDLE_DEADLINE_MS);
    if (gone > 0) series.failures.push(`the server had ended ${gone} idle connections`);
  } catch (error) {
    series.failures.push(messageOf(error));
  } finally {
    await fleet.stop();
    series.failures.push(...((await subject?.stop()) ?? []));
  }
}
