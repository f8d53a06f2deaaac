import assert from 'node:assert/strict';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { run } from '../support/process.js';
import { repository } from '../support/shared.js';
import { tempDir } from '../support/tmp.js';

/** Stands in for npm: notes what it was asked for, and does as much as the answer needs. */
const FAKE_NPM = `#!/bin/sh
echo "$1 $2 $3" >> calls
[ -f fail ] && exit 9
case "$*" in
  ci*) mkdir -p node_modules ;;
  *build:wasm) mkdir -p dist/wasm; touch dist/wasm/d4gw.simd.wasm dist/wasm/d4gw.scalar.wasm ;;
  *build:ts) mkdir -p dist/src dist/test; touch dist/src/main.js dist/src/main.d.ts ;;
  *build:ui) mkdir -p dist/ui; touch dist/ui/index.html ;;
esac
`;
const ALL = ['ci', 'build:wasm', 'build:ts', 'build:ui'];

/** A clone in small, and a `prepare` that says what it had npm do. */
function fixture() {
  const root = tempDir('prepare');
  const write = (path: string, content: string) => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  };
  for (const path of ['assembly/a.ts', 'src/main.ts', 'test/a.test.ts', 'bench/b.ts']) {
    write(path, 'text');
  }
  for (const path of ['package-lock.json', 'asconfig.json', 'tsconfig.json']) write(path, '{}');
  write('bin/npm', FAKE_NPM);
  chmodSync(join(root, 'bin/npm'), 0o755);
  mkdirSync(join(root, '.ci'));
  copyFileSync(join(repository, '.ci/prepare.mjs'), join(root, '.ci/prepare.mjs'));
  const calls = join(root, 'calls');
  const prepare = async (args: string[] = [], env: Record<string, string> = {}) => {
    rmSync(calls, { force: true });
    const script = join(root, '.ci/prepare.mjs');
    const PATH = `${join(root, 'bin')}:/usr/bin:/bin`;
    const exit = await run(process.execPath, [script, ...args], { env: { PATH, CI: '', ...env } });
    const lines = existsSync(calls) ? readFileSync(calls, 'utf8').trimEnd().split('\n') : [];
    return { ...exit, did: lines.map((line) => /build:\w+|ci/.exec(line)?.[0]) };
  };
  return { root, write, prepare, at: (path: string) => join(root, path) };
}

describe('prepare', () => {
  it('installs and builds a fresh clone, then does nothing until something changes', async () => {
    const { prepare, write, at } = fixture();
    const first = await prepare();
    assert.deepEqual([first.code, first.did], [0, ALL], first.stderr);
    const second = await prepare();
    assert.deepEqual([second.code, second.did, second.stderr], [0, [], '']);
    write('src/wire/new.ts', 'text');
    assert.deepEqual((await prepare()).did, ['build:ts']);
    write('assembly/a.ts', 'other');
    assert.deepEqual((await prepare()).did, ['build:wasm']);
    write('src/control/ui/main.tsx', 'text');
    assert.deepEqual((await prepare()).did, ['build:ts', 'build:ui']);
    rmSync(at('dist/wasm/d4gw.scalar.wasm'));
    assert.deepEqual((await prepare()).did, ['build:wasm']);
    write('package-lock.json', '{ }');
    assert.deepEqual((await prepare()).did, ALL);
    assert.equal(readFileSync(at('package-lock.json'), 'utf8'), '{ }');
    assert.deepEqual((await prepare()).did, []);
  });

  it('removes outputs whose source is gone, and nothing else', async () => {
    const { prepare, write, at } = fixture();
    const stale = ['dist/test/gone.test.js', 'dist/test/gone.test.js.map', 'dist/src/x/gone.d.ts'];
    const kept = ['dist/test/a.test.js', 'dist/src/data.json', 'dist/other.js'];
    for (const path of [...stale, ...kept]) write(path, '');
    assert.equal((await prepare()).code, 0);
    assert.deepEqual(
      [...stale, ...kept].filter((path) => existsSync(at(path))),
      kept,
    );
  });

  it('what failed is done again: a failure leaves no stamp', async () => {
    const { prepare, write, at } = fixture();
    write('fail', '');
    const install = await prepare();
    assert.deepEqual([install.code, install.did], [1, ['ci']]);
    assert.match(install.stderr, /^prepare: npm ci .* failed with exit code 9$/m);
    rmSync(at('fail'));
    assert.deepEqual((await prepare()).did, ALL);
    write('src/main.ts', 'changed');
    write('fail', '');
    assert.deepEqual((await prepare()).did, ['build:ts']);
    assert.deepEqual((await prepare()).did, ['build:ts']);
    // Back to sources that were built once: the outputs may be those of the failed build.
    write('src/main.ts', 'text');
    rmSync(at('fail'));
    assert.deepEqual((await prepare()).did, ['build:ts']);
    assert.deepEqual((await prepare()).did, []);
  });

  it('installs missing tools as root, names them otherwise, and fails for want of them in CI', async () => {
    const { prepare, write, at } = fixture();
    // Nothing but the stand-ins on PATH; apt-get notes its arguments and installs nothing.
    write('bin/apt-get', '#!/bin/sh\necho "$@" >> "$NOTES"\nexit "$APT_EXIT"\n');
    chmodSync(at('bin/apt-get'), 0o755);
    const found = ['socat', 'tcpdump', 'lz4', 'openssl', 'chromium'];
    for (const tool of found) {
      write(`bin/${tool}`, '#!/bin/sh\n');
      chmodSync(at(`bin/${tool}`), 0o755);
    }
    assert.equal((await prepare()).code, 0);
    const env = { PATH: at('bin'), NOTES: at('notes'), APT_EXIT: '0' };
    const outside = await prepare(['--tools'], env);
    assert.equal(outside.code, 0, outside.stderr);
    assert.match(outside.stderr, /^prepare: the tests need jq.*apt-get install jq/m);
    const inCi = await prepare(['--tools'], { ...env, CI: 'true', APT_EXIT: '3' });
    assert.equal(inCi.code, 1);
    if (process.getuid?.() === 0) {
      assert.match(readFileSync(at('notes'), 'utf8'), /^update .*\ninstall -y .* jq$/m);
      assert.match(inCi.stderr, /apt-get update failed with exit code 3/);
    } else assert(!existsSync(at('notes')));
  });

  it('names an option that it does not know', async () => {
    const { code, stderr } = await fixture().prepare(['--tool']);
    assert.deepEqual([code, stderr], [1, 'prepare: unknown option --tool; there is --tools\n']);
  });
});
