import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { compressFrame } from 'lz4-napi';
import { payloadOf, sensorUuid } from '../../bench/load/frames.js';
import type { Payload } from '../../bench/load/payload.js';
import { checkTree } from '../../bench/subjects/stored.js';
import { tempDir } from '../support/tmp.js';
import { requireTool } from '../support/tools.js';

const UUID = sensorUuid(1);
const NAME = `${UUID.replaceAll('-', '')}-2026-11-23-120000`;

/** What a sensor sent that came `times` around its cycle, and a quarter more. */
function stream({ prologue, cycle }: Payload, times: number): Buffer {
  const quarter = cycle.subarray(0, Math.floor(cycle.length / 4));
  return Buffer.concat([prologue, ...Array(times).fill(cycle), quarter]);
}

function store(files: Record<string, Uint8Array>): string {
  const dir = tempDir('stored');
  const day = join(dir, UUID.replaceAll('-', ''), '6', '2026', '11', '23');
  mkdirSync(day, { recursive: true });
  for (const [name, bytes] of Object.entries(files)) writeFileSync(join(day, name), bytes);
  return dir;
}

function sentOf(bytes: Buffer) {
  return [{ uuid: UUID, frames: 1, bytes: bytes.length, streamBytes: bytes.length }];
}

test('pieces in their order hold what was sent; then they are removed', async () => {
  const payload = payloadOf('jsonl', 1024, 64);
  const sent = stream(payload, 2);
  const cuts = [0, 1000, 70_000, sent.length];
  const files: Record<string, Buffer> = {};
  for (const [index, suffix] of ['', '-2', '-10'].entries()) {
    files[`${NAME}${suffix}.jsonl`] = sent.subarray(cuts[index], cuts[index + 1]);
  }
  const dir = store(files);
  assert.deepEqual(await checkTree(dir, sentOf(sent), payload), []);
  const left = readdirSync(dir, { recursive: true, withFileTypes: true });
  assert.ok(left.every((entry) => entry.isDirectory()));
});

test('each pcap file begins with its header anew', async () => {
  const payload = payloadOf('pcap', 1024, 64);
  const sent = stream(payload, 1);
  const second = Buffer.concat([payload.prologue, sent.subarray(50_000)]);
  const files = { [`${NAME}.cap`]: sent.subarray(0, 50_000), [`${NAME}-1.cap`]: second };
  assert.deepEqual(await checkTree(store(files), sentOf(sent), payload), []);
});

test('a lost byte, a changed byte, a byte too many and an unfinished file are found', async () => {
  const payload = payloadOf('jsonl', 1024, 64);
  const sent = stream(payload, 1);
  const changed = Buffer.from(sent);
  changed[sent.length - 7]! ^= 1;
  for (const [name, bytes, problem] of [
    ['jsonl', sent.subarray(0, -1), /bytes sent, \d+ stored/],
    ['jsonl', Buffer.concat([sent, Buffer.alloc(1)]), /bytes sent, \d+ stored/],
    ['jsonl', changed, new RegExp(`differ from those sent at ${0 + 0}|differ`)],
    ['jsonl.part', sent, /not finished/],
  ] as const) {
    const problems = await checkTree(store({ [`${NAME}.${name}`]: bytes }), sentOf(sent), payload);
    assert.match(problems.join('\n'), problem);
  }
  assert.match((await checkTree(tempDir('empty'), sentOf(sent), payload)).join(), /0 stored/);
});

test('compressed files are read by the lz4 program', { skip: requireTool('lz4') }, async () => {
  const payload = payloadOf('jsonl', 1024, 64);
  const sent = stream(payload, 1);
  const frames = [sent.subarray(0, 99_999), sent.subarray(99_999)];
  const whole = Buffer.concat(await Promise.all(frames.map((part) => compressFrame(part))));
  const dir = store({ [`${NAME}.jsonl.lz4`]: whole });
  assert.deepEqual(await checkTree(dir, sentOf(sent), payload), []);
  const cut = store({ [`${NAME}.jsonl.lz4`]: whole.subarray(0, -100) });
  assert.match((await checkTree(cut, sentOf(sent), payload)).join(), /stored|differ/);
});
