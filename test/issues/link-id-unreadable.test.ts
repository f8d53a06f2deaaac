import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import pino from 'pino';
import { RateLimitedLog } from '../../src/log/rate.js';
import { LinkUpstream } from '../../src/sinks/relay/link/link-upstream.js';
import { Spool } from '../../src/spool/spool.js';
import { freePort } from '../support/ports.js';
import { tempDir } from '../support/tmp.js';

const DEADLINE_MS = 10_000;

/**
 * The id is read for each connection. Where that failed, as it does for want of descriptors too,
 * nobody took the error, and the worker ended.
 */
test('a link whose id cannot be read is tried again, and the worker goes on', async () => {
  const dir = tempDir('spool');
  const log = pino({ level: 'silent' });
  const spool = await Spool.open({
    dir,
    maxBytes: 2 ** 30,
    persist: 'behind',
    memoryBytes: 2 ** 24,
    compress: 'none',
    log,
  });
  writeFileSync(join(dir, 'link'), 'no id\n');
  const port = await freePort();
  const mends = { plain: '', clientCertificate: '', authority: '', servername: '' };
  const upstream = new LinkUpstream(
    { spool, dir },
    {
      name: `wss://127.0.0.1:${port}`,
      target: { host: '127.0.0.1', port, secure: {}, token: 'x'.repeat(43), mends },
      gateway: 'sender',
      windowBytes: 2 ** 20,
      compress: 'none',
      log,
      limitedLog: new RateLimitedLog(log),
    },
  );
  const reason = async (wanted: RegExp) => {
    const until = performance.now() + DEADLINE_MS;
    let found = '';
    while (!wanted.test(found) && performance.now() < until) {
      found = upstream.status.away?.reason ?? '';
      await sleep(10);
    }
    return found;
  };
  upstream.start();
  assert.match(await reason(/link id/), /it holds no link id/);
  rmSync(join(dir, 'link'));
  assert.match(await reason(/ECONNREFUSED/), /ECONNREFUSED/);
  await upstream.close(1_000);
  await spool.close();
});
