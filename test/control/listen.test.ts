import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { stringify } from 'yaml';
import { selfSigned } from '../../src/config/self-signed.js';
import { Gateway } from '../integration/gateway.js';
import { Sensor, sharedSecret, storedOf, until, uuidOf } from '../integration/peers.js';
import { d4gw } from '../support/program.js';
import { tempDir } from '../support/tmp.js';
import { Controlled } from './api.js';

test('a port that is taken is named, with the mend, and nothing is left behind', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  after(() => server.close());
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  const dir = tempDir('listen');
  const file = join(dir, 'config.yaml');
  const config = {
    workers: 1,
    listen: [{ tcp: { host: '127.0.0.1', port: 0 } }],
    sinks: { nowhere: { kind: 'blackhole' } },
    routes: [{ to: ['nowhere'] }],
    control: { port },
  };
  writeFileSync(file, stringify(config));
  const { code, stderr } = await d4gw(['serve', '--config', file], { deadlineMs: 30_000 });
  assert.equal(code, 1);
  const line = `can't listen on control 127.0.0.1:${port}: it is in use; stop the other program`;
  assert.ok(stderr.includes(line), stderr);
});

test('beyond loopback it wants TLS, or to be told that it is insecure', async () => {
  const file = join(tempDir('listen'), 'config.yaml');
  const check = async (control: object) => {
    const config = {
      listen: [{ tcp: { port: 4444 } }],
      sinks: { nowhere: { kind: 'blackhole' } },
      routes: [{ to: ['nowhere'] }],
      control,
    };
    writeFileSync(file, stringify(config));
    return d4gw(['check-config', '--config', file]);
  };
  for (const host of ['0.0.0.0', '::', '192.0.2.1', 'gateway.example']) {
    const { code, stderr } = await check({ host });
    assert.equal(code, 2);
    assert.match(stderr, /control\.host: .* tokens would travel in the clear: give control\.tls/);
    assert.equal((await check({ host, insecure: true })).code, 0);
    assert.equal((await check({ host, tls: {} })).code, 0);
  }
  for (const host of ['127.0.0.1', '127.1.2.3', '::1', 'localhost']) {
    assert.equal((await check({ host })).code, 0, host);
  }
  assert.match((await check({ port: 4444 })).stderr, /control\.port: 4444 is taken by listen\[0\]/);
  assert.match((await check({ publicUrl: 'd4.example' })).stderr, /control\.publicUrl: .* a URL/);
  assert.match((await check({ tls: { certFile: 'x' } })).stderr, /control\.tls\.keyFile: missing/);
});

test('with TLS: its own certificate, and cookies of TLS alone; a restart makes no new token', async () => {
  const control = await Controlled.start({ config: { control: { port: 0, tls: {} } } });
  const { gateway, admin } = control;
  assert.match(control.url, /^https:/);
  const ca = readFileSync(gateway.certFile);
  const login = (url: string) =>
    new Promise<{ status: number | undefined; cookie: string | undefined }>((resolve, reject) => {
      const req = request(`${url}/api/v1/login`, { method: 'POST', ca }, (response) => {
        response.resume();
        const { statusCode: status, headers } = response;
        resolve({ status, cookie: headers['set-cookie']?.[0] });
      });
      req.on('error', reject);
      req.end(JSON.stringify({ token: admin }));
    });
  const { status, cookie } = await login(control.url);
  assert.equal(status, 200);
  assert.match(cookie!, /^__Host-d4gw=[\w-]{43}; Path=\/; HttpOnly; SameSite=Strict; .*; Secure$/);
  const { dir } = gateway;
  assert.equal(await gateway.stop(), 0);
  const again = await Gateway.start({ dir, config: { control: { port: 0, tls: {} } } });
  assert.deepEqual(again.logged('the first admin token'), []);
  const url = again.logged('the control plane listens')[0]!.url as string;
  assert.equal((await login(url)).status, 200, 'the same token holds');
  assert.equal(await again.stop(), 0);
});

test('its certificate is taken anew when its files change, and at a reload', async () => {
  const dir = tempDir('renew');
  const pairs = [await selfSigned(), await selfSigned()] as const;
  const write = ({ cert, key }: (typeof pairs)[number]) => {
    writeFileSync(join(dir, 'own.key'), key, { mode: 0o600 });
    writeFileSync(join(dir, 'own.pem'), cert);
  };
  write(pairs[0]);
  const tls = { certFile: './own.pem', keyFile: './own.key' };
  const gateway = await Gateway.start({ dir, config: { control: { port: 0, tls } } });
  const { port } = new URL(gateway.logged('the control plane listens')[0]!.url as string);
  const shown = () =>
    new Promise<string | undefined>((resolve) => {
      const socket = connectTls({
        host: '127.0.0.1',
        port: Number(port),
        rejectUnauthorized: false,
      });
      socket.once('secureConnect', () => {
        resolve(socket.getPeerX509Certificate()?.fingerprint256);
        socket.destroy();
      });
      socket.once('error', () => resolve(undefined));
    });
  const own = pairs.map(({ cert }) => new X509Certificate(cert).fingerprint256);
  assert.equal(await shown(), own[0]);
  write(pairs[1]);
  await until(async () => (await shown()) === own[1], 'the new one is shown').catch((error) => {
    throw new Error(`${error.message}\n${gateway.process.output()}`);
  });
  write(pairs[0]);
  assert.equal((await gateway.command('reload')).code, 0);
  await until(async () => (await shown()) === own[0], 'and the old one again');
  assert.equal(await gateway.stop(), 0);
});

test('sensors are served where the library of the control plane does not load', async () => {
  const dir = tempDir('listen');
  const hooks = `export const resolve = (name, context, next) => {
    if (name === 'uWebSockets.js') throw new Error('no binary for this system');
    return next(name, context);
  };`;
  const preload = join(dir, 'preload.mjs');
  const url = `data:text/javascript,${encodeURIComponent(hooks)}`;
  writeFileSync(
    preload,
    `import { register } from 'node:module';\nregister(${JSON.stringify(url)});`,
  );
  const gateway = await Gateway.start({
    ...sharedSecret({ workers: 1, control: { port: 0 } }),
    env: { NODE_OPTIONS: `--import ${preload}` },
  });
  const sensor = new Sensor(uuidOf(1));
  const socket = await gateway.tcp();
  socket.end(sensor.frame('line\n'));
  await until(() => storedOf(gateway, sensor.uuid).length > 0, 'its line is stored');
  assert.equal(await gateway.stop(), 0);
  const { stdout } = gateway.process;
  assert.match(stdout, /uWebSockets\.js does not load in Node\.js v[^"]*: run Node\.js 20/);
  assert.match(stdout, /there is no control plane/);
});
