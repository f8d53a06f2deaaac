import { join } from 'node:path';
import { Fleet } from '../load/fleet.js';
import { fileSystemOf } from '../machine.js';
import { configureGateway, type GatewaySubject, runGateway } from '../subjects/gateway.js';
import { linkToken } from '../subjects/relaying.js';
import type { Surroundings } from '../subjects/subject.js';
import { PacedLoad } from './paced.js';
import { freePort } from './port.js';
import { PAYLOAD_BYTES, type RelayKind, relayOf, STREAMS, untilSent } from './surroundings.js';

/** Sensors of the live traffic have numbers of their own. */
const LIVE_FIRST = 1_000;
const LIVE_STREAMS = 4;
/** What the last second brought is always on its way. */
const LAG_MS = 1_000;
const RECONNECT_DEADLINE_MS = 90_000;
const FILL_DEADLINE_MS = 3_600_000;
const RATE_MS = 5_000;
const RATE_SAMPLES = 3;

export interface CatchUpOptions {
  kind: RelayKind;
  bytes: number;
  /** Of the live traffic beside it. */
  liveGbps: number;
}

export interface CatchUp {
  filledBytes: number;
  fillSeconds: number;
  /** From when the server was there until it had got something. */
  reconnectSeconds: number;
  drainSeconds: number;
  /** What left meanwhile, of the spool and of the live traffic. */
  drainGbps: number;
  /** What leaves of a full load with an empty spool. */
  liveRateGbps: number[];
  liveSentBytes: number;
  /** The most that the live sensors were behind their rate: while it drained, and before. */
  liveLateMs: number;
  liveLateBeforeMs: number;
  problems: string[];
}

/**
 * Fills a relay's spool while its server is away, lets the server come, and measures how fast the
 * spool drains while sensors go on sending; then what the same relay sends with an empty spool.
 */
export async function catchUp(options: CatchUpOptions, around: Surroundings): Promise<CatchUp> {
  const { kind, bytes } = options;
  const { freeBytes } = fileSystemOf(around.dir);
  if (freeBytes < bytes * 1.5) throw new Error(`${freeBytes} bytes free, too few for ${bytes}`);
  const both = { workers: 'auto', threads: 'auto', small: false, sink: 'blackhole' } as const;
  const at = { tls: await freePort(), wss: await freePort() };
  const farOptions = { ...both, wss: true, at };
  const farDir = configureGateway(farOptions, around);
  const spool = { maxBytes: bytes * 2 };
  const relay =
    kind === 'relay'
      ? { to: `tls://127.0.0.1:${at.tls}`, spool }
      : {
          to: `wss://127.0.0.1:${at.wss}`,
          tokenFile: await linkToken(join(farDir, 'config.yaml'), around),
          spool,
        };
  const nearOptions = { ...both, sink: kind, relay };
  const nearDir = configureGateway(nearOptions, around);
  const near = await runGateway(nearOptions, nearDir);
  const fleet = new Fleet(1, around.secret);
  let far: GatewaySubject | undefined;
  try {
    const filled = await send(near, fleet, FILL_DEADLINE_MS, bytes);
    const calm = await live(near, options, around);
    await new Promise((resolve) => setTimeout(resolve, RATE_MS));
    await calm.stop();
    const before = filled.bytes + calm.sentBytes;
    const load = await live(near, { ...options, first: LIVE_FIRST + LIVE_STREAMS }, around);
    const { sent } = await relayOf(nearDir);
    far = await runGateway(farOptions, farDir);
    const upAt = performance.now();
    // When it is tried again is the backoff's to say.
    const begin = await untilSent(nearDir, () => sent.bytes + 1, RECONNECT_DEADLINE_MS);
    const lag = (options.liveGbps * 1e9 * LAG_MS) / 8000;
    const end = await untilSent(nearDir, () => before + load.sentBytes - lag, FILL_DEADLINE_MS);
    const drainSeconds = (end.at - begin.at) / 1000;
    await load.stop();
    const total = before + load.sentBytes;
    await untilSent(nearDir, () => total, 60_000);
    const rates = await liveRates(near, nearDir, fleet, total);
    await fleet.stop();
    const problems = [...(await near.stop()), ...(await far.stop())];
    return {
      filledBytes: filled.bytes,
      fillSeconds: filled.seconds,
      reconnectSeconds: (begin.at - upAt) / 1000,
      drainSeconds,
      drainGbps: ((end.sent - begin.sent) * 8) / 1e9 / drainSeconds,
      liveRateGbps: rates,
      liveSentBytes: load.sentBytes,
      liveLateMs: load.lateMsMax,
      liveLateBeforeMs: calm.lateMsMax,
      problems,
    };
  } catch (error) {
    await fleet.stop();
    await near.stop();
    await far?.stop();
    throw error;
  }
}

function live(
  near: GatewaySubject,
  { liveGbps, first = LIVE_FIRST }: CatchUpOptions & { first?: number },
  { secret }: Surroundings,
): Promise<PacedLoad> {
  return PacedLoad.start(
    { host: near.host, port: near.ports.tls },
    { key: secret, payloadBytes: PAYLOAD_BYTES, streams: LIVE_STREAMS, first, gbps: liveGbps },
  );
}

/** A full load for a while, or to its end. */
async function send(near: GatewaySubject, fleet: Fleet, milliseconds: number, bytesMax: number) {
  await fleet.prepare({ format: 'jsonl', payloadBytes: PAYLOAD_BYTES, streams: STREAMS });
  await fleet.connect({ kind: 'tls', host: near.host, port: near.ports.tls });
  const framesMax = Math.ceil(bytesMax / STREAMS / PAYLOAD_BYTES);
  const sent = await fleet.run({ milliseconds, framesMax, closeDeadlineMs: 60_000 });
  const failed = sent.streams.find(({ error }) => error !== undefined);
  if (failed) throw new Error(`a sensor failed: ${failed.error}`);
  const seconds = (sent.lastByteAt - sent.firstByteAt) / 1000;
  return { bytes: sent.payloadBytes, seconds };
}

/** From the first byte until all has left. */
async function liveRates(
  near: GatewaySubject,
  nearDir: string,
  fleet: Fleet,
  sentBefore: number,
): Promise<number[]> {
  const rates: number[] = [];
  let total = sentBefore;
  for (let sample = 0; sample < RATE_SAMPLES; sample += 1) {
    const began = performance.now();
    const { bytes } = await send(near, fleet, RATE_MS, Number.MAX_SAFE_INTEGER);
    total += bytes;
    const { at } = await untilSent(nearDir, () => total, 300_000);
    rates.push((bytes * 8) / 1e6 / (at - began));
  }
  return rates;
}
