import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { GatewayError, messageOf } from '../errors.js';
import { hasCode } from '../sinks/files/directories.js';
import { decodeBlockHeader } from './block-header.js';
import { partsBelow } from './custody.js';
import { BLOCK_HEADER_BYTES } from './layout.js';
import { NewerFormatError } from './scan.js';
import { segmentPath } from './segment.js';
import { segmentsOf } from './spool-recovery.js';

/**
 * Proves that the spools below a directory, one for each worker, are of a release that this one can
 * read: told before anything begins, where it can be mended.
 * @throws GatewayError D4GW_E_SPOOL
 */
export async function checkSpools(root: string): Promise<void> {
  try {
    for (const part of await partsBelow(root)) {
      const dir = join(root, part);
      for (const firstSeq of await segmentsOf(dir)) await checkSegment(segmentPath(dir, firstSeq));
    }
  } catch (cause) {
    throw new GatewayError('D4GW_E_SPOOL', messageOf(cause), { cause });
  }
}

/** A newer release writes segments of its own from their start. */
async function checkSegment(path: string): Promise<void> {
  const head = Buffer.alloc(BLOCK_HEADER_BYTES);
  try {
    const handle = await open(path, 'r');
    try {
      await handle.read(head, 0, head.length, 0);
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return;
    throw error;
  }
  if (decodeBlockHeader(head) === 'newer') throw new NewerFormatError(path, 0);
}
