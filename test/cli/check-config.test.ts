import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { parse } from 'yaml';
import { loadConfig } from '../../src/config/load.js';
import { configJsonSchema } from '../../src/config/schema.js';
import { d4gw } from '../support/program.js';
import { tempDir } from '../support/tmp.js';

const dir = tempDir('check-config');
const good = join(dir, 'good.yaml');
writeFileSync(
  good,
  'listen: [{ tcp: { port: 4444 } }]\nsinks: { out: { kind: files, dir: out } }\n' +
    'routes: [{ to: [out] }]\n',
);

it('prints the embedded default, relative to the working directory', async () => {
  const { code, stdout, stderr } = await d4gw(['check-config'], { cwd: dir });
  assert.equal(code, 0, stderr);
  assert.equal(parse(stdout).dataDir, join(dir, 'data'));
  assert.deepEqual(parse(stdout).routes, [{ match: {}, to: ['disk'] }]);
});

it('prints a configuration with its defaults, as YAML and as JSON', async () => {
  const yaml = await d4gw(['check-config', '--config', good]);
  const json = await d4gw(['check-config', '--config', good, '--json']);
  assert.deepEqual([yaml.code, json.code], [0, 0], yaml.stderr + json.stderr);
  assert.deepEqual(parse(yaml.stdout), loadConfig(good));
  assert.deepEqual(JSON.parse(json.stdout), loadConfig(good));
});

it('a wrong one prints nothing but a line for each fault, and exits 2', async () => {
  const bad = join(dir, 'bad.yaml');
  writeFileSync(bad, 'limits: { maxPayloadByte: 1 }\nworkers: 0\n');
  const { code, stdout, stderr } = await d4gw(['check-config', '--config', bad]);
  assert.deepEqual({ code, stdout }, { code: 2, stdout: '' });
  const lines = stderr.trimEnd().split('\n');
  assert.equal(lines.length, 5, stderr);
  for (const line of lines) assert(line.startsWith(`d4gw: ${bad}: `), line);
  const key = `d4gw: ${bad}: limits.maxPayloadByte: unknown key; did you mean maxPayloadBytes?`;
  assert(lines.includes(key), stderr);
});

it('--schema prints the JSON Schema', async () => {
  const { code, stdout } = await d4gw(['check-config', '--schema']);
  assert.equal(code, 0);
  assert.deepEqual(JSON.parse(stdout), configJsonSchema());
});
