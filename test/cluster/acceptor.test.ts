import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { lstatSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Acceptor, UNIX_ADDRESS } from '../../src/cluster/acceptor.js';
import { End } from '../../src/wire/reject.js';
import { tempDir } from '../support/tmp.js';

const dir = tempDir('acceptor');

interface Seen {
  accepted: string[];
  refused: { code: number; address: string | undefined }[];
}

/** An acceptor that lets every address in, what it saw, and how to wait for more. */
function acceptor() {
  const seen: Seen = { accepted: [], refused: [] };
  let changed = () => {};
  const next = new Promise<void>((resolve) => {
    changed = resolve;
  });
  const rules = { maxConnections: 10, maxConnectionsPerIp: 0, addressBlocked: () => false };
  const own = new Acceptor(rules, {
    accepted: (_connection, _source, address, handle) => {
      seen.accepted.push(address);
      handle.close();
      changed();
    },
    refused: (code, _source, address) => {
      seen.refused.push({ code, address });
      changed();
    },
    failed: () => {},
  });
  after(() => own.close());
  return { own, seen, next };
}

/** Runs a script to its end while this process, and so its acceptor, stands still. */
function meanwhile(script: string): void {
  const { stderr } = spawnSync(process.execPath, ['-e', script], { encoding: 'utf8' });
  assert.equal(stderr, '');
}

test('a TCP peer that was gone before it was accepted is not taken for a unix socket', async () => {
  const { own, seen, next } = acceptor();
  const [name] = await own.listen([{ tcp: { host: '127.0.0.1', port: 0 } }]);
  const port = Number(name!.match(/:(\d+)$/)![1]);
  meanwhile(
    `const s = require('net').connect(${port}, '127.0.0.1', () => s.write('x', () => s.resetAndDestroy()))`,
  );
  await next;
  assert.deepEqual(seen, { accepted: [], refused: [{ code: End.RESET, address: undefined }] });
  assert.equal(own.connections, 0);
});

test('connections of a unix socket count under its name', async () => {
  const { own, seen, next } = acceptor();
  const path = join(dir, 'plain.sock');
  await own.listen([{ unix: { path } }]);
  await once(connect(path), 'close');
  await next;
  assert.deepEqual(seen, { accepted: [UNIX_ADDRESS], refused: [] });
});

test('what is no socket is not touched where a unix socket should be', async () => {
  const file = join(dir, 'evidence');
  writeFileSync(file, 'evidence');
  const directory = join(dir, 'directory');
  mkdirSync(directory);
  const link = join(dir, 'link');
  symlinkSync(file, link);
  for (const path of [file, directory, link]) {
    const { own } = acceptor();
    await assert.rejects(own.listen([{ unix: { path } }]), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'D4GW_E_LISTEN');
      assert.ok(error.message.includes(path));
      return true;
    });
  }
  assert.equal(readFileSync(file, 'utf8'), 'evidence');
  assert.ok(lstatSync(directory).isDirectory());
  assert.ok(lstatSync(link).isSymbolicLink());
});

test('the socket of a process that died is taken over, that of one that lives is not', async () => {
  const stale = join(dir, 'stale.sock');
  const kill = `() => process.kill(process.pid, 'SIGKILL')`;
  meanwhile(`require('net').createServer().listen(${JSON.stringify(stale)}, ${kill})`);
  assert.ok(lstatSync(stale).isSocket());
  await acceptor().own.listen([{ unix: { path: stale } }]);

  const live = join(dir, 'live.sock');
  const server = createServer().listen(live);
  after(() => server.close());
  await once(server, 'listening');
  const { own } = acceptor();
  await assert.rejects(own.listen([{ unix: { path: live } }]), { code: 'D4GW_E_LISTEN' });
  const client = connect(live);
  await once(client, 'connect');
  client.destroy();
});
