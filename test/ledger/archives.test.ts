import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readArchives, renderArchives } from '../../src/ledger/archives.js';
import { append, archivePart, frame, sensor } from '../cli/archives.js';
import { tempDir } from '../support/tmp.js';

test('an archive tells what is kept, and what made way', async () => {
  const dir = tempDir('archives');
  let gone = 0;
  await archivePart(
    dir,
    async (spool) => {
      for (const number of [1, 2, 3, 4]) {
        const uuid = sensor(number);
        const openedAt = new Date(1e12);
        const ref = spool.openSession({ id: `s${number}`, sensor: uuid, type: 3, openedAt });
        for (let at = 0; at < 10; at += 1) append(spool, ref, frame(uuid, 3, 'x'.repeat(100)));
        spool.endSession(ref, 'closed', '');
        await spool.flush();
      }
      gone = spool.dropOldest('expired').frames;
      assert.ok(gone >= 10 && gone < 40, `${gone}`);
    },
    700,
  );
  const archive = { kind: 'archive', dir, compress: 'lz4', segmentBytes: 1, keepBytes: 1 } as const;
  const sinks = { nowhere: { kind: 'blackhole' }, old: archive } as const;
  const reports = await readArchives({ sinks });
  const left = 40 - gone;
  const kept = { frames: left, bytes: 100 * left };
  const expired = { frames: gone, bytes: 100 * gone };
  assert.deepEqual(reports, [{ sink: 'old', kept, expired, dropped: {} }]);
  assert.equal(
    renderArchives(reports),
    `\narchive old: kept ${left} frames (${100 * left} bytes), expired ${gone} frames (${100 * gone} bytes)\n`,
  );
  const [first] = await readArchives({ sinks }, sensor(1));
  assert.deepEqual([first!.kept.frames, first!.expired.frames], [0, 10]);
  assert.deepEqual(await readArchives({ sinks: { nowhere: sinks.nowhere } }), []);
  assert.equal(renderArchives([]), '');
});
