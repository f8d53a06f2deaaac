import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode } from '../sinks/files/directories.js';
import { hasAccount, readAccount } from './account.js';
import { diskBlocks, type ReadSessions } from './disk-blocks.js';
import { noDamage } from './records.js';
import { segmentPath } from './segment.js';
import { FileSource } from './segment-reader.js';
import type { Amount } from './session-record.js';
import { readIndex, segmentsOf } from './spool-recovery.js';

/** A worker that starts meanwhile may bring the account in order: it is then read again. */
const TRIES_MAX = 5;
const PART_NAME = /^\d+$/;

/**
 * What the spools below a directory, one for each worker, hold or held of sessions whose process has
 * died: by session id. Of a session that is not in it nothing is known.
 * @throws GatewayError D4GW_E_SPOOL where an account can't be read
 */
export async function custodyOf(
  root: string,
  ids: readonly string[],
): Promise<Map<string, Amount>> {
  const held = new Map<string, Amount>();
  for (const part of await partsBelow(root)) {
    for (const [id, amount] of await custodyIn(join(root, part), ids)) held.set(id, amount);
  }
  return held;
}

/** Names of the workers' directories below a directory. */
export async function partsBelow(root: string): Promise<string[]> {
  try {
    return (await readdir(root)).filter((name) => PART_NAME.test(name));
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  }
}

async function custodyIn(dir: string, ids: readonly string[]): Promise<Map<string, Amount>> {
  if (!hasAccount(dir)) return new Map();
  for (let tries = 1; ; tries += 1) {
    const before = await readAccount(dir, ids);
    const held = before.held;
    try {
      for (const firstSeq of await segmentsOf(dir)) {
        await addUnaccounted(segmentPath(dir, firstSeq), firstSeq, before.acceptedSeq, ids, held);
      }
    } catch (error) {
      if (!hasCode(error, 'ENOENT') || tries === TRIES_MAX) throw error;
      continue;
    }
    const after = await readAccount(dir);
    if (after.run === before.run || tries === TRIES_MAX) return held;
  }
}

/** What a segment holds of the sessions that the account does not count yet. */
async function addUnaccounted(
  path: string,
  firstSeq: number,
  acceptedSeq: number,
  ids: readonly string[],
  held: Map<string, Amount>,
): Promise<void> {
  const index = await readIndex(path);
  if (index !== undefined && index.lastSeq <= acceptedSeq) return;
  const wanted = new Set(ids);
  const sessions: ReadSessions = new Map();
  const handle = await open(path, 'r');
  try {
    const source = new FileSource(handle, (await handle.stat()).size);
    for await (const block of diskBlocks(source, path, sessions, noDamage(), 0, firstSeq)) {
      if (block.firstSeq <= acceptedSeq) continue;
      for (const { ref, session } of block.sessions) {
        if (wanted.has(session.id)) held.set(session.id, { ...sessions.get(ref)!.total });
      }
    }
  } finally {
    await handle.close();
  }
}
