import { setTimeout as sleep } from 'node:timers/promises';
import { Fleet } from '../load/fleet.js';
import { treeMemory } from '../proc/tree.js';
import { configureGateway, runGateway } from '../subjects/gateway.js';
import type { Surroundings } from '../subjects/subject.js';
import { freePort } from './port.js';
import { PAYLOAD_BYTES, type RelayKind, relayOf, STREAMS } from './surroundings.js';

const SAMPLE_MS = 10_000;
const RUN_MS = 30_000;

export interface DeadOptions {
  kind: RelayKind;
  minutes: number;
  spoolBytes: number;
  tokenFile: string;
  say(text: string): void;
}

export interface Dead {
  /** Resident bytes of all processes, every 10 s. */
  rssBytes: number[];
  sentBytes: number;
  droppedBytes: number;
  problems: string[];
}

/** A full load on a gateway whose relay's server is away: what it holds in memory meanwhile. */
export async function deadRelay(options: DeadOptions, around: Surroundings): Promise<Dead> {
  const { kind, minutes, spoolBytes, tokenFile, say } = options;
  const port = await freePort();
  const spool = { maxBytes: spoolBytes, onFull: 'drop-oldest' };
  const relay =
    kind === 'relay'
      ? { to: `tls://127.0.0.1:${port}`, spool }
      : { to: `wss://127.0.0.1:${port}`, tokenFile, spool };
  const common = { workers: 'auto', threads: 'auto', small: false } as const;
  const gatewayOptions = { ...common, sink: kind, relay };
  const dir = configureGateway(gatewayOptions, around);
  const near = await runGateway(gatewayOptions, dir);
  const fleet = new Fleet(1, around.secret);
  const rssBytes: number[] = [];
  const until = performance.now() + minutes * 60_000;
  const sampling = (async () => {
    while (performance.now() < until) {
      await sleep(SAMPLE_MS);
      rssBytes.push(treeMemory(near.pid).rssBytes);
      say(`${rssBytes.length * 10} s: ${Math.round(rssBytes.at(-1)! / 2 ** 20)} MiB`);
    }
  })();
  try {
    await fleet.prepare({ format: 'jsonl', payloadBytes: PAYLOAD_BYTES, streams: STREAMS });
    let sentBytes = 0;
    while (performance.now() < until) {
      await fleet.connect({ kind: 'tls', host: near.host, port: near.ports.tls });
      const milliseconds = Math.min(RUN_MS, until - performance.now());
      const framesMax = Number.MAX_SAFE_INTEGER;
      const run = await fleet.run({ milliseconds, framesMax, closeDeadlineMs: 60_000 });
      sentBytes += run.payloadBytes;
    }
    await sampling;
    const { dropped } = await relayOf(dir);
    return { rssBytes, sentBytes, droppedBytes: dropped.full?.bytes ?? 0, problems: [] };
  } finally {
    await fleet.stop();
    for (const problem of await near.stop()) say(problem);
  }
}
