import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { stringify } from 'yaml';
import { d4gw } from '../support/program.js';
import { skipUnless } from '../support/require.js';
import { tempDir } from '../support/tmp.js';
import { Gateway } from './gateway.js';
import { closed, ledgerOf, Sensor, storedOf, until, untilLedger, uuidOf, write } from './peers.js';
import { relaying, steady } from './relaying.js';

const MIB = 1024 * 1024;
const FRAME_BYTES = 60_000;

function cannotMount(): string | false {
  const dir = tempDir('mount');
  const { status, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', dir]);
  if (status === 0) execFileSync('umount', [dir]);
  return skipUnless(status === 0, `no tmpfs can be mounted: ${stderr}`.trim());
}

/** A file system of its own, gone after the test. */
function disk(bytes: number): string {
  let dir = '';
  // Hooks run in their order: this one before the directory is removed.
  after(() => execFileSync('umount', ['-l', dir]));
  dir = tempDir('disk');
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', dir]);
  return dir;
}

describe("a disk of a relay's spool that is no good", { skip: cannotMount() }, () => {
  test('full: its sensors wait, others go on; all arrives once the partner is there', async () => {
    const there = await steady();
    const dir = disk(40 * MIB);
    const relay = { spool: { dir, memoryBytes: '4MiB' } };
    const to = `tcp://127.0.0.1:${there.tcp}`;
    const routes = [
      { match: { types: [3] }, to: ['disk', 'partner'] },
      { match: { types: [6] }, to: ['disk'] },
    ];
    const near = await Gateway.start(relaying(to, relay, { workers: 1, routes }));
    const sensor = new Sensor(uuidOf(1));
    const frames = 1_200;
    const line = (number: number) => `${number} ${'x'.repeat(FRAME_BYTES)}`.slice(0, FRAME_BYTES);
    const socket = await near.tcp();
    let sent = 0;
    const sending = (async () => {
      for (; sent < frames; sent += 1) await write(socket, sensor.frame(`${line(sent)}\n`));
      socket.end();
      await closed(socket);
    })();
    const full = () =>
      near.log().filter(({ msg }) => /^the spool in .* can't be written/.test(msg));
    await near.until(() => full().length > 0, 'it is said', 40_000);
    const other = new Sensor(uuidOf(2), 6);
    const beside = await near.tcp();
    for (let number = 0; number < 50; number += 1) {
      await write(beside, other.frame(`{"n":${number}}\n`));
    }
    beside.end();
    await closed(beside);
    await untilLedger(
      near,
      ({ sensors }) => sensors.some(({ sensor: id, ends }) => id === other.uuid && ends.closed),
      'nobody else is disturbed',
    );
    assert.ok(sent < frames, 'the sensor is held back');
    assert.equal((await ledgerOf(near)).balanced, true);
    const partner = await Gateway.start(there.options);
    await untilLedger(near, ({ sessions }) => sessions.length === 0, 'its sensor goes on', 60_000);
    await sending;
    // The command knows where the spool is.
    const books = async () => (await near.ledger()).ledger.relays[0];
    await until(async () => (await books()).sent.frames === frames, 'all is sent', 60_000);
    await untilLedger(partner, ({ sessions }) => sessions.length === 0, 'all is stored');
    const all = Array.from({ length: frames }, (_, number) => `${line(number)}\n`).join('');
    assert.equal(storedOf(partner, sensor.uuid).toString(), all);
    assert.ok(full().length <= 3, 'said once, and where it was full again');
    assert.deepEqual((await books()).dropped, {});
    for (const gateway of [near, partner]) {
      assert.equal((await gateway.ledger()).code, 0);
      assert.equal(await gateway.stop(), 0);
    }
  });

  test('read-only at the start: the gateway says so, and does not begin', async () => {
    const dir = disk(4 * MIB);
    execFileSync('mount', ['-o', 'remount,ro', dir]);
    const { dir: home, config } = relaying('tcp://127.0.0.1:9', { spool: { dir } }, { workers: 1 });
    const file = join(home!, 'config.yaml');
    const listen = [{ tcp: { host: '127.0.0.1', port: 0 } }];
    writeFileSync(file, stringify({ dataDir: './data', listen, ...config }));
    const { code, stderr } = await d4gw(['serve', '--config', file]);
    assert.notEqual(code, 0);
    assert.match(stderr, /read-only|EROFS/i);
    assert.ok(stderr.includes(dir), stderr);
  });
});
