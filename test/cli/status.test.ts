import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { screen } from '../../src/cli/top.js';
import { Controlled } from '../control/api.js';
import { register, Sensor, until, uuidOf, write } from '../integration/peers.js';
import { start } from '../support/process.js';
import { d4gw } from '../support/program.js';
import { repository } from '../support/shared.js';
import { requireTool } from '../support/tools.js';

const control = await Controlled.start();
const url = ['--url', control.url];
const token = ['--token-file', control.tokenFile];
const sensor = new Sensor(uuidOf(1));
await register(control.gateway, [sensor]);
const socket = await control.gateway.tcp();
await write(socket, sensor.frame('hello\n'));
await until(
  async () => (await control.ok('GET', '/api/v1/overview')).received[3]?.frames === 1,
  'a frame was counted',
);

test('status tells how it is, and its exit code whether that is well', async () => {
  const well = await d4gw(['status', ...url, ...token]);
  assert.deepEqual([well.code, well.stderr], [0, '']);
  assert.match(well.stdout, /^d4-gateway \S+, running since /);
  assert.match(well.stdout, /\n3 log +\S+ \w*bps +\d+ +1 +6 B\n/);
  assert.match(well.stdout, /\ndisk +files +ok +1 frames, 6 B +- +-\n/);
  assert.match(well.stdout, /\nready\n$/);
  await control.ok('POST', '/api/v1/sinks/disk/pause');
  const held = await d4gw(['status', '--json', ...url, ...token]);
  assert.equal(held.code, 1);
  const { ready, problems, overview } = JSON.parse(held.stdout);
  assert.deepEqual([ready, problems.length], [false, 1]);
  assert.equal(overview.received[3].frames, 1);
  await control.ok('POST', '/api/v1/sinks/disk/resume');
});

test('what is wrong is named with its mend', async () => {
  const file = join(control.gateway.dir, 'wrong-token');
  writeFileSync(file, `d4gw_000000000000_${'A'.repeat(43)}\n`);
  const at = ['--config', control.gateway.configFile];
  const cases: [string[], number, RegExp][] = [
    [
      ['status', ...url, '--token-file', file],
      1,
      /answers 401, .*: give another token with --token-file/,
    ],
    [
      ['status', ...url, '--token-file', `${file}-none`],
      1,
      /can't be read \(ENOENT\): make one with `token add`/,
    ],
    [['status', ...url], 1, /no token: give --token-file FILE, or set D4GW_TOKEN/],
    [
      ['status', '--url', 'http://127.0.0.1:1', ...token],
      1,
      /127.0.0.1:1 does not answer \(ECONNREFUSED\)/,
    ],
    [['status', '--url', 'nonsense', ...token], 2, /--url nonsense: give one such as/],
    [['status', ...at], 1, /control.port is 0, any free one: give --url/],
    [['top', ...url, ...token], 2, /top needs a terminal: use `d4gw status`/],
  ];
  for (const [args, code, message] of cases) {
    const outcome = await d4gw(args, { env: { D4GW_TOKEN: undefined } });
    assert.equal(outcome.code, code, args.join(' '));
    assert.match(outcome.stderr, message);
  }
  const { code } = await d4gw(['status', ...url], { env: { D4GW_TOKEN: control.admin } });
  assert.equal(code, 0);
});

test('top draws the overview again and again, and leaves the terminal as it was', {
  skip: requireTool('script'),
}, async () => {
  const program = join(repository, 'dist', 'src', 'main.js');
  const command = [process.execPath, program, 'top', ...url, ...token].join(' ');
  const top = start('script', ['-qec', command, '/dev/null'], { input: 'pipe' });
  await top.waitFor('d4-gateway');
  await write(socket, sensor.frame('more\n'));
  await top.waitFor(/3 log +\S+ \w*bps +\d+ +2 +11 B/);
  top.child.stdin!.write('q');
  const { code } = await top.exit();
  assert.equal(code, 0);
  assert.ok(top.stdout.includes('\u001b[?1049h') && top.stdout.trimEnd().endsWith('\u001b[?1049l'));
  assert.equal(await control.gateway.stop(), 0);
});

test('a screen holds as much as the terminal does', () => {
  const lines = ['0123456789', 'second', 'third'];
  const drawn = screen(lines, { rows: 3, columns: 4 });
  assert.equal(drawn, '\u001b[H0123\u001b[K\r\nseco\u001b[K\r\n\u001b[J');
});
