import assert from 'node:assert/strict';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { LedgerReport } from '../../src/ledger/report.js';
import { Gateway } from '../integration/gateway.js';
import { Sensor, sharedSecret, untilLedger, uuidOf, write } from '../integration/peers.js';

/** Each worker ended at once, was started again, and ended again: no sensor was served. */
test('a sink that cannot start holds its own sensors alone, and is tried until it can', async () => {
  const options = sharedSecret({
    workers: 1,
    sinks: {
      disk: { kind: 'files', dir: './data/sensors', flushMs: 50 },
      old: { kind: 'archive', dir: './data/archive' },
    },
    routes: [
      { match: { types: [3] }, to: ['disk'] },
      { match: { types: [8] }, to: ['disk', 'old'] },
    ],
  });
  const own = join(options.dir!, 'data', 'archive', '0');
  mkdirSync(own, { recursive: true });
  // In the place of a directory.
  const obstacle = join(own, 'account');
  writeFileSync(obstacle, '');
  const gateway = await Gateway.start(options);
  const plain = new Sensor(uuidOf(1), 3);
  const kept = new Sensor(uuidOf(2), 8);
  const sockets = [await gateway.tcp(), await gateway.tcp()];
  await write(sockets[1]!, kept.frame('waits'));
  await write(sockets[0]!, plain.frame('goes on'));
  const deliveredTo = ({ sensors }: LedgerReport, { uuid }: Sensor, name: string) =>
    sensors.find(({ sensor }) => sensor === uuid)?.sinks.find((sink) => sink.sink === name)
      ?.delivered.frames ?? 0;
  await untilLedger(gateway, (report) => deliveredTo(report, plain, 'disk') === 1, 'goes on');
  assert.equal(gateway.logged('a sink cannot start').length, 1);
  assert.equal(gateway.logged('worker failed').length, 0);
  rmSync(obstacle);
  await gateway.until(
    () => gateway.logged('a sink that could not start has started').length === 1,
    'the archive starts',
  );
  await untilLedger(gateway, (report) => deliveredTo(report, kept, 'old') === 1, 'it has all');
  await write(sockets[1]!, kept.frame('and more'));
  await untilLedger(gateway, (report) => deliveredTo(report, kept, 'old') === 2, 'it takes more');
  for (const socket of sockets) socket.end();
  await gateway.stop();
});
