import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { readLedger } from '../../src/ledger/report.js';
import { randomOf, runSeed } from '../ring/fixture.js';
import { freePort } from '../support/ports.js';
import type { Gateway } from './gateway.js';
import { checkCaptures, Load, lengthOf, type Sent, sha256, storedBy } from './link-load.js';
import { gatewayDir, giveToken, startReceiver, startSender } from './linked.js';
import { until, workersOf } from './peers.js';

/** D4GW_LINK_KILLS=50 is the target's run. */
const KILLS = Number(process.env.D4GW_LINK_KILLS ?? 6);
const SENSORS = 6;
const BETWEEN_MS_MAX = 1_500;
/** For all that is in the spools to arrive, once nothing is killed any more. */
const THROUGH_MS = 60_000;

/** Kills every process of a gateway at once, as a machine's out-of-memory killer may. */
async function killAll(gateway: Gateway): Promise<void> {
  const workers = workersOf(gateway);
  for (const pid of workers) process.kill(pid, 'SIGKILL');
  gateway.process.kill('SIGKILL');
  await gateway.process.exit();
}

/** All of a session that ended in order is at the gateway. */
function isThere(gateway: Gateway, sent: Sent): boolean {
  const { payloads, isWhole } = sent;
  return !isWhole || storedBy(gateway, gateway.files(), sent).length === lengthOf(payloads);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

test(`kill -9 of either gateway, ${KILLS} times, loses and repeats nothing`, async (t) => {
  const seed = runSeed();
  console.log(`D4GW_SEED=${seed}`);
  const random = randomOf(seed);
  const receiverDir = gatewayDir();
  const senderDir = gatewayDir();
  const port = await freePort();
  let receiver = await startReceiver(receiverDir, port);
  await giveToken(receiver, senderDir, 'partner');
  const at = { port, certFile: receiver.certFile };
  let sender = await startSender(senderDir, at);
  const load = new Load(SENSORS, random, seed % 1_000_000);
  load.gateway = sender;
  const counts = { sender: 0, receiver: 0, worker: 0 };
  for (let kill = 0; kill < KILLS; kill += 1) {
    await pause(random(BETWEEN_MS_MAX));
    const dice = random(5);
    if (dice === 0) {
      // One worker of either.
      const gateway = random(2) === 0 ? sender : receiver;
      const workers = workersOf(gateway);
      const died = () => gateway.logged('worker died').length;
      const before = died();
      process.kill(workers[random(workers.length)]!, 'SIGKILL');
      await gateway.until(() => died() > before, 'the worker died');
      counts.worker += 1;
    } else if (dice < 3) {
      load.gateway = undefined;
      await killAll(sender);
      sender = await startSender(senderDir, at);
      load.gateway = sender;
      counts.sender += 1;
    } else {
      await killAll(receiver);
      receiver = await startReceiver(receiverDir, port);
      counts.receiver += 1;
    }
  }
  await load.end();
  let report = await readLedger(join(senderDir, 'data'));
  await until(async () => {
    report = await readLedger(join(senderDir, 'data'));
    return report.sessions.length === 0;
  }, "the sender's sessions are over");
  // What the sender saw the end of, and has in its spool.
  for (const { sensor, ends } of report.sensors) {
    const sent = load.sent.find((one) => one.sensor.uuid === sensor);
    if (sent) sent.isWhole = ends.closed === 1;
  }
  const incomplete = () => load.sent.filter((sent) => !isThere(receiver, sent));
  const deadline = Date.now() + THROUGH_MS;
  while (incomplete().length > 0 && Date.now() < deadline) await pause(250);
  assert.deepEqual(
    incomplete().map((sent) => {
      const stored = storedBy(receiver, receiver.files(), sent).length;
      return `${sent.sensor.uuid}: ${stored} of ${lengthOf(sent.payloads)}`;
    }),
    [],
    receiver.process.output(),
  );
  assert.equal(await sender.stop(), 0);
  assert.equal(await receiver.stop(), 0);

  const files = receiver.files();
  assert.ok(files.every((file) => !file.endsWith('.part')));
  let bytes = 0;
  let whole = 0;
  for (const sent of load.sent) {
    const stored = storedBy(receiver, files, sent);
    const all = Buffer.concat(sent.payloads);
    const what = `${sent.sensor.uuid} ${sent.type}: ${stored.length} of ${all.length}`;
    // Neither a byte lost within, nor one repeated.
    assert.equal(sha256(stored), sha256(all.subarray(0, stored.length)), what);
    if (sent.isWhole) assert.equal(stored.length, all.length, `${what}, ended in order`);
    const own = report.sensors.find(({ sensor }) => sensor === sent.sensor.uuid);
    const custody = own?.sinks.find(({ sink }) => sink === 'partner')?.delivered.bytes ?? 0;
    assert.ok(stored.length >= custody, `${what}; the sender delivered ${custody}`);
    checkCaptures(receiver, files, sent);
    bytes += stored.length;
    if (sent.isWhole) whole += 1;
  }
  t.diagnostic(
    `${load.sent.length} sessions (${whole} whole), ${bytes} of ${load.bytes} bytes sent, ` +
      `kills: ${JSON.stringify(counts)}`,
  );
  console.log(
    `${load.sent.length} sessions (${whole} whole), ${bytes} bytes at the receiver, ` +
      `kills: ${JSON.stringify(counts)}`,
  );
  assert.ok(bytes > 0 && lengthOf(load.sent.flatMap(({ payloads }) => payloads)) >= bytes);
  const { code, ledger } = await receiver.ledger();
  assert.equal(code, 0, JSON.stringify(ledger.imbalances ?? ledger));
});
