import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { describe, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { isDeepStrictEqual } from 'node:util';
import { rejectName } from '../../src/wire/reject.js';
import {
  type RecordedStream,
  recordedStreams,
  sharedPath,
  skipWithoutShared,
} from '../support/shared.js';
import { Gateway } from './gateway.js';
import {
  delivered,
  ledgerOf,
  RECORDED_KEY,
  recordOf,
  sensorsOf,
  socatFile,
  TRANSPORTS,
  type Transport,
  until,
  untilLedger,
  workersOf,
  write,
} from './peers.js';

const C_SENSOR = '3a9f1c52-6d0e-4b7a-9c41-5e2f8b7d0a13';
const GO_SENSOR = '8c5e27d4-1f3b-4e90-a6d2-7b94c03e5f61';
const META = '2';
/** DESIGN, "Files the gateway writes". */
const EXTENSIONS: Readonly<Record<number, string>> = {
  1: 'cap',
  3: 'syslog.txt',
  8: 'passivedns.txt',
  254: 'txt',
};
/** The recorded streams that no server takes; WIRE.md says why. */
const REFUSED: Readonly<Record<string, string>> = {
  'c-k1-t254-nometa.d4': 'meta-missing',
  'c-k1-t3-niluuid.d4': 'bad-uuid',
  'c-k1-t3-version2.d4': 'bad-version',
};
/** The odd ones that are stored whole all the same. */
const ODD_AND_STORED = [
  'c-k1-t2+t254-socat-tls.d4',
  'c-k1-t3-killed.d4',
  'c-k1-t3-snap0.d4',
  'go-k1-t2-ja3.d4',
  'go-k1-t254-metasplit-snap50.d4',
  'go-k1-t254-reconnect-0.d4',
  'go-k1-t254-reconnect-1.d4',
  'go-k1-t3-tls.d4',
];

const streams = recordedStreams();

async function gatewayWithBoth(): Promise<Gateway> {
  const gateway = await Gateway.start();
  await gateway.addSensor(C_SENSOR, RECORDED_KEY);
  await gateway.addSensor(GO_SENSOR, RECORDED_KEY);
  return gateway;
}

/** The type that a session of this stream counts as. */
const sessionType = ({ type }: RecordedStream) => (type === 2 ? 254 : type);

/** Sessions of a stream's sensor and type that are over. */
async function endedSessions(gateway: Gateway, stream: RecordedStream): Promise<number> {
  const [report] = sensorsOf(await ledgerOf(gateway), stream.uuid, sessionType(stream));
  return report ? report.sessions - report.open : 0;
}

/** The expected content by extension: a stream without payload makes no file. */
function expectedFiles(stream: RecordedStream): Record<string, string> {
  const files: Record<string, string> = {};
  for (const [type, { payload_bytes, sha256 }] of Object.entries(stream.per_type)) {
    if (payload_bytes === 0) continue;
    files[type === META ? 'json' : EXTENSIONS[Number(type)]!] = sha256;
  }
  return files;
}

function checkFiles(gateway: Gateway, stream: RecordedStream, files: readonly string[]): void {
  const hex = stream.uuid.replaceAll('-', '');
  const type = sessionType(stream);
  const meta = type === 254 ? 'ja3-jl/' : '';
  const form = new RegExp(
    `^${hex}/${type}/(\\d{4})/(\\d\\d)/(\\d\\d)/${meta}${hex}-\\1-\\2-\\3-\\d{6}(?:-\\d+)?\\.(.+)$`,
  );
  const stored: Record<string, string> = {};
  for (const file of files) {
    const ext = form.exec(file)?.[4];
    assert.ok(ext, `${file} is named as DESIGN says`);
    assert.equal(stored[ext], undefined, `one file .${ext} of one session`);
    stored[ext] = createHash('sha256').update(gateway.read(file)).digest('hex');
  }
  assert.deepEqual(stored, expectedFiles(stream));
}

test('the manifest and the tables here name the same odd streams', {
  skip: skipWithoutShared(),
}, () => {
  const odd = streams.filter((stream) => stream.odd).map(({ file }) => file);
  assert.deepEqual(odd.sort(), [...Object.keys(REFUSED), ...ODD_AND_STORED].sort());
});

describe('recorded streams', { skip: skipWithoutShared() }, async () => {
  const gateway = skipWithoutShared() ? undefined : await gatewayWithBoth();
  const refusals: Record<string, number> = {};

  async function store(transport: Transport, stream: RecordedStream): Promise<void> {
    const before = new Set(gateway!.files());
    const sessions = await endedSessions(gateway!, stream);
    const sent = await socatFile(gateway!, transport, sharedPath('streams', stream.file));
    assert.equal(sent.code, 0, sent.stderr);
    if (stream.frames > 0) {
      await untilLedger(
        gateway!,
        (report) =>
          report.sessions.length === 0 &&
          sensorsOf(report, stream.uuid, sessionType(stream))[0]?.sessions === sessions + 1,
        `${stream.file} is counted`,
      );
    }
    const files = gateway!.files().filter((file) => !before.has(file));
    checkFiles(gateway!, stream, files);
  }

  async function refuse(transport: Transport, stream: RecordedStream, reason: string) {
    const files = gateway!.files();
    refusals[reason] = (refusals[reason] ?? 0) + 1;
    await socatFile(gateway!, transport, sharedPath('streams', stream.file));
    const lines = () => gateway!.logged('rejected').filter((line) => line.reason === reason);
    await gateway!.until(() => lines().length === refusals[reason], `${stream.file} is refused`);
    assert.deepEqual(gateway!.files(), files, 'nothing of it is stored');
    // Of the three, the one whose header names a sensor without contradiction is on its record.
    if (reason !== 'meta-missing') return;
    await until(async () => {
      const { lastReject } = await recordOf(gateway!, stream.uuid);
      const address = transport === 'unix' ? 'unix' : '127.0.0.1';
      return lastReject?.reason === reason && lastReject.address === address;
    }, "the reject is on the sensor's record");
  }

  for (const transport of TRANSPORTS) {
    describe(`over ${transport}`, () => {
      for (const stream of streams) {
        const reason = REFUSED[stream.file];
        test(`${stream.file}${reason ? `: ${reason}` : ''}`, () =>
          reason ? refuse(transport, stream, reason) : store(transport, stream));
      }
    });
  }

  test('the ledger balances and counts frames and bytes as the manifest does', async () => {
    await untilLedger(
      gateway!,
      (report) => isDeepStrictEqual(report.refusals, refusals),
      'the refusals are counted',
    );
    const { code, ledger } = await gateway!.ledger();
    assert.equal(code, 0);
    assert.equal(ledger.balanced, true);
    assert.deepEqual(ledger.refusals, refusals);
    const expected = new Map<string, { sessions: number; frames: number; bytes: number }>();
    for (const stream of streams) {
      if (REFUSED[stream.file] || stream.frames === 0) continue;
      const key = `${stream.uuid} ${sessionType(stream)}`;
      const sum = expected.get(key) ?? { sessions: 0, frames: 0, bytes: 0 };
      expected.set(key, sum);
      sum.sessions += TRANSPORTS.length;
      sum.frames += TRANSPORTS.length * stream.frames;
      sum.bytes += TRANSPORTS.length * stream.payload_bytes;
    }
    const found = new Map();
    for (const { sensor, type, sessions, received, rejected, truncated, sinks } of ledger.sensors) {
      found.set(`${sensor} ${type}`, { sessions, ...received });
      assert.deepEqual(rejected, {});
      assert.deepEqual(truncated, { count: 0, bytes: 0 });
      assert.deepEqual(sinks[0].delivered, received);
    }
    assert.deepEqual(found, expected);
  });

  test('one log line a rejected connection, without a stack', () => {
    const rejected = gateway!.logged('rejected');
    assert.equal(rejected.length, Object.keys(REFUSED).length * TRANSPORTS.length);
    assert.doesNotMatch(gateway!.process.stdout, /\n\s+at |Error:/);
    assert.equal(gateway!.process.stderr, '');
  });

  test('it stops with exit code 0', async () => {
    assert.equal(await gateway!.stop(), 0);
  });
});

describe('a TCP RST at the end of a good stream', { skip: skipWithoutShared() }, async () => {
  const gateway = skipWithoutShared() ? undefined : await gatewayWithBoth();
  const stream = streams.find(({ file }) => file === 'c-k1-t1-live.d4')!;

  /** Sends bytes; when the gateway's kernel has them all, runs `before`, then resets. */
  async function reset(secure: boolean, bytes: Buffer, before = async () => {}): Promise<void> {
    const { tlsPort, tcpPort } = gateway!;
    const raw = connect({ host: '127.0.0.1', port: secure ? tlsPort : tcpPort, noDelay: true });
    raw.on('error', () => {});
    const minVersion = 'TLSv1.3' as const;
    const socket = secure
      ? connectTls({ socket: raw, rejectUnauthorized: false, minVersion })
      : raw;
    socket.on('error', () => {});
    await new Promise((resolve) => socket.once(secure ? 'secureConnect' : 'connect', resolve));
    await before();
    await write(socket, bytes);
    await delivered(raw);
    raw.resetAndDestroy();
  }

  async function storedWhole(files: readonly string[], ends: number): Promise<void> {
    const report = await untilLedger(
      gateway!,
      ({ sensors, sessions }) => sessions.length === 0 && sensors[0]?.ends.reset === ends,
      'the session is over',
    );
    assert.deepEqual(report.sensors[0]!.rejected, {});
    assert.deepEqual(report.sensors[0]!.truncated, { count: 0, bytes: 0 });
    assert.deepEqual(report.refusals, {});
    const fresh = gateway!.files().filter((file) => !files.includes(file));
    checkFiles(gateway!, stream, fresh);
  }

  let ends = 0;
  for (const secure of [true, false]) {
    test(`stored whole over ${secure ? 'TLS 1.3' : 'plain TCP'}`, async () => {
      const bytes = readFileSync(sharedPath('streams', stream.file));
      const files = gateway!.files();
      await reset(secure, bytes);
      ends += 1;
      await storedWhole(files, ends);
    });
  }

  for (const secure of [true, false]) {
    const how = secure ? 'TLS 1.3' : 'plain TCP';
    test(`what the kernel took before it is stored, over ${how}`, async () => {
      const small = streams.find(({ file }) => file === 'c-k1-t3-snap7.d4')!;
      const bytes = readFileSync(sharedPath('streams', small.file));
      const files = gateway!.files();
      const workers = workersOf(gateway!);
      // The workers stand still from before the first byte until after the RST.
      await reset(secure, bytes, async () => {
        for (const pid of workers) process.kill(pid, 'SIGSTOP');
      });
      for (const pid of workers) process.kill(pid, 'SIGCONT');
      const report = await untilLedger(
        gateway!,
        (now) =>
          now.sessions.length === 0 &&
          sensorsOf(now, small.uuid, 3)[0]?.sessions === (secure ? 1 : 2),
        'the session is over',
      );
      // Under TLS, Node tells an RST behind unread data as an end or as an error.
      const [sensor] = sensorsOf(report, small.uuid, 3);
      assert.deepEqual(sensor!.rejected, {});
      assert.ok(Object.keys(sensor!.ends).every((end) => end === 'reset' || end === 'closed'));
      checkFiles(
        gateway!,
        small,
        gateway!.files().filter((file) => !files.includes(file)),
      );
    });
  }

  test('it alarms nobody', async () => {
    assert.deepEqual(gateway!.logged('rejected'), []);
    // What is said before it listens is of the machine, such as its limit of open files.
    const lines = gateway!.log();
    const listening = lines.findIndex(({ msg }) => msg === 'listening');
    const levels = lines.slice(listening).map(({ level }) => level);
    assert.ok(levels.length > 1);
    assert.ok(
      levels.every((level) => level === 'info'),
      String(levels),
    );
    const { lastReject } = await recordOf(gateway!, C_SENSOR);
    assert.equal(lastReject, null);
    assert.equal(await gateway!.stop(), 0);
  });
});

test('reject names in the tables here exist', () => {
  const names = Array.from({ length: 100 }, (_, code) => rejectName(code));
  for (const name of Object.values(REFUSED)) assert.ok(names.includes(name), name);
});
