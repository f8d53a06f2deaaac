import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { GatewayError } from '../../src/errors.js';
import { mapMemory, SCRATCH_CONSUMER, WASM_DATA_BASE } from '../../src/ring/layout.js';
import {
  chooseBuild,
  createMemory,
  instantiate,
  loadModule,
  simdSupported,
} from '../../src/wasm/loader.js';
import { BUILDS } from '../assembly/harness.js';
import { repository } from '../support/shared.js';
import { tempDir } from '../support/tmp.js';

const map = mapMemory({
  sessions: 4,
  descriptors: 16,
  ringBytes: 65536,
  assemblyBytes: 4096,
  poolBytes: 4096,
});

test('auto takes SIMD where it validates, and D4GW_WASM forces a build', () => {
  assert.equal(simdSupported(), true, 'every processor that Node 20 runs on has it');
  for (const forced of [undefined, '', 'auto']) assert.equal(chooseBuild(forced), 'simd');
  assert.equal(chooseBuild('scalar'), 'scalar');
  assert.equal(chooseBuild('simd'), 'simd');
  assert.throws(() => chooseBuild('fast'), { code: 'D4GW_E_WASM', message: /"fast"/ });
});

test('an engine without SIMD gets the scalar build', () => {
  const loader = pathToFileURL(join(repository, 'dist', 'src', 'wasm', 'loader.js')).href;
  const script = `
    WebAssembly.validate = () => false;
    const { loadModule } = await import('${loader}');
    console.log(loadModule().build);`;
  const env: NodeJS.ProcessEnv = { ...process.env };
  delete env.D4GW_WASM;
  const run = (more: NodeJS.ProcessEnv) =>
    execFileSync(process.execPath, ['--input-type=module', '-e', script], {
      env: { ...env, ...more },
      encoding: 'utf8',
    }).trim();
  assert.equal(run({}), 'scalar');
  assert.equal(run({ D4GW_WASM: 'simd' }), 'simd');
});

test('both builds export the same functions, and import the memory alone', () => {
  const [simd, scalar] = BUILDS.map((build) => loadModule(build).module);
  assert.ok(simd && scalar);
  assert.deepEqual(WebAssembly.Module.exports(simd), WebAssembly.Module.exports(scalar));
  for (const module of [simd, scalar]) {
    const imports = WebAssembly.Module.imports(module);
    assert.deepEqual(imports, [{ module: 'env', name: 'memory', kind: 'memory' }]);
  }
});

test('instances of different threads write the same static data, below the scratch', () => {
  for (const build of BUILDS) {
    const memory = createMemory(map);
    const bytes = Buffer.from(memory.buffer);
    const { module } = loadModule(build);
    instantiate(module, memory, SCRATCH_CONSUMER, map, 1000);
    const first = Buffer.from(bytes);
    // SHA-256's first constant; the table has 64.
    assert.equal(first.readUInt32LE(WASM_DATA_BASE), 0x428a2f98);
    assert.ok(first.subarray(0, WASM_DATA_BASE).every((byte) => byte === 0));
    assert.ok(first.subarray(WASM_DATA_BASE + 256).every((byte) => byte === 0));
    instantiate(module, memory, SCRATCH_CONSUMER, map, 1000).setKey(1, Buffer.from('key'));
    assert.ok(bytes.subarray(0, SCRATCH_CONSUMER).equals(first.subarray(0, SCRATCH_CONSUMER)));
  }
});

test('a missing or broken file is one error that says what to do', async () => {
  const dir = tempDir('wasm');
  for (const part of ['errors.js', 'ring', 'wasm']) {
    const from = join(repository, 'dist', 'src', part);
    cpSync(from, join(dir, 'dist', 'src', part), { recursive: true });
  }
  writeFileSync(join(dir, 'package.json'), '{"type":"module"}');
  const moved = await import(pathToFileURL(join(dir, 'dist', 'src', 'wasm', 'loader.js')).href);
  const expected = (pattern: RegExp) => ({ code: 'D4GW_E_WASM', exitCode: 1, message: pattern });
  assert.throws(() => moved.loadModule('simd'), expected(/is missing: run "npm run build"/));
  mkdirSync(join(dir, 'dist', 'wasm'));
  writeFileSync(join(dir, 'dist', 'wasm', 'd4gw.simd.wasm'), 'no module');
  assert.throws(() => moved.loadModule('simd'), expected(/cannot be used/));
});

test('a memory that the host cannot give is an error of ours', () => {
  assert.throws(() => createMemory({ pages: 65537 }), GatewayError);
  const memory = createMemory(map);
  assert.equal(memory.buffer.byteLength, map.pages * 65536);
  assert.ok(memory.buffer instanceof SharedArrayBuffer);
});
