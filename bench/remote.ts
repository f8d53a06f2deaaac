import type { KeyObject } from 'node:crypto';
import { messageOf } from '../src/errors.js';
import { sizeText } from './e2e/plan.js';
import { GENERATOR_SATURATED, spreadText } from './e2e/print.js';
import { Fleet } from './load/fleet.js';
import type { Destination } from './load/messages.js';
import type { Format } from './load/payload.js';
import { summarize } from './stats.js';

/** `d4gw bench --to`: the load alone, at another server, which keeps its own books. */
export interface RemoteOptions {
  to: Destination;
  name: string;
  key: KeyObject;
  /** The one sensor that the server knows; otherwise each connection is a sensor of its own. */
  uuid?: string;
  sizes: readonly number[];
  connections: number;
  samples: number;
  seconds: number;
  format: Format;
  loadProcesses: number;
}

const CLOSE_DEADLINE_MS = 60_000;

/** @returns the exit code: 1 when a connection did not end as it should */
export async function runRemote(options: RemoteOptions): Promise<number> {
  const { to, connections, format, samples, seconds, uuid } = options;
  const fleet = new Fleet(options.loadProcesses, options.key.export());
  let failed = 0;
  print(`load to ${options.name}; what was sent, and not what the server made of it`);
  try {
    for (const payloadBytes of options.sizes) {
      const rates: number[] = [];
      const totals = { frames: 0, bytes: 0 };
      let busiest = 0;
      let problem: string | undefined;
      for (let sample = 0; sample < samples; sample++) {
        await fleet.prepare({
          ...{ format, payloadBytes, streams: connections },
          ...(uuid === undefined ? {} : { uuid }),
        });
        try {
          await fleet.connect(to);
          const sent = await fleet.run({
            milliseconds: seconds * 1000,
            framesMax: Number.MAX_SAFE_INTEGER,
            closeDeadlineMs: CLOSE_DEADLINE_MS,
          });
          problem ??= sent.streams.find(({ error }) => error !== undefined)?.error;
          rates.push((sent.payloadBytes * 8) / 1e6 / (sent.lastByteAt - sent.firstByteAt));
          totals.frames += sent.frames;
          totals.bytes += sent.payloadBytes;
          busiest = Math.max(busiest, sent.busiest);
        } catch (error) {
          problem ??= messageOf(error);
          break;
        }
      }
      if (problem !== undefined) failed += 1;
      const load = busiest >= GENERATOR_SATURATED ? '  the generator was the limit' : '';
      const rate = rates.length > 0 ? `${spreadText(summarize(rates), 2)} Gbps sent` : '';
      const counts = `${totals.frames} frames, ${totals.bytes} payload bytes`;
      const end = problem === undefined ? load : `  FAILED: ${problem}`;
      print(`${sizeText(payloadBytes).padStart(7)}  ${rate}  ${counts}${end}`);
    }
  } finally {
    await fleet.stop();
  }
  return failed === 0 ? 0 : 1;
}

const print = (text: string) => process.stdout.write(`${text}\n`);
