import { messageOf } from '../../src/errors.js';
import type { Fleet, LoadResult } from '../load/fleet.js';
import { payloadOf } from '../load/frames.js';
import type { Format, Payload } from '../load/payload.js';
import { resetPeaks, treeCpuSeconds, treeMemory } from '../proc/tree.js';
import type { Subject } from '../subjects/subject.js';
import type { Series } from './results.js';
import { settle } from './settle.js';

/** One sample: a load on a server that is up, measured from the first byte to the proof. */
export interface StreamLoad {
  transport: 'tls' | 'tcp';
  format: Format;
  payloadBytes: number;
  connections: number;
  milliseconds: number;
  framesMax: number;
  /** For the server to come no further before what is missing counts as lost. */
  stallMs?: number;
}

const CLOSE_DEADLINE_MS = 30_000;

/**
 * Takes a sample and adds its values to the series, or, where anything was lost or went wrong, what
 * that was: then nothing of it becomes a rate.
 */
export async function takeSample(
  subject: Subject,
  fleet: Fleet,
  load: StreamLoad,
  series: Series,
): Promise<void> {
  try {
    const { values, problems } = await measure(subject, fleet, load);
    if (problems.length > 0) series.failures.push(problems.join('; '));
    else {
      for (const [metric, value] of Object.entries(values)) {
        series.values[metric] ??= [];
        series.values[metric].push(value);
      }
    }
  } catch (error) {
    series.failures.push(messageOf(error));
  }
}

async function measure(subject: Subject, fleet: Fleet, load: StreamLoad) {
  const { transport, format, payloadBytes, connections } = load;
  const port = subject.ports[transport];
  if (port === undefined) throw new Error(`the server has no ${transport} port`);
  await fleet.prepare({ format, payloadBytes, streams: connections });
  await fleet.connect({ kind: transport, host: subject.host, port });
  const before = await subject.account();
  resetPeaks(subject.pid);
  await subject.begin?.();
  await subject.loopDelayP99Ms?.();
  const cpuBefore = cpuOf(subject);
  const sent = await fleet.run({
    milliseconds: load.milliseconds,
    framesMax: load.framesMax,
    closeDeadlineMs: CLOSE_DEADLINE_MS,
  });
  const settled = await settle(() => subject.account(), before, sent, load.stallMs);
  const cpuSeconds = cpuOf(subject) - cpuBefore;
  const memory = treeMemory(subject.pid);
  const delay = (await subject.loopDelayP99Ms?.()) ?? null;
  const beside = (await subject.rest?.()) ?? [];
  const payload = sharedPayload(format, payloadBytes, connections);
  const problems = [
    ...settled.problems,
    ...beside,
    ...sendErrors(sent),
    ...((await subject.checkStored?.(sent.streams, payload)) ?? []),
    ...(await subject.account()).problems.filter((line) => !before.problems.includes(line)),
    ...(sent.frames === 0 ? ['nothing was sent'] : []),
  ];
  const wallSeconds = (settled.at - sent.firstByteAt) / 1000;
  const gigabits = (sent.payloadBytes * 8) / 1e9;
  const values: Record<string, number> = {
    gbps: gigabits / wallSeconds,
    framesPerSecond: sent.frames / wallSeconds,
    // A sample shorter than a tick has no figure for it.
    ...(cpuSeconds > 0 ? { gbpsPerCore: gigabits / cpuSeconds } : {}),
    cpuSeconds,
    peakRssBytes: memory.peakBytes,
    workerPeakRssBytes: memory.workerPeakBytes,
    ...(subject.budgetBytes === undefined
      ? {}
      : { workerOverBudgetBytes: memory.workerPeakBytes - subject.budgetBytes }),
    ...(delay === null ? {} : { loopDelayP99Ms: delay }),
    generatorCores: sent.busiest,
  };
  return { values, problems };
}

function cpuOf(subject: Subject): number {
  const seconds = treeCpuSeconds(subject.pid);
  if (seconds === undefined) throw new Error('the server has ended');
  return seconds;
}

function sendErrors(sent: LoadResult): string[] {
  const failed = sent.streams.filter(({ error }) => error !== undefined);
  const first = failed[0];
  return first ? [`${failed.length} connections failed, the first: ${first.error}`] : [];
}

let kept: { id: string; payload: Payload } | undefined;

/** The payload that was sent, for the comparison with what is stored; the last one is kept. */
function sharedPayload(format: Format, payloadBytes: number, streams: number): Payload {
  const id = `${format}/${payloadBytes}/${streams}`;
  if (kept?.id !== id) kept = { id, payload: payloadOf(format, payloadBytes, streams) };
  return kept.payload;
}
