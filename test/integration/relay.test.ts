import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { SensorReport } from '../../src/ledger/report.js';
import { TcpProxy } from '../support/proxy.js';
import {
  type RecordedStream,
  recordedStreams,
  sharedPath,
  skipWithoutShared,
} from '../support/shared.js';
import { requireTool } from '../support/tools.js';
import { Gateway } from './gateway.js';
import {
  closed,
  Sensor,
  sensorsOf,
  sharedSecret,
  until,
  untilLedger,
  uuidOf,
  workersOf,
  write,
} from './peers.js';
import {
  assertAllPackets,
  Capture,
  numbersOf,
  PCAP,
  relaying,
  relayOf,
  steady,
  untilSent,
} from './relaying.js';

const skipTools = requireTool('tcpdump');

/** Sends bytes over TLS as one session, to its end. */
async function stream(gateway: Gateway, bytes: Buffer): Promise<void> {
  const socket = await gateway.tls();
  await write(socket, bytes);
  socket.end();
  await closed(socket);
}

describe('recorded streams through two gateways', { skip: skipWithoutShared() }, async () => {
  const streams = recordedStreams().filter(
    ({ odd, frames, types }) => frames > 0 && !odd && types.length > 0,
  );
  const far = skipWithoutShared() ? undefined : await Gateway.start(sharedSecret());
  const near = far
    ? await Gateway.start(relaying(`tls://127.0.0.1:${far.tlsPort}`, { caFile: far.certFile }))
    : undefined;

  /** Contents of the files that are new, by extension. */
  function contents(gateway: Gateway, before: ReadonlySet<string>): Record<string, string> {
    const found: Record<string, string> = {};
    for (const file of gateway.files()) {
      if (before.has(file)) continue;
      const ext = file.replace(/^[^.]*\./, '');
      found[ext] = createHash('sha256').update(gateway.read(file)).digest('hex');
    }
    return found;
  }

  let frames = 0;
  const payload = (type: number, { per_type }: RecordedStream) =>
    per_type[String(type)]?.frames ?? 0;
  for (const recorded of streams) {
    test(recorded.file, async () => {
      const before = [near!, far!].map((gateway) => new Set(gateway.files()));
      frames += recorded.frames;
      await stream(near!, readFileSync(sharedPath('streams', recorded.file)));
      await untilSent(near!, frames, `${recorded.file} is sent`);
      const report = await untilLedger(
        far!,
        ({ sessions, received }) => sessions.length === 0 && received.frames === frames,
        `${recorded.file} arrives`,
      );
      // Every frame holds its sensor's own HMAC there: none was rejected.
      for (const sensor of report.sensors) assert.deepEqual(sensor.rejected, {});
      assert.deepEqual(contents(far!, before[1]!), contents(near!, before[0]!));
      assert.ok(payload(recorded.types[0]!, recorded) > 0);
    });
  }

  test('both ledgers balance; nothing was sent twice or cut anew', async () => {
    const { code, ledger } = await near!.ledger();
    assert.equal(code, 0);
    const { sinks } = ledger;
    assert.deepEqual(sinks[0].delivered, sinks[1].delivered);
    const relay = relayOf(ledger)!;
    assert.deepEqual([relay.resent.frames, relay.recut.frames], [0, 0]);
    assert.deepEqual(relay.connections, { opened: streams.length, failed: 0, lost: 0 });
    assert.equal((await far!.ledger()).code, 0);
  });

  test('both stop with exit code 0', async () => {
    assert.equal(await near!.stop(), 0);
    assert.equal(await far!.stop(), 0);
  });
});

/** What a gateway has received of each sensor: two that are alike tell that nothing is under way. */
async function receivedOf(gateway: Gateway): Promise<string> {
  const { ledger } = await gateway.ledger();
  return JSON.stringify(
    ledger.sensors.map(({ sensor, received }: SensorReport) => [sensor, received]),
  );
}

describe('connections that break', { skip: skipTools }, () => {
  for (const mode of ['preserve', 'resign']) {
    test(`${mode}: each packet arrives at least once, in order, in files that tcpdump reads`, async () => {
      const far = await Gateway.start(sharedSecret());
      const proxy = await TcpProxy.start(() => far.tlsPort);
      const to = `tls://127.0.0.1:${proxy.port}`;
      const near = await Gateway.start(
        relaying(to, {
          caFile: far.certFile,
          mode,
          resendWindowBytes: 20_000,
          ...(mode === 'resign' ? { signingKeyFile: './secret' } : {}),
        }),
      );
      const captures = [1, 2, 3].map((number) => new Capture(new Sensor(uuidOf(number), PCAP)));
      const sockets = await Promise.all(captures.map(() => near.tls()));
      for (let round = 0; round < 4; round += 1) {
        const passed = proxy.bytes;
        await Promise.all(
          captures.map((capture, index) => write(sockets[index]!, capture.next(600 + 50 * index))),
        );
        // More than the window of each, so that it goes on in mid-stream. What is cut off in the
        // proxy and in the far end's socket must not be more than the window: it has passed.
        await until(() => proxy.bytes > passed + 180_000, 'most of it is on its way');
        let [before, now] = ['', await receivedOf(far)];
        while (before !== now) [before, now] = [now, await receivedOf(far)];
        proxy.cut();
      }
      await Promise.all(
        captures.map((capture, index) => write(sockets[index]!, capture.next(10, true))),
      );
      for (const socket of sockets) socket.end();
      const frames = captures.reduce((sum, capture) => sum + capture.frames, 0);
      const report = await untilSent(near, frames, 'all is sent');
      await untilLedger(far, ({ sessions }) => sessions.length === 0, 'the far sessions end');

      const names = await pseudonymsOf(near, mode, captures);
      for (const [index, capture] of captures.entries()) {
        assertAllPackets(numbersOf(far, names[index]!), capture.packets);
        assert.deepEqual(numbersOf(near, capture.sensor.uuid).flat().length, capture.packets);
      }
      const relay = relayOf(report)!;
      assert.ok(relay.connections.lost >= 3, JSON.stringify(relay));
      assert.ok(relay.recut.frames > 0 && relay.resent.frames > 0, JSON.stringify(relay));
      for (const gateway of [near, far]) {
        assert.equal((await gateway.ledger()).code, 0);
        assert.equal(await gateway.stop(), 0);
      }
      if (mode === 'resign') {
        const stored = readdirSync(join(far.dir, 'data', 'sensors'));
        for (const { sensor } of captures) assert.ok(!stored.includes(sensor.hex));
      }
    });
  }

  /** Under which UUIDs the far gateway has them. */
  async function pseudonymsOf(near: Gateway, mode: string, captures: readonly Capture[]) {
    if (mode === 'preserve') return captures.map(({ sensor }) => sensor.uuid);
    for (const { sensor } of captures) await near.addSensor(sensor.uuid, sensor.key);
    const { code, stdout, stderr } = await near.command('relay', 'register', 'partner', '--json');
    assert.equal(code, 0, stderr);
    const { sensors } = JSON.parse(stdout) as { sensors: { sensor: string; pseudonym: string }[] };
    return captures.map(({ sensor }) => sensors.find((s) => s.sensor === sensor.uuid)!.pseudonym);
  }

  test('a flipped bit ends that session, and the stream goes on in the next', async () => {
    const far = await Gateway.start(sharedSecret());
    const proxy = await TcpProxy.start(() => far.tcpPort);
    const near = await Gateway.start(relaying(`tcp://127.0.0.1:${proxy.port}`));
    proxy.corrupt(30_000);
    const capture = new Capture(new Sensor(uuidOf(1), PCAP));
    const socket = await near.tls();
    await write(socket, capture.next(2_000));
    await near.until(() => near.logged('relay lost a connection').length === 1, 'it is ended');
    await write(socket, capture.next(10, true));
    socket.end();
    await untilSent(near, capture.frames, 'all is sent');
    const report = await untilLedger(far, ({ sessions }) => sessions.length === 0, 'it is over');
    assert.equal(report.sensors[0]!.ends['bad-hmac'], 1);
    assertAllPackets(numbersOf(far, capture.sensor.uuid), capture.packets);
    for (const gateway of [near, far]) assert.equal(await gateway.stop(), 0);
  });

  test('a quiet stream does not hold the spool, and loses nothing by it', async () => {
    const far = await Gateway.start(sharedSecret());
    const proxy = await TcpProxy.start(() => far.tlsPort);
    const near = await Gateway.start(
      relaying(`tls://127.0.0.1:${proxy.port}`, { caFile: far.certFile }, { workers: 1 }),
    );
    // In the midst of a record, and never to be confirmed.
    const quiet = new Capture(new Sensor(uuidOf(1), PCAP));
    const socket = await near.tls();
    await write(socket, quiet.next(50));
    await untilLedger(far, ({ received }) => received.frames === quiet.frames, 'it is there');
    const busy = new Sensor(uuidOf(2));
    const line = Buffer.alloc(50_000, 'x');
    line[line.length - 1] = 10;
    const other = await near.tls();
    const sent = 400;
    for (let count = 0; count < sent; count += 1) await write(other, busy.frame(line));
    await untilLedger(
      near,
      (report) => relayOf(report)!.sent.frames > quiet.frames + sent / 2,
      'the log goes on without it',
    );
    proxy.cut();
    await write(socket, quiet.next(50, true));
    for (const one of [socket, other]) one.end();
    await untilSent(near, quiet.frames + sent, 'all is sent');
    await untilLedger(far, ({ sessions }) => sessions.length === 0, 'it is over');
    const { repeated } = assertAllPackets(numbersOf(far, quiet.sensor.uuid), quiet.packets);
    assert.ok(repeated > 0, 'what was not confirmed came again');
    for (const gateway of [near, far]) {
      assert.equal((await gateway.ledger()).code, 0);
      assert.equal(await gateway.stop(), 0);
    }
  });

  test('a kill of either gateway loses nothing that was in custody', async () => {
    const there = await steady();
    let far = await Gateway.start(there.options);
    const options = relaying(`tls://127.0.0.1:${there.tls}`, { caFile: there.certFile });
    let near = await Gateway.start(options);
    const captures: Capture[] = [];
    const sendOne = async () => {
      const capture = new Capture(new Sensor(uuidOf(captures.length), PCAP));
      captures.push(capture);
      const socket = await near.tls();
      await write(socket, capture.next(3_000));
      return { capture, socket };
    };
    const total = () => captures.reduce((sum, { frames }) => sum + frames, 0);
    const accepted = () =>
      untilLedger(near, (now) => relayOf(now)?.accepted.frames === total(), 'all is in custody');

    await sendOne();
    await accepted();
    far.process.kill('SIGKILL');
    await far.process.exit();
    const second = await sendOne();
    await accepted();
    near.process.kill('SIGKILL');
    await near.process.exit();
    await closed(second.socket);
    near = await Gateway.start(options);
    await sendOne();
    far = await Gateway.start(there.options);
    for (const pid of workersOf(near)) process.kill(pid, 'SIGKILL');
    await near.until(() => near.logged('recovered after').length >= 2, 'the workers are back');
    const report = await untilLedger(
      near,
      (now) => relayOf(now)!.waiting.frames === 0 && now.sessions.length === 0,
      'all is sent',
    );
    await untilLedger(far, ({ sessions }) => sessions.length === 0, 'the far sessions end');
    assert.equal(report.balanced, true, JSON.stringify(report.imbalances));
    for (const { sensor } of captures) {
      const [own] = sensorsOf(report, sensor.uuid);
      const sink = own?.sinks.find(({ sink: name }) => name === 'partner');
      // What was lost with the process was in nobody's custody; what was, arrived.
      const stored = numbersOf(near, sensor.uuid).flat();
      const arrived = numbersOf(far, sensor.uuid);
      const sent = Math.floor((sink!.delivered.bytes - 24) / 116);
      assertAllPackets(arrived, Math.max(0, ...arrived.flat().map((number) => number + 1)));
      assert.ok(new Set(arrived.flat()).size >= sent, `${sensor.uuid}: ${sent} sent`);
      assert.ok(stored.length > 0);
    }
    for (const gateway of [near, far]) assert.equal(await gateway.stop(), 0);
  });
});
