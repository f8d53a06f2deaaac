import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { seriesLine } from '../../bench/e2e/print.js';
import { figure, type Series } from '../../bench/e2e/results.js';
import { type StreamLoad, takeSample } from '../../bench/e2e/sample.js';
import { Fleet } from '../../bench/load/fleet.js';
import { sensorUuid } from '../../bench/load/frames.js';
import { d4gw } from '../support/program.js';
import { tempDir } from '../support/tmp.js';
import { CountingServer } from './server.js';

const KEY = Buffer.from(randomBytes(16).toString('hex'));
const fleet = new Fleet(2, KEY);
after(() => fleet.stop());

const LOAD: StreamLoad = {
  transport: 'tcp',
  format: 'jsonl',
  payloadBytes: 128,
  connections: 3,
  milliseconds: 60_000,
  framesMax: 5_000,
  stallMs: 200,
};

const newSeries = (): Series => ({ id: 'x', subject: 'gateway', values: {}, failures: [] });

test('counts what it sent exactly: by count, by time, with a prologue, over several processes', async () => {
  const server = await CountingServer.start(KEY);
  const to = { kind: 'tcp', host: '127.0.0.1', port: server.ports.tcp! } as const;
  let frames = 0;
  let streamBytes = 0;
  for (const [format, payloadBytes, milliseconds, framesMax] of [
    // Not a whole number of cycles.
    ['jsonl', 300, 60_000, 2_345],
    ['jsonl', 70_000, 50, 1_000],
    ['pcap', 4096, 60_000, 501],
  ] as const) {
    await fleet.prepare({ format, payloadBytes, streams: 5 });
    await fleet.connect(to);
    const sent = await fleet.run({ milliseconds, framesMax, closeDeadlineMs: 10_000 });
    const prologues = format === 'pcap' ? 5 : 0;
    if (milliseconds > 1000) assert.equal(sent.frames, 5 * framesMax + prologues);
    assert.equal(sent.streams.length, 5);
    assert.ok(sent.frames > 0);
    assert.deepEqual(
      sent.streams.map(({ error }) => error),
      Array(5).fill(undefined),
    );
    frames += sent.frames;
    streamBytes += sent.streamBytes;
  }
  assert.equal(server.frames, frames);
  assert.equal(server.streamBytes, streamBytes);
  assert.deepEqual(server.problems, []);
});

test('a sample that lost nothing becomes rates', async () => {
  const server = await CountingServer.start(KEY);
  const series = newSeries();
  await takeSample(server, fleet, LOAD, series);
  await takeSample(server, fleet, LOAD, series);
  assert.deepEqual(series.failures, []);
  assert.equal(server.frames, 2 * 3 * 5_000);
  assert.equal(figure(series, 'framesPerSecond')?.count, 2);
  assert.match(seriesLine(series), / Gbps .*frames\/s/);
});

test('a server that loses one frame makes the row fail, with the counts and without a rate', async () => {
  const server = await CountingServer.start(KEY, 14_999);
  const series = newSeries();
  await takeSample(server, fleet, { ...LOAD, framesMax: 5_000 }, series);
  assert.equal(series.failures.length, 1);
  assert.match(series.failures[0]!, /^15000 frames sent, 14999 accounted for/);
  assert.deepEqual(series.values, {});
  assert.match(seriesLine(series), /FAILED: 15000 frames sent, 14999 accounted for/);
  assert.doesNotMatch(seriesLine(series), /Gbps/);
  // A later good sample does not make the row good.
  series.values.gbps = [1];
  assert.equal(figure(series, 'gbps'), undefined);
});

test('a server that counts a frame twice fails too', async () => {
  const server = await CountingServer.start(KEY);
  const series = newSeries();
  const account = server.account.bind(server);
  let asked = 0;
  server.account = async () => {
    const honest = await account();
    asked += 1;
    if (asked > 1) honest.sensors![sensorUuid(0)]!.frames += 1;
    return honest;
  };
  await takeSample(server, fleet, LOAD, series);
  assert.match(series.failures[0] ?? '', /15000 frames sent, 15001 accounted for/);
});

test('a server that closes early fails the row', async () => {
  const server = await CountingServer.start(KEY);
  const { createServer } = await import('node:net');
  const closing = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.destroy());
  }).listen(0, '127.0.0.1');
  after(() => closing.close());
  await new Promise((resolve) => closing.once('listening', resolve));
  server.ports = { tcp: (closing.address() as { port: number }).port };
  const series = newSeries();
  await takeSample(server, fleet, { ...LOAD, milliseconds: 100, framesMax: 1e6 }, series);
  assert.match(series.failures[0] ?? '', /3 connections failed/);
});

test('d4gw bench --to sends to any server, as one sensor where told to', async () => {
  const server = await CountingServer.start(KEY);
  const keyFile = join(tempDir('bench'), 'key');
  writeFileSync(keyFile, `${KEY}\n`, { mode: 0o600 });
  const uuid = sensorUuid(4711);
  const to = ['--to', `tcp://127.0.0.1:${server.ports.tcp}`, '--key-file', keyFile];
  const few = [
    '--samples',
    '2',
    '--seconds',
    '0.05',
    '--sizes',
    '128,1MB',
    '--load-processes',
    '1',
  ];
  const { code, stdout, stderr } = await d4gw(
    ['bench', ...to, ...few, '--uuid', uuid, '--connections', '1'],
    {},
  );
  assert.equal(code, 0, stdout + stderr);
  const counts = [...stdout.matchAll(/(\d+) frames, (\d+) payload bytes/g)].map(([, n]) =>
    Number(n),
  );
  assert.equal(counts.length, 2);
  assert.equal(server.frames, counts[0]! + counts[1]!);
  assert.deepEqual(Object.keys(server.sensors), [uuid]);
  assert.deepEqual(server.problems, []);
  assert.doesNotMatch(stdout + stderr, new RegExp(KEY.toString()));
});
