import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { type Logger, pino } from 'pino';
import { RateLimitedLog } from '../../../../src/log/rate.js';
import type { Mends } from '../../../../src/net/connection-error.js';
import { LinkUpstream } from '../../../../src/sinks/relay/link/link-upstream.js';
import type { SpoolSession } from '../../../../src/spool/session-record.js';
import { Spool } from '../../../../src/spool/spool.js';
import type { Gateway } from '../../../integration/gateway.js';
import { gatewayDir, giveToken, startReceiver } from '../../../integration/linked.js';
import {
  ledgerOf,
  Sensor,
  sensorsOf,
  storedOf,
  until,
  untilLedger,
  uuidOf,
  workersOf,
} from '../../../integration/peers.js';
import { freePort } from '../../../support/ports.js';
import { d4gw } from '../../../support/program.js';
import { tempDir } from '../../../support/tmp.js';

const MENDS: Mends = {
  plain: 'plain',
  clientCertificate: 'client certificate',
  authority: 'give caFile',
  servername: 'servername',
};
const OWN_ID = '0b7f5f0e-6a53-4d0f-9a3b-6b1f0c1d2e3f';

interface Line {
  level: number;
  msg: string;
  [field: string]: unknown;
}

/** A sending gateway's relay, as far as a link is concerned: a spool, and what sends it. */
class Sending {
  readonly lines: Line[] = [];
  readonly spool: Spool;
  readonly upstream: LinkUpstream;
  readonly #log: Logger;

  static async start(at: {
    port: number;
    token: string;
    ca?: string;
    compress?: 'none' | 'lz4';
    gateway?: string;
    windowBytes?: number;
  }): Promise<Sending> {
    const dir = tempDir('spool');
    mkdirSync(dir, { recursive: true });
    const lines: Line[] = [];
    const log = pino({ level: 'debug' }, { write: (line) => lines.push(JSON.parse(line) as Line) });
    const spool = await Spool.open({
      dir,
      maxBytes: 2 ** 30,
      persist: 'always',
      memoryBytes: 2 ** 24,
      compress: 'none',
      log,
    });
    return new Sending(spool, dir, lines, log, at);
  }

  private constructor(
    spool: Spool,
    dir: string,
    lines: Line[],
    log: Logger,
    at: Parameters<typeof Sending.start>[0],
  ) {
    this.spool = spool;
    this.lines = lines;
    this.#log = log;
    const { port, token, ca, compress = 'none', gateway = OWN_ID, windowBytes = 2 ** 22 } = at;
    const secure = { servername: 'localhost', ...(ca ? { ca } : {}) };
    this.upstream = new LinkUpstream(
      { spool, dir },
      {
        name: `wss://127.0.0.1:${port}`,
        target: { host: '127.0.0.1', port, secure, token, mends: MENDS },
        gateway,
        windowBytes,
        compress,
        log,
        limitedLog: new RateLimitedLog(this.#log),
      },
    );
    this.upstream.start();
    after(() => this.stop());
  }

  /** One whole session of a sensor. */
  session(sensor: Sensor, payloads: readonly string[], more: Partial<SpoolSession> = {}): void {
    const { uuid, type } = sensor;
    const id = `s-${uuid.slice(-6)}-${this.spool.lastSeq}`;
    const session = {
      id,
      sensor: uuid,
      type,
      openedAt: new Date(),
      origin: OWN_ID,
      hops: [OWN_ID],
    };
    const ref = this.spool.openSession({ ...session, ...more });
    for (const payload of payloads) {
      const frame = sensor.frame(payload);
      this.spool.append(ref, frame, 0, frame.length);
    }
    this.spool.endSession(ref, 'closed', '');
  }

  logged(text: RegExp): Line[] {
    return this.lines.filter((line) => text.test(JSON.stringify(line)));
  }

  /** All that was appended is acknowledged. */
  through(): Promise<void> {
    return until(() => this.spool.cursor >= this.spool.lastSeq, 'all is acknowledged');
  }

  async stop(): Promise<void> {
    await this.upstream.close(2_000);
    await this.spool.close();
  }
}

function linesOf(count: number, text: string): string[] {
  return Array.from(
    { length: count },
    (_, index) => `${text} ${index} ${'x'.repeat(index % 90)}\n`,
  );
}

describe('a link to a gateway', async () => {
  const port = await freePort();
  const dir = gatewayDir();
  let receiver: Gateway = await startReceiver(dir, port);
  const tokenFile = await giveToken(receiver, tempDir('token'), 'partner');
  const token = readFileSync(tokenFile, 'latin1').trim();
  const ca = readFileSync(receiver.certFile, 'utf8');

  for (const compress of ['none', 'lz4'] as const) {
    test(`sessions arrive whole and in order, batches compressed: ${compress}`, async () => {
      const sending = await Sending.start({ port, token, ca, compress });
      const sensors = [1, 2, 3].map((number) => new Sensor(uuidOf(number + compress.length * 16)));
      for (const sensor of sensors) sending.session(sensor, linesOf(3_000, sensor.uuid));
      await sending.through();
      for (const sensor of sensors) {
        assert.equal(
          storedOf(receiver, sensor.uuid).toString(),
          linesOf(3_000, sensor.uuid).join(''),
        );
        const [own] = sensorsOf(await ledgerOf(receiver), sensor.uuid);
        assert.deepEqual(own?.received.frames, 3_000);
      }
      const sent = sending.spool.account.streams.map(({ amounts }) => amounts.sent?.frames);
      assert.deepEqual(sent, [3_000, 3_000, 3_000]);
      await sending.stop();
    });
  }

  test('a meta header goes with its session; its frames are verified there', async () => {
    const sending = await Sending.start({ port, token, ca });
    const sensor = new Sensor(uuidOf(0x40), 254);
    const text = '{"type":"ja3-jl","tags":["tlp:green"]}';
    const wire = Buffer.concat([sensor.frame(text.slice(0, 9), 2), sensor.frame(text.slice(9), 2)]);
    const meta = { type: 'ja3-jl', bytes: Buffer.from(text), frames: 2, wire };
    sending.session(sensor, ['{"a":1}\n', '{"b":2}\n'], { meta });
    await sending.through();
    assert.equal(storedOf(receiver, sensor.uuid, 'txt').toString(), '{"a":1}\n{"b":2}\n');
    assert.equal(storedOf(receiver, sensor.uuid, 'json').toString(), text);
    await sending.stop();
  });

  /** It was counted as sent. */
  test('a frame that memory has damaged is left out, and counts as dropped', async () => {
    const sending = await Sending.start({ port, token, ca });
    const sensor = new Sensor(uuidOf(0x48));
    await until(() => sending.logged(/link opened/).length === 1, 'the link is open');
    const lines = linesOf(100, 'damaged');
    sending.session(sensor, lines);
    const reader = sending.spool.blocks(0, false);
    const damaged = reader.next().then((block) => {
      const at = block!.bytes.indexOf(lines[50]!);
      block!.bytes[at + 3]! ^= 1;
    });
    await damaged;
    reader.close();
    await sending.through();
    const { amounts } = sending.spool.account.streams[0]!;
    assert.deepEqual([amounts.sent?.frames, amounts['dropped/damaged']?.frames], [99, 1]);
    const bytes = Buffer.byteLength(lines[50]!);
    assert.equal(amounts['dropped/damaged']?.bytes, bytes);
    assert.equal(
      storedOf(receiver, sensor.uuid).toString(),
      lines.filter((_, index) => index !== 50).join(''),
    );
    await sending.stop();
  });

  test('a session that is not taken costs itself alone, and is told of', async () => {
    const sending = await Sending.start({ port, token, ca });
    const forged = new Sensor(uuidOf(0x50), 3, 'not the key');
    const good = new Sensor(uuidOf(0x51));
    sending.session(forged, linesOf(500, 'forged'));
    sending.session(good, linesOf(500, 'good'));
    await sending.through();
    assert.equal(storedOf(receiver, good.uuid).toString(), linesOf(500, 'good').join(''));
    await until(() => sending.logged(/bad-hmac/).length === 1, 'the sender is told');
    assert.equal(storedOf(receiver, forged.uuid).length, 0);
    const report = await untilLedger(
      receiver,
      (now) => sensorsOf(now, '00000000-0000-4000-8000-000000000000').length > 0,
      'the frames are counted',
    );
    assert.ok(report.sensors.some(({ rejected }) => (rejected['bad-hmac']?.frames ?? 0) > 0));
    await sending.stop();
  });

  test('what came from the receiver is not taken back', async () => {
    const sending = await Sending.start({ port, token, ca });
    const gateway = readFileSync(join(dir, 'data', 'gateway-id'), 'utf8').trim();
    const sensor = new Sensor(uuidOf(0x60));
    sending.session(sensor, linesOf(100, 'round'), { origin: gateway, hops: [gateway, OWN_ID] });
    await sending.through();
    assert.equal(sending.logged(/relay-loop/).length, 1);
    assert.equal(storedOf(receiver, sensor.uuid).length, 0);
    await sending.stop();
    const own = await Sending.start({ port, token, ca, gateway });
    await until(() => own.logged(/links to itself/).length === 1, 'it is refused');
    await own.stop();
  });

  test('without its token, or by a certificate nobody vouches for, there is no link', async () => {
    const wrong = await Sending.start({ port, token: 'x'.repeat(43), ca });
    await until(() => wrong.logged(/does not take our link token/).length > 0, 'it is told why');
    await untilLedger(receiver, ({ refusals }) => refusals['link-refused'] === 1, 'it is counted');
    await wrong.stop();
    const blind = await Sending.start({ port, token });
    await until(
      () => blind.logged(/no known authority signed|SELF_SIGNED/).length > 0,
      'it is told',
    );
    await blind.stop();
    for (const { lines } of [wrong, blind]) assert.doesNotMatch(JSON.stringify(lines), /xxxxx/);
  });

  test('kill -9 of the receiver and of its workers, while sessions go on, loses nothing', async () => {
    const sending = await Sending.start({ port, token, ca, windowBytes: 2 ** 20 });
    const sensors = [0x70, 0x71, 0x72].map((number) => new Sensor(uuidOf(number)));
    const text = (sensor: Sensor, round: number) => linesOf(900, `${sensor.uuid} ${round}`);
    const refs = sensors.map(({ uuid, type }) =>
      sending.spool.openSession({ id: `long-${uuid}`, sensor: uuid, type, openedAt: new Date() }),
    );
    for (let round = 0; round < 8; round += 1) {
      for (const [index, sensor] of sensors.entries()) {
        for (const payload of text(sensor, round)) {
          // Frames that end anywhere in a line.
          for (const part of [payload.slice(0, 7), payload.slice(7)]) {
            const frame = sensor.frame(part);
            sending.spool.append(refs[index]!, frame, 0, frame.length);
          }
        }
      }
      await until(() => sending.spool.cursor > 0, 'it has begun');
      const workers = workersOf(receiver);
      if (round % 3 === 1) process.kill(workers[round % workers.length]!, 'SIGKILL');
      if (round % 3 !== 2) continue;
      for (const pid of workers) process.kill(pid, 'SIGKILL');
      receiver.process.kill('SIGKILL');
      await receiver.process.exit();
      receiver = await startReceiver(dir, port);
    }
    for (const ref of refs) sending.spool.endSession(ref, 'closed', '');
    await sending.through();
    for (const sensor of sensors) {
      const all = Array.from({ length: 8 }, (_, round) => text(sensor, round))
        .flat()
        .join('');
      assert.equal(storedOf(receiver, sensor.uuid).toString(), all);
    }
    await sending.stop();
  });

  test('a token that is removed ends its link; all balances in the end', async () => {
    receiver = await startReceiver(dir, port);
    const sending = await Sending.start({ port, token, ca });
    await until(() => sending.logged(/link opened/).length > 0, 'it is open');
    const list = await d4gw(['link', 'list', '--config', receiver.configFile]);
    assert.match(list.stdout, /partner/);
    assert.ok(list.stdout.includes(OWN_ID) && !list.stdout.includes(token));
    const removed = await d4gw(['link', 'remove', 'partner', '--config', receiver.configFile]);
    assert.equal(removed.code, 0);
    await until(() => sending.logged(/its token was removed/).length === 1, 'it ends');
    await sending.stop();
    assert.equal(await receiver.stop(), 0);
    const { code, ledger } = await receiver.ledger();
    assert.equal(code, 0, JSON.stringify(ledger.imbalances));
  });
});
