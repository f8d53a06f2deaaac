import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { register, Sensor, uuidOf } from '../integration/peers.js';
import { Controlled } from './api.js';

const control = await Controlled.start();
const sensor = new Sensor(uuidOf(1));
const other = new Sensor(uuidOf(2));
await register(control.gateway, [sensor, other]);
const root = control.gateway.sensorsDir;
const day = '3/2026/11/26';
const name = `${sensor.uuid}-2026-11-26-120000.syslog.txt`;
const own = join(root, sensor.hex, day);
mkdirSync(own, { recursive: true });
writeFileSync(join(own, name), 'stored\n');

const download = (path: string, sink = 'disk', uuid = sensor.uuid, token?: string) => {
  const query = new URLSearchParams({ sink, path });
  return control.get(`/api/v1/sensors/${uuid}/files/download?${query}`, { token });
};

test('a stored file is downloaded as it is, whatever its size', async () => {
  const large = Buffer.alloc(9_000_001, 'evidence ');
  writeFileSync(join(own, `${sensor.uuid}-2026-11-26-130000.syslog.txt`), large);
  writeFileSync(join(own, `${sensor.uuid}-2026-11-26-140000.syslog.txt`), '');
  assert.equal((await download(`${day}/${name}`)).body, 'stored\n');
  const whole = await download(`${day}/${sensor.uuid}-2026-11-26-130000.syslog.txt`);
  assert.equal(whole.headers.get('content-length'), '9000001');
  assert.equal(whole.body, large.toString());
  const empty = await download(`${day}/${sensor.uuid}-2026-11-26-140000.syslog.txt`);
  assert.deepEqual([empty.status, empty.body], [200, '']);
  const { files } = await control.ok('GET', `/api/v1/sensors/${sensor.uuid}/files?limit=2`);
  assert.deepEqual(
    files.map((one: { path: string }) => one.path.slice(-24)),
    ['-11-26-140000.syslog.txt', '-11-26-130000.syslog.txt'],
  );
  const acts = await control.ok('GET', '/api/v1/audit?act=file.download');
  assert.equal(acts.length, 3);
});

test('every trick with its path finds nothing', async () => {
  writeFileSync(join(control.gateway.dir, 'secret'), 'secret');
  mkdirSync(join(root, other.hex, day), { recursive: true });
  writeFileSync(join(root, other.hex, day, 'other.txt'), 'secret');
  symlinkSync(join(control.gateway.dir, 'secret'), join(own, 'link.txt'));
  symlinkSync(join(root, other.hex, '3'), join(root, sensor.hex, 'linked'));
  execFileSync('mkfifo', [join(own, 'pipe.txt')]);
  writeFileSync(join(own, '.hidden'), 'secret');
  const tricks = [
    '',
    '.',
    '..',
    '/',
    `../${other.hex}/${day}/other.txt`,
    `3/../../${other.hex}/${day}/other.txt`,
    `..%2f${other.hex}/${day}/other.txt`,
    `./${day}/${name}`,
    `/${day}/${name}`,
    `${day}//${name}`,
    `${day}/${name}/`,
    `${day}/${name}\0`,
    `${day}/${name}\0.png`,
    join(own, name),
    `${day}\\${name}`,
    `${day}/link.txt`,
    'linked/2026/11/26/other.txt',
    `${day}/pipe.txt`,
    `${day}/.hidden`,
    day,
    '../../../secret',
    '../../../../etc/passwd',
    '/etc/passwd',
    `${day}/nothing.txt`,
  ];
  for (const path of tricks) {
    const answer = await download(path);
    assert.deepEqual([answer.status, answer.body.status], [404, 'error'], JSON.stringify(path));
  }
  for (const sink of ['none', '', '__proto__', '../disk']) {
    assert.equal((await download(`${day}/${name}`, sink)).status, 404, sink);
  }
  assert.equal((await download(`${day}/${name}`, 'disk', '../x')).status, 404);
  const { files } = await control.ok('GET', `/api/v1/sensors/${sensor.uuid}/files`);
  assert.ok(files.every(({ path }: { path: string }) => !/link|pipe|hidden/.test(path)));
});

test('a reader may neither list nor download', async () => {
  const reader = await control.token('reader');
  assert.equal((await download(`${day}/${name}`, 'disk', sensor.uuid, reader)).status, 403);
  const path = `/api/v1/sensors/${sensor.uuid}/files`;
  assert.equal((await control.get(path, { token: reader })).status, 403);
  assert.equal(await control.gateway.stop(), 0);
});
