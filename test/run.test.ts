import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { run } from './support/process.js';
import { repository } from './support/shared.js';
import { tempDir } from './support/tmp.js';

/** Runs a copy of the runner over test files of the test's own making. */
async function runner(files: Record<string, string>, args: string[] = [], env = {}) {
  const root = tempDir('run');
  const write = (path: string, content: string) => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  };
  write('package.json', '{ "type": "module" }');
  const built = join(repository, 'dist', 'test');
  for (const path of ['run.js', 'support/test-file.js', 'support/reporter.js']) {
    write(path, readFileSync(join(built, path), 'utf8'));
  }
  for (const [path, body] of Object.entries(files)) {
    write(path, `import { describe, it, test, before } from 'node:test';\n${body}`);
  }
  const exit = await run(process.execPath, [join(root, 'run.js'), ...args], {
    env: { CI: undefined, ...env },
  });
  const lines = exit.stdout.trimEnd().split('\n');
  return { ...exit, last: lines.at(-1), summary: lines };
}

const PASS = `test('a', () => {});`;

describe('the last line and the exit code', () => {
  const cases: [what: string, body: string, last: string | RegExp, code: number][] = [
    [
      'all passed',
      `describe('s', () => { it('a', () => {}); it('b', () => {}); });`,
      '2 passed, 0 failed',
      0,
    ],
    [
      'one failed',
      `${PASS} test('b', () => { throw new Error('broken'); });`,
      '1 passed, 1 failed',
      1,
    ],
    [
      'one skipped',
      `${PASS} test('b', { skip: 'no tool' }, () => {});`,
      '1 passed, 0 failed, 1 skipped',
      0,
    ],
    [
      'a hook failed',
      `describe('s', () => { before(() => { throw new Error('h'); }); it('a', () => {}); });`,
      '0 passed, 2 failed',
      1,
    ],
    [
      'thrown outside a test',
      `${PASS} setTimeout(() => { throw new Error('late'); });`,
      // Whether the test before it was still reported depends on Node's version.
      /^[01] passed, 1 failed$/,
      1,
    ],
    ['exit in mid-file', `test('a', () => process.exit(0));`, '0 passed, 1 failed', 1],
    [
      'ended by a signal',
      `test('a', () => process.kill(process.pid, 'SIGKILL'));`,
      '0 passed, 1 failed',
      1,
    ],
    ['no test', '', '0 passed, 1 failed', 1],
    ['no such import', `import './nix.js'; ${PASS}`, '0 passed, 1 failed', 1],
  ];
  for (const [what, body, last, code] of cases) {
    it(what, async () => {
      const result = await runner({ 'x/a.test.js': body });
      assert.equal(result.code, code, result.stdout);
      if (last instanceof RegExp) assert.match(result.last!, last);
      else assert.equal(result.last, last, result.stdout);
    });
  }

  it('nothing to run', async () => {
    const result = await runner({ 'x/a.test.js': PASS }, ['no-such-file']);
    assert.deepEqual([result.last, result.code], ['0 passed, 0 failed', 1]);
  });

  it('in CI a skipped test fails the run', async () => {
    const files = { 'x/a.test.js': `${PASS} test('b', { skip: 'no tool' }, () => {});` };
    const result = await runner(files, [], { CI: 'true' });
    assert.deepEqual([result.last, result.code], ['1 passed, 0 failed, 1 skipped', 1]);
  });
});

it('a failure is shown in full: where, what, and the output of its file', async () => {
  const { stdout } = await runner({
    'x/a.test.js': `describe('outer', () => { it('inner', () => {
      console.log('seed 4711'); throw new TypeError('broken here'); }); });`,
  });
  assert.match(stdout, /✖ test\/x\/a\.test\.ts: outer › inner\nTypeError: broken here\n +at /);
  assert.match(stdout, /^seed 4711$/m);
});

it('what depends on the module runs on both builds, the rest once; --wasm chooses one', async () => {
  const body = `test(process.env.D4GW_WASM, () => {});`;
  const files = { 'ring/a.test.js': body, 'config/a.test.js': body };
  const builds = (stdout: string) =>
    [...stdout.matchAll(/✔ (?:test\/)?(\w+)[/ ]/g)].map(([, name]) => name).sort();
  const both = await runner(files, ['--verbose']);
  assert.equal(both.last, '3 passed, 0 failed');
  assert.deepEqual(builds(both.stdout), ['config', 'ring', 'ring', 'scalar', 'simd', 'simd']);
  const scalar = await runner(files, ['--verbose', '--wasm', 'scalar']);
  assert.deepEqual(builds(scalar.stdout), ['config', 'ring', 'scalar', 'scalar']);
});
