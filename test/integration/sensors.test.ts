import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { run } from '../support/process.js';
import { d4gw } from '../support/program.js';
import { tempDir } from '../support/tmp.js';
import { Gateway } from './gateway.js';
import {
  closed,
  ledgerOf,
  recordOf,
  register,
  Sensor,
  sensorsOf,
  sharedSecret,
  storedOf,
  until,
  untilLedger,
  uuidOf,
  write,
} from './peers.js';

const NEW_KEY = 'a new key that was never used';

/** Frames of a sensor that the ledger has as delivered. */
async function deliveredOf(gateway: Gateway, { uuid, type }: Sensor): Promise<number> {
  const [own] = sensorsOf(await ledgerOf(gateway), uuid, type);
  return own?.sinks[0]?.delivered.frames ?? 0;
}

/** Sends one frame over the socket and waits until it is stored. */
async function sendStored(gateway: Gateway, socket: Socket, sensor: Sensor, text: string) {
  const before = await deliveredOf(gateway, sensor);
  await write(socket, sensor.frame(text));
  await until(async () => (await deliveredOf(gateway, sensor)) > before, `${text} is stored`);
}

/** Connects until a frame of the sensor is taken. */
function untilTaken(gateway: Gateway, sensor: Sensor): Promise<void> {
  return until(async () => {
    const before = await deliveredOf(gateway, sensor);
    const socket = await gateway.tcp();
    socket.end(sensor.frame('taken\n'));
    await closed(socket);
    const over = (own: { open: number }) => own.open === 0;
    await untilLedger(
      gateway,
      (report) => sensorsOf(report, sensor.uuid, sensor.type).every(over),
      'the session is over',
    );
    return (await deliveredOf(gateway, sensor)) > before;
  }, 'a frame is taken');
}

/** Connects once; the record then says why it was refused. */
async function untilRefused(gateway: Gateway, sensor: Sensor, reason: string): Promise<void> {
  await until(async () => {
    const socket = await gateway.tcp();
    socket.write(sensor.frame('refused\n'));
    await closed(socket);
    return (await recordOf(gateway, sensor.uuid)).lastReject?.reason === reason;
  }, `refused: ${reason}`);
}

async function sensorCommand(gateway: Gateway, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await gateway.command('sensor', ...args);
  assert.equal(code, 0, stderr);
  return stdout;
}

const ends = async (gateway: Gateway, { uuid }: Sensor, end: string, count = 1) => {
  const what = `the session ended: ${end}`;
  const ended = (own: { ends: Record<string, number> } | undefined) => own?.ends[end] === count;
  await untilLedger(gateway, (report) => sensorsOf(report, uuid).some(ended), what);
};

describe('registration, by the commands, on a running gateway', async () => {
  const gateway = await Gateway.start();

  test('add --out writes what the client needs', async () => {
    const dir = join(tempDir('client'), 'sensor');
    await sensorCommand(gateway, 'add', '--name', 'first', '--type', '3', '--out', dir);
    const uuid = readFileSync(join(dir, 'uuid'), 'utf8').trim();
    const to = `127.0.0.1:${gateway.tlsPort}`;
    const input = 'a line\nand another\n';
    const args = ['client', '-c', dir, '--to', to, '--ca', gateway.certFile, '--once'];
    const { code, stderr } = await d4gw(args, { input });
    assert.equal(code, 0, stderr);
    const sensor = new Sensor(uuid);
    await ends(gateway, sensor, 'closed');
    assert.equal(storedOf(gateway, uuid).toString(), input);
    await until(async () => (await recordOf(gateway, 'first')).lastSeen !== null, 'it was seen');
    const record = await recordOf(gateway, 'first');
    assert.equal(record.state, 'approved');
    assert.equal(record.lastAddress, '127.0.0.1');
    assert.equal(record.lastReject, null);
  });

  test('pending, then approved', async () => {
    const sensor = new Sensor(uuidOf(1));
    await gateway.addSensor(sensor.uuid, sensor.key, '--pending');
    await untilRefused(gateway, sensor, 'sensor-pending');
    assert.equal(await deliveredOf(gateway, sensor), 0);
    await sensorCommand(gateway, 'approve', sensor.uuid);
    await untilTaken(gateway, sensor);
  });

  test('unknown, until it is added', async () => {
    const sensor = new Sensor(uuidOf(2));
    const socket = await gateway.tls();
    socket.write(sensor.frame('x'));
    await closed(socket);
    await untilLedger(gateway, ({ refusals }) => refusals['unknown-sensor'] === 1, 'it is counted');
    const [line] = gateway.logged('rejected').filter(({ reason }) => reason === 'unknown-sensor');
    assert.equal(line!.sensor, sensor.uuid);
    await gateway.addSensor(sensor.uuid, sensor.key);
    await untilTaken(gateway, sensor);
  });

  test('block ends what is open, and unblock lets it in again', async () => {
    const sensor = new Sensor(uuidOf(3));
    await gateway.addSensor(sensor.uuid, sensor.key);
    const sockets = [await gateway.tls(), await gateway.unix()];
    const types = [sensor, new Sensor(sensor.uuid, 8)];
    await sendStored(gateway, sockets[0]!, types[0]!, 'before the block\n');
    await sendStored(gateway, sockets[1]!, types[1]!, 'of another type\n');
    await sensorCommand(gateway, 'block', sensor.uuid);
    await Promise.all(sockets.map((socket) => closed(socket)));
    await untilLedger(
      gateway,
      (report) =>
        sensorsOf(report, sensor.uuid).filter((own) => own.ends['sensor-blocked'] === 1).length ===
        2,
      'both sessions ended',
    );
    const record = await recordOf(gateway, sensor.uuid);
    assert.equal(record.state, 'blocked');
    assert.equal(record.lastReject?.reason, 'sensor-blocked');
    const stored = await deliveredOf(gateway, sensor);
    await untilRefused(gateway, sensor, 'sensor-blocked');
    assert.equal(await deliveredOf(gateway, sensor), stored);
    await sensorCommand(gateway, 'unblock', sensor.uuid);
    await untilTaken(gateway, sensor);
  });

  test('rotate-key: the old key holds for the grace, no frame is lost, then it is void', async () => {
    const old = new Sensor(uuidOf(4));
    const renewed = new Sensor(old.uuid, 8, NEW_KEY);
    await gateway.addSensor(old.uuid, old.key);
    const socket = await gateway.tls();
    await sendStored(gateway, socket, old, 'before\n');
    const args = ['sensor', 'rotate-key', old.uuid, '--key-stdin', '--grace', '3'];
    const config = ['--config', gateway.configFile];
    const { code, stderr } = await d4gw([...args, ...config], { input: NEW_KEY });
    assert.equal(code, 0, stderr);
    await untilTaken(gateway, renewed);
    await sendStored(gateway, socket, old, 'under the old key\n');
    // One session may go over from the old key to the new.
    await sendStored(gateway, socket, new Sensor(old.uuid, old.type, NEW_KEY), 'under the new\n');
    await until(async () => {
      const record = await recordOf(gateway, old.uuid);
      return (record as { previousKeyValidUntil?: unknown }).previousKeyValidUntil === null;
    }, 'the grace is over');
    socket.write(old.frame('too late\n'));
    await closed(socket);
    await ends(gateway, old, 'bad-hmac');
    await untilRefused(gateway, old, 'bad-hmac');
    assert.equal(
      storedOf(gateway, old.uuid, 'syslog.txt').toString(),
      'before\nunder the old key\nunder the new\n',
    );
  });

  test('a blocked address is closed at accept; other sources go on', async () => {
    const sensor = new Sensor(uuidOf(5));
    await register(gateway, [sensor]);
    const socket = await gateway.tcp();
    const local = await gateway.unix();
    await sendStored(gateway, socket, sensor, 'before\n');
    await sendStored(gateway, local, new Sensor(sensor.uuid, 8), 'before\n');
    await sensorCommand(gateway, 'block', '127.0.0.0/8');
    await closed(socket);
    await ends(gateway, sensor, 'address-blocked');
    await until(async () => {
      await closed(await gateway.tcp());
      return gateway.logged('rejected').some(({ msg, reason, source }) => {
        return msg === 'rejected' && reason === 'address-blocked' && /^tcp/.test(`${source}`);
      });
    }, 'refused at accept');
    await untilLedger(gateway, ({ refusals }) => refusals['address-blocked']! > 0, 'it is counted');
    await sendStored(gateway, local, new Sensor(sensor.uuid, 8), 'still here\n');
    local.end();
    await closed(local);
    await sensorCommand(gateway, 'unblock', '127.0.0.0/8');
    await until(async () => {
      const again = await gateway.tcp();
      again.end(sensor.frame('again\n'));
      await closed(again);
      return storedOf(gateway, sensor.uuid).includes('again\n');
    }, 'let in again');
  });

  test('remove ends what is open; the sensor is unknown then, what it sent stays', async () => {
    const sensor = new Sensor(uuidOf(6));
    await gateway.addSensor(sensor.uuid, sensor.key);
    const socket = await gateway.tls();
    await sendStored(gateway, socket, sensor, 'kept\n');
    await sensorCommand(gateway, 'remove', sensor.uuid);
    await closed(socket);
    await ends(gateway, sensor, 'sensor-removed');
    const { refusals } = await ledgerOf(gateway);
    const again = await gateway.tcp();
    again.write(sensor.frame('unknown now\n'));
    await closed(again);
    const count = (refusals['unknown-sensor'] ?? 0) + 1;
    await untilLedger(gateway, (now) => now.refusals['unknown-sensor']! >= count, 'it is counted');
    assert.equal(storedOf(gateway, sensor.uuid).toString(), 'kept\n');
    const { code } = await gateway.command('sensor', 'show', sensor.uuid);
    assert.equal(code, 1);
  });

  test('a second connection of a sensor and type takes the place of the first', async () => {
    const sensor = new Sensor(uuidOf(7));
    const extended = new Sensor(sensor.uuid, 254);
    await register(gateway, [sensor]);
    const first = await gateway.tls();
    await sendStored(gateway, first, sensor, 'first\n');
    // Neither a stranger without the key nor another type replaces it.
    const stranger = await gateway.tcp();
    stranger.write(new Sensor(sensor.uuid, 3, 'wrong').frame('x'));
    await closed(stranger);
    const several = [await gateway.tcp(), await gateway.tcp()];
    for (const socket of several) {
      await write(socket, extended.frame('{"type":"ja3-jl"}', 2));
      await sendStored(gateway, socket, extended, '{}\n');
    }
    await sendStored(gateway, first, sensor, 'still first\n');
    const second = await gateway.tcp();
    await write(second, sensor.frame('second\n'));
    await closed(first);
    await ends(gateway, sensor, 'replaced');
    for (const socket of [...several, second]) {
      socket.end();
      await closed(socket);
    }
    const report = await untilLedger(gateway, ({ sessions }) => sessions.length === 0, 'all over');
    const own = sensorsOf(report, sensor.uuid, 3)[0]!;
    assert.deepEqual(own.ends, { 'bad-hmac': 1, replaced: 1, closed: 1 });
    assert.deepEqual(sensorsOf(report, sensor.uuid, 254)[0]!.ends, { closed: 2 });
    assert.equal(
      storedOf(gateway, sensor.uuid, 'syslog.txt').toString(),
      'first\nstill first\nsecond\n',
    );
  });

  test('the books balance', async () => {
    const { code } = await gateway.ledger();
    assert.equal(code, 0);
    assert.equal(await gateway.stop(), 0);
  });
});

describe('duplicateSession: reject', async () => {
  const options = sharedSecret();
  options.config!.admission = {
    ...(options.config!.admission as object),
    duplicateSession: 'reject',
  };
  const gateway = await Gateway.start(options);

  test('the second connection ends, the first goes on', async () => {
    const sensor = new Sensor(uuidOf(1));
    const first = await gateway.tcp();
    await sendStored(gateway, first, sensor, 'first\n');
    const second = await gateway.tls();
    second.write(sensor.frame('second\n'));
    await closed(second);
    await ends(gateway, sensor, 'duplicate-session');
    await sendStored(gateway, first, sensor, 'still first\n');
    first.end();
    await closed(first);
    await ends(gateway, sensor, 'closed');
    await untilTaken(gateway, sensor);
    assert.equal(await gateway.stop(), 0);
  });
});

describe('client certificates', async () => {
  const options = sharedSecret();
  const dir = options.dir!;
  await makeCertificates(dir);
  const tls = (clientCert: string) => ({
    tls: { host: '127.0.0.1', port: 0, clientCert, caFile: './ca.pem' },
  });
  options.config!.listen = [tls('require'), tls('request')];
  const gateway = await Gateway.start(options);
  const [required, requested] = (gateway.logged('listening')[0]!.sources as string[]).map((name) =>
    Number(name.split(':').at(-1)),
  );

  /** Whether a client with this certificate says that it has sent all. */
  async function sent(sensor: Sensor, port: number, name?: string): Promise<boolean> {
    const to = `127.0.0.1:${port}`;
    const own = name
      ? ['--cert', join(dir, `${name}.pem`), '--key-file', join(dir, `${name}.key`)]
      : [];
    const args = ['client', '-c', sensor.clientDirectory(), '--to', to, '--ca', gateway.certFile];
    const { code } = await d4gw([...args, ...own, '--once'], { input: 'with a certificate\n' });
    return code === 0;
  }

  /** The same, and it is stored. */
  async function stored(sensor: Sensor, port: number, name?: string): Promise<void> {
    assert.equal(await sent(sensor, port, name), true);
    await ends(gateway, sensor, 'closed');
    assert.equal(storedOf(gateway, sensor.uuid).toString(), 'with a certificate\n');
  }

  test('required: one of the CA is taken', async () => {
    await stored(new Sensor(uuidOf(1)), required!, 'sensor');
  });

  test('required: neither none nor a stranger is', async () => {
    assert.equal(await sent(new Sensor(uuidOf(2)), required!), false);
    // A TLS 1.3 client may be done before it could hear that its certificate is not taken.
    await sent(new Sensor(uuidOf(3)), required!, 'stranger');
    await untilLedger(gateway, ({ refusals }) => refusals['handshake-failed'] === 2, 'counted');
    const { sensors } = await ledgerOf(gateway);
    assert.deepEqual(
      sensors.map(({ sensor }) => sensor),
      [uuidOf(1)],
    );
    assert.ok(gateway.logged('rejected').some(({ detail }) => /caFile/.test(`${detail}`)));
  });

  test('requested: none is taken, and one of the CA', async () => {
    await stored(new Sensor(uuidOf(4)), requested!);
    await stored(new Sensor(uuidOf(5)), requested!, 'sensor');
  });

  test('TLS 1.1 is not spoken, 1.2 is', async () => {
    for (const [version, works] of [
      ['TLSv1.1', false],
      ['TLSv1.2', true],
    ] as const) {
      const socket = connectTls({
        host: '127.0.0.1',
        port: requested!,
        rejectUnauthorized: false,
        minVersion: version,
        maxVersion: version,
        ciphers: 'DEFAULT@SECLEVEL=0',
      });
      const secured = await new Promise((resolve) => {
        socket.once('secureConnect', () => resolve(true));
        socket.once('error', () => resolve(false));
      });
      socket.destroy();
      assert.equal(secured, works, version);
    }
    assert.equal(await gateway.stop(), 0);
  });
});

/** A CA, a certificate of it, and one of somebody else. */
async function makeCertificates(dir: string): Promise<void> {
  const openssl = async (...args: string[]) => {
    const { code, stderr } = await run('openssl', args, { cwd: dir });
    assert.equal(code, 0, stderr);
  };
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  for (const name of ['ca', 'stranger']) {
    const files = ['-keyout', `${name}.key`, '-out', `${name}.pem`];
    await openssl('req', '-x509', ...newKey, ...files, '-subj', `/CN=${name}`, '-days', '3650');
  }
  await openssl('req', ...newKey, '-keyout', 'sensor.key', '-out', 'sensor.csr', '-subj', '/CN=s');
  const by = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '3650'];
  await openssl('x509', '-req', '-in', 'sensor.csr', ...by, '-out', 'sensor.pem');
}
