import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { resetPeaks, treeCpuSeconds, treeMemory, treePids } from '../../bench/proc/tree.js';
import { start } from '../support/process.js';

/** Burns CPU for a while, says what it used, and stays or ends. */
const BURN = `
  const { createHash } = require('node:crypto');
  const block = Buffer.alloc(1 << 20);
  while (process.cpuUsage().user < 400_000) createHash('sha256').update(block).digest();
  const { user, system } = process.cpuUsage();
  process.stdout.write('used ' + (user + system) / 1e6 + '\\n');
`;
/** A parent that does nothing itself, with one child that ends and one that stays. */
const PARENT = `
  const { spawn } = require('node:child_process');
  const stay = 'process.stdin.resume();'; // until the parent is gone
  for (const end of ['', stay]) {
    spawn(process.execPath, ['-e', process.argv[1] + end], { stdio: ['pipe', 'inherit', 'inherit'] })
      .on('exit', () => process.stdout.write('ended\\n'));
  }
`;
const TICK_SECONDS = 0.01;

test('CPU time of children counts, while they run and after they have ended', async () => {
  const parent = start(process.execPath, ['-e', PARENT, BURN]);
  await parent.waitFor(/used(.|\n)*used/);
  await parent.waitFor('ended');
  const used = [...parent.stdout.matchAll(/used ([\d.]+)/g)].map(([, text]) => Number(text));
  assert.equal(used.length, 2);
  const total = treeCpuSeconds(parent.pid);
  assert.ok(total !== undefined && total >= used[0]! + used[1]! - 4 * TICK_SECONDS, `${total}`);
  assert.equal(treePids(parent.pid).length, 2);
  assert.equal(treePids(parent.pid)[0], parent.pid);
  const { rssBytes, peakBytes, workerPeakBytes } = treeMemory(parent.pid);
  assert.ok(rssBytes > 10e6 && peakBytes >= rssBytes && workerPeakBytes < peakBytes);
});

test('a peak is that since it was reset', async () => {
  const source = `
    let large = Buffer.alloc(300e6, 1); large = undefined; gc(); process.stdout.write('freed\\n');
    setInterval(() => {}, 1000);`;
  const child = start(process.execPath, ['--expose-gc', '-e', source]);
  await child.waitFor('freed');
  assert.ok(treeMemory(child.pid).workerPeakBytes > 300e6);
  resetPeaks(child.pid);
  assert.ok(treeMemory(child.pid).workerPeakBytes < 250e6);
});

test('a process that has ended has no figures', async () => {
  const child = start(process.execPath, ['-e', '']);
  const { pid } = child;
  await once(child.child, 'exit');
  assert.equal(treeCpuSeconds(pid), undefined);
});
