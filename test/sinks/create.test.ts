import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pino } from 'pino';
import { createSink } from '../../src/sinks/create.js';
import { blocksOf } from '../../src/sinks/files/pool.js';
import type { SinkHost } from '../../src/sinks/sink.js';
import { DEFAULTS, tempDir } from './files/rig.js';

function countingHost(): { host: SinkHost; counts: { frames: number; bytes: number }[] } {
  const counts: { frames: number; bytes: number }[] = [];
  const host: SinkHost = {
    memory: new Uint8Array(65_536),
    copy: () => assert.fail('no payload is stored here'),
    log: pino({ level: 'silent' }),
    place: { dataDir: '/nowhere', gateway: 'g', worker: 0, workers: 1 },
    blocks: blocksOf(4096, 32_768),
    poolBytes: 32_768,
    delivered: (_session, frames, bytes) => counts.push({ frames, bytes }),
    drain: () => {},
    keyOf: () => undefined,
    note: () => {},
    journal: {
      open: () => {
        throw new Error('nothing is stored');
      },
    },
  };
  return { host, counts };
}

test('each kind of sink is made by its configuration', async () => {
  const dir = tempDir();
  const { host } = countingHost();
  const files = createSink('disk', { kind: 'files', ...DEFAULTS, dir: dir.path }, host);
  const nowhere = createSink('nowhere', { kind: 'blackhole' }, host);
  const made = [files, nowhere].map(({ kind, name }) => `${name}: ${kind}`);
  assert.deepEqual(made, ['disk: files', 'nowhere: blackhole']);
  await files.close();
  await nowhere.close();
  dir.remove();
});

test('the blackhole counts all that it took as delivered, the meta header once', async () => {
  const { host, counts } = countingHost();
  const sink = createSink('nowhere', { kind: 'blackhole' }, host);
  const meta = { type: 'ja3-jl', bytes: Buffer.from('{}'), frames: 2, wire: Buffer.alloc(126) };
  const common = { id: 'a', slot: 0, sensor: '', openedAt: new Date() };
  const frame = { header: 0, payload: 62, size: 40, type: 254 };
  const stream = sink.open({ ...common, type: 254, meta });
  assert.ok(stream.write(frame) && stream.write({ ...frame, size: 0 }));
  await stream.end();
  const empty = sink.open({ ...common, type: 254, meta });
  await empty.end();
  const metaAlone = { frames: 2, bytes: 2 };
  const frames = [
    { frames: 1, bytes: 40 },
    { frames: 1, bytes: 0 },
  ];
  assert.deepEqual(counts, [metaAlone, ...frames, metaAlone]);
});
