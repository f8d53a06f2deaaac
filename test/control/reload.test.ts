import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { parse, stringify } from 'yaml';
import { selfSigned } from '../../src/config/self-signed.js';
import {
  closed,
  Sensor,
  sensorsOf,
  sharedSecret,
  until,
  untilLedger,
  uuidOf,
  Witness,
  workersOf,
  write,
} from '../integration/peers.js';
import { freePort } from '../support/ports.js';
import { d4gw } from '../support/program.js';
import { Controlled, type Json } from './api.js';

const options = sharedSecret({
  sinks: {
    disk: { kind: 'files', dir: './data/sensors', flushMs: 100 },
    other: { kind: 'blackhole' },
  },
});
const dir = options.dir!;
const firstPair = await selfSigned();
const files = { certFile: './own.pem', keyFile: './own.key' };
writeFileSync(join(dir, 'own.pem'), firstPair.cert);
writeFileSync(join(dir, 'own.key'), firstPair.key, { mode: 0o600 });
const tlsSource = { tls: { host: '127.0.0.1', port: 0, ...files } };
const tcpSource = { tcp: { host: '127.0.0.1', port: 0 } };
options.config!.listen = [tlsSource, tcpSource];
const control = await Controlled.start(options);
const { gateway } = control;
const witness = await Witness.begin(gateway, new Sensor(uuidOf(1), 3));

/** Writes the configuration anew, with changes. */
function change(edit: (config: Json) => void): void {
  const config = parse(readFileSync(gateway.configFile, 'utf8')) as Json;
  edit(config);
  writeFileSync(gateway.configFile, stringify(config));
}

async function reload(edit: (config: Json) => void): Promise<string[]> {
  change(edit);
  return (await control.ok('POST', '/api/v1/reload')).changed;
}

/** The sinks that a new session of a sensor and type goes to. */
async function sinksOf(number: number, type = 3): Promise<string[]> {
  const sensor = new Sensor(uuidOf(number), type);
  const socket = await gateway.tcp();
  await write(socket, sensor.frame('x\n'));
  socket.end();
  await closed(socket);
  const report = await untilLedger(
    gateway,
    (now) => sensorsOf(now, sensor.uuid, type)[0]?.ends.closed === 1,
    'it is counted',
  );
  return sensorsOf(report, sensor.uuid, type)[0]!.sinks.map(({ sink }) => sink);
}

/** Resolves when a connection was made; rejects where nobody listens. */
function dial(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port }, () => resolve(socket));
    socket.once('error', reject);
  });
}

async function fingerprint(): Promise<string> {
  const socket: TLSSocket = await gateway.tls();
  const { fingerprint256 } = socket.getPeerCertificate();
  socket.destroy();
  return fingerprint256;
}

describe('a reload', () => {
  test('routes hold for sessions that begin then', async () => {
    assert.deepEqual(await sinksOf(10), ['disk']);
    const changed = await reload((config) => {
      config.routes = [
        { match: { types: [3] }, to: ['disk', 'other'] },
        { match: { types: [8] }, to: ['other'] },
      ];
    });
    assert.deepEqual(changed, ['routes']);
    assert.deepEqual(await sinksOf(11), ['disk', 'other']);
    assert.deepEqual(await sinksOf(12, 8), ['other']);
    const shown = await control.ok('GET', '/api/v1/config');
    assert.equal(shown.routes.length, 2);
    witness.check();
  });

  test('and for those of a worker that begins after it', async () => {
    const before = workersOf(gateway);
    let idle: Json;
    await until(async () => {
      const { workers } = await control.ok('GET', '/api/v1/overview');
      // The one that serves the witness goes on.
      idle = workers.find((one: Json) => one.pid !== null && one.sessions === 0);
      return idle && workers.some((one: Json) => one.sessions === 1);
    }, 'one worker is idle');
    process.kill(idle.pid, 'SIGKILL');
    await until(
      () =>
        workersOf(gateway).length === 2 && workersOf(gateway).some((pid) => !before.includes(pid)),
      'another worker runs',
    );
    await until(async () => {
      const { workers } = await control.ok('GET', '/api/v1/overview');
      return workers.every((one: Json) => one.state === 'running');
    }, 'it is ready');
    for (let number = 20; number < 24; number += 1) {
      assert.deepEqual(await sinksOf(number, 8), ['other']);
    }
    witness.check();
  });

  test('what is wrong is refused whole, and says what', async () => {
    const good = readFileSync(gateway.configFile, 'utf8');
    const taken = connectTls({
      host: '127.0.0.1',
      port: gateway.tlsPort,
      rejectUnauthorized: false,
    });
    taken.on('error', () => {});
    const wrong: [edit: (config: Json) => void, reason: RegExp][] = [
      [
        (config) => {
          config.rotes = [];
        },
        /rotes: unknown key; did you mean routes\?/,
      ],
      [
        (config) => {
          config.sinks.other = { kind: 'files', dir: './data/other' };
          config.routes = [{ to: ['disk'] }];
        },
        /sinks\.other\.kind: a change needs a restart of the gateway, or a sink of another name/,
      ],
      [
        (config) => {
          config.sinks.more = { kind: 'files', dir: './secret/below' };
        },
        /sink more: can't write to/,
      ],
      [
        (config) => {
          config.sinks.more = { kind: 'archive', dir: './blocked' };
          config.sinks.disk.rotateSeconds = 7;
        },
        /nothing was reloaded: .*blocked/,
      ],
      [
        (config) => {
          config.limits = { ringBytes: '1MiB', idleTimeoutMs: 5 };
        },
        /limits\.ringBytes: a change needs/,
      ],
      [
        (config) => {
          config.limits = { maxConnections: 30_000 };
        },
        /it began with 20000/,
      ],
      [
        (config) => {
          config.listen.push({ tcp: { host: '127.0.0.1', port: gateway.tlsPort } });
          config.routes = [{ to: ['other'] }];
        },
        /can't listen on tcp/,
      ],
      [
        (config) => {
          config.listen[0].tls.certFile = './secret';
        },
        /holds no PEM certificate/,
      ],
      [
        (config) => {
          config.alerts = { webhooks: [{ url: 'http://127.0.0.1:1/x', secretFile: './none' }] };
        },
        /secretFile: .* does not exist/,
      ],
    ];
    // Found only where a worker begins it: the others have made it ready by then.
    const account = join(dir, 'blocked', '1', 'account');
    mkdirSync(account, { recursive: true });
    writeFileSync(join(account, 'data.mdb'), 'x'.repeat(8192));
    for (const [edit, reason] of wrong) {
      writeFileSync(gateway.configFile, good);
      change(edit);
      const { status, body } = await control.post('/api/v1/reload');
      assert.equal(status, 400, JSON.stringify(body));
      assert.match(body.reason, reason);
    }
    writeFileSync(gateway.configFile, 'not: [yaml');
    assert.equal((await control.post('/api/v1/reload')).status, 400);
    writeFileSync(gateway.configFile, good);
    assert.deepEqual(await sinksOf(13), ['disk', 'other'], 'the old one is in force');
    taken.destroy();
    const refused = await control.ok('GET', '/api/v1/audit?act=config.reload-refused');
    assert.equal(refused.length, wrong.length + 1);
    witness.check();
  });

  test('listeners come and go; connections of one that went go on', async () => {
    const old = await gateway.tcp();
    const sensor = new Sensor(uuidOf(14));
    await write(old, sensor.frame('before\n'));
    const port = await freePort();
    const changed = await reload((config) => {
      config.listen = [tlsSource, { tcp: { host: '127.0.0.1', port } }];
    });
    assert.deepEqual(changed, ['listen']);
    await assert.rejects(dial(gateway.tcpPort), { code: 'ECONNREFUSED' });
    const fresh = await dial(port);
    await write(fresh, new Sensor(uuidOf(15)).frame('new\n'));
    fresh.end();
    await write(old, sensor.frame('after\n'));
    old.end();
    await closed(old);
    await untilLedger(
      gateway,
      (now) =>
        sensorsOf(now, sensor.uuid)[0]?.received.frames === 2 &&
        sensorsOf(now, uuidOf(15))[0]?.ends.closed === 1,
      'both were taken whole',
    );
    const { sources } = await control.ok('GET', '/api/v1/version');
    assert.deepEqual(sources, [`tls 127.0.0.1:${gateway.tlsPort}`, `tcp 127.0.0.1:${port}`]);
    await reload((config) => {
      config.listen = [tlsSource, { tcp: { host: '127.0.0.1', port: gateway.tcpPort } }];
    });
    assert.deepEqual(await sinksOf(16), ['disk', 'other']);
    witness.check();
  });

  test('types that are accepted, and limits', async () => {
    await reload((config) => {
      config.admission.types = [3];
      config.limits = { maxConnectionsPerIp: 2 };
    });
    const other = await gateway.tcp();
    other.write(new Sensor(uuidOf(17), 8).frame('x'));
    await closed(other);
    await untilLedger(gateway, ({ refusals }) => refusals['bad-type'] === 1, 'type 8 is refused');
    const second = await gateway.tcp();
    const third = await dial(gateway.tcpPort);
    await closed(third);
    second.destroy();
    await reload((config) => {
      config.admission.types = [3, 8];
      config.limits = undefined;
    });
    assert.deepEqual(await sinksOf(18, 8), ['other']);
    witness.check();
  });

  test('a shared secret: the new one is taken, and the old one for a while', async () => {
    writeFileSync(join(dir, 'secret'), 'another secret\n');
    await control.ok('POST', '/api/v1/reload');
    for (const [number, key] of [
      [30, 'another secret'],
      [31, undefined],
    ] as const) {
      const sensor = new Sensor(uuidOf(number), 3, key);
      const socket = await gateway.tcp();
      await write(socket, sensor.frame('x\n'));
      socket.end();
      await closed(socket);
      const report = await untilLedger(
        gateway,
        (now) => sensorsOf(now, sensor.uuid)[0]?.ends.closed === 1,
        'it was taken',
      );
      assert.deepEqual(sensorsOf(report, sensor.uuid)[0]!.rejected, {});
    }
    const wrong = await gateway.tcp();
    wrong.write(new Sensor(uuidOf(32), 3, 'neither').frame('x\n'));
    await closed(wrong);
    witness.check();
  });

  test('a certificate whose files are replaced is taken by itself', async () => {
    const before = await fingerprint();
    const pair = await selfSigned();
    writeFileSync(join(dir, 'own.key'), pair.key);
    writeFileSync(join(dir, 'own.pem'), pair.cert);
    await until(async () => (await fingerprint()) !== before, 'the new certificate is shown');
    witness.check();
  });

  test('by the command and by the signal, which tell what came of it', async () => {
    change((config) => {
      config.routes = [{ to: ['disk'] }];
    });
    const done = await gateway.command('reload');
    assert.deepEqual([done.code, done.stdout, done.stderr], [0, 'reloaded: routes\n', '']);
    assert.deepEqual(await sinksOf(40), ['disk']);
    change((config) => {
      config.workers = 1;
    });
    const refused = await gateway.command('reload');
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /d4gw: workers: a change needs a restart of the gateway/);
    change((config) => {
      config.workers = 2;
      config.routes = [{ to: ['other'] }];
    });
    const count = gateway.logged('reloaded').length;
    gateway.process.kill('SIGHUP');
    await gateway.until(() => gateway.logged('reloaded').length > count, 'it is reloaded');
    assert.deepEqual(await sinksOf(41), ['other']);
    const nobody = await d4gw(['reload', '--data-dir', join(dir, 'nothing')]);
    assert.match(nobody.stderr, /no gateway runs on/);
    assert.equal(nobody.code, 1);
  });

  test('no frame of a stream that went on all the while was lost', async () => {
    await witness.finish(gateway);
    assert.equal((await gateway.ledger()).code, 0);
    assert.equal(await gateway.stop(), 0);
  });
});
