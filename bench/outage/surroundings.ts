import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { selfSigned } from '../../src/config/self-signed.js';
import { type RelayReport, readLedger } from '../../src/ledger/report.js';
import { ownDirectory } from '../proc/owned.js';
import type { Surroundings } from '../subjects/subject.js';

export const PAYLOAD_BYTES = 4096;
export const STREAMS = 16;
export type RelayKind = 'relay' | 'link';

export async function surroundings(parent: string): Promise<Surroundings> {
  const { cert, key } = await selfSigned();
  const secret = Buffer.from(randomBytes(32).toString('hex'));
  return { dir: ownDirectory(parent), cert, key, secret };
}

/** The books of the one relay of the gateway in a directory. */
export async function relayOf(dir: string): Promise<RelayReport> {
  const [relay] = (await readLedger(join(dir, 'data'))).relays;
  if (!relay) throw new Error(`the gateway in ${dir} has no relay`);
  return relay;
}

/** Waits until a relay has sent so many payload bytes in all; resolves with when, in ms. */
export async function untilSent(
  dir: string,
  bytes: () => number,
  deadlineMs: number,
): Promise<{ at: number; sent: number }> {
  const began = performance.now();
  for (;;) {
    const { sent } = await relayOf(dir);
    const at = performance.now();
    if (sent.bytes >= bytes()) return { at, sent: sent.bytes };
    if (at - began > deadlineMs) {
      throw new Error(`${sent.bytes} of ${bytes()} bytes sent within ${deadlineMs} ms`);
    }
    await sleep(POLL_MS);
  }
}

/** The ledger is read as a whole each time. */
const POLL_MS = 200;
