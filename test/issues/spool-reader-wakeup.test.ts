import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { BlockPool } from '../../src/spool/block-pool.js';
import type { LiveBlock } from '../../src/spool/live-block.js';
import { Reader, type ReadFrom } from '../../src/spool/reader.js';
import type { Segment } from '../../src/spool/segment.js';
import { tempDir } from '../support/tmp.js';

const DEADLINE_MS = 5_000;

/**
 * A reader at the end of a segment closed its file, and then waited for more without looking again.
 * The last block of a stream that was finished in between woke nobody: after a worker was killed, the
 * end of its session was not relayed before something else came.
 */
test('a block that is finished while a segment is closed is not waited for', async () => {
  const path = join(tempDir(), 'segment');
  writeFileSync(path, '');
  const segment = { path, firstSeq: 1, lastSeq: 5, bytes: 0, isGone: false } as unknown as Segment;
  const last = {
    firstSeq: 9,
    lastSeq: 9,
    hold: () => last,
    letGo: () => {},
  } as unknown as LiveBlock;
  let finished: LiveBlock | undefined;
  const wakes: (() => void)[] = [];
  const spool: ReadFrom = {
    isClosed: false,
    pool: new BlockPool(0),
    inMemory: () => finished,
    onDisk: (seq) => {
      if (seq <= segment.lastSeq) return segment;
      // It is finished now, when nobody waits yet.
      queueMicrotask(() => {
        finished = last;
        for (const wake of wakes.splice(0)) wake();
      });
      return undefined;
    },
    more: () => new Promise((resolve) => wakes.push(resolve)),
    given: () => {},
    damaged: () => {},
    unreadable: () => assert.fail('the segment can be read'),
    closed: () => {},
  };
  const reader = new Reader(spool, 1);
  const late = new Promise<'late'>((resolve) => {
    setTimeout(() => resolve('late'), DEADLINE_MS).unref();
  });
  assert.equal(await Promise.race([reader.next(), late]), last);
  reader.close();
});
