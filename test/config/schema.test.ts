import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { parse } from 'yaml';
import { z } from 'zod';
import { checkConfig } from '../../src/config/load.js';
import { configJsonSchema, configSchema } from '../../src/config/schema.js';
import { GatewayError } from '../../src/errors.js';
import { repository } from '../support/shared.js';

const MINIMAL = {
  listen: [{ tcp: { port: 4444 } }],
  sinks: { disk: { kind: 'files', dir: 'sensors' }, nowhere: { kind: 'blackhole' } },
  routes: [{ to: ['disk'] }],
};

/** The problem lines of a configuration: the minimal one with some keys replaced. */
function problems(changes: object | string): string[] {
  const given = typeof changes === 'string' ? parse(changes) : changes;
  try {
    checkConfig({ ...MINIMAL, ...given }, '/base', 'test.yaml');
  } catch (error) {
    assert(error instanceof GatewayError);
    assert.equal(error.code, 'D4GW_E_CONFIG');
    assert.equal(error.exitCode, 2);
    return error.message.split('\n').map((line) => {
      assert(line.startsWith('test.yaml: '), line);
      return line.slice('test.yaml: '.length);
    });
  }
  return [];
}

it('config.schema.json is the schema (npm run schema writes it)', () => {
  const file = join(repository, 'src', 'config', 'config.schema.json');
  assert.deepEqual(JSON.parse(readFileSync(file, 'utf8')), configJsonSchema());
});

it('the JSON Schema alone takes the minimal configuration and refuses unknown keys', () => {
  const fromFile = z.fromJSONSchema(configJsonSchema() as z.core.JSONSchema.JSONSchema);
  assert(fromFile.safeParse(MINIMAL).success);
  assert(!fromFile.safeParse({ ...MINIMAL, rutes: [] }).success);
  assert(!fromFile.safeParse({ ...MINIMAL, limits: { ringBytes: '32 MB/s' } }).success);
});

it('every key has a description, for editors', () => {
  const bare: string[] = [];
  const visit = (node: unknown, path: string) => {
    if (typeof node !== 'object' || node === null) return;
    const { properties } = node as { properties?: Record<string, Record<string, unknown>> };
    for (const [key, child] of Object.entries(properties ?? {})) {
      const isSection = child.properties !== undefined || child.const !== undefined;
      if (!isSection && child.description === undefined) bare.push(`${path}.${key}`);
    }
    for (const [key, child] of Object.entries(node)) visit(child, `${path}.${key}`);
  };
  visit(configJsonSchema(), '');
  assert.deepEqual(bare, []);
});

it('the defaults are those of the documentation', () => {
  const config = configSchema.parse(MINIMAL);
  assert.deepEqual(config.limits, {
    maxPayloadBytes: 1_000_000,
    maxConnections: 20_000,
    maxConnectionsPerIp: 0,
    handshakeTimeoutMs: 10_000,
    firstFrameTimeoutMs: 30_000,
    idleTimeoutMs: 0,
    ringBytes: 33_554_432,
    assemblyBytes: 268_435_456,
    poolBytes: 268_435_456,
    drainTimeoutMs: 10_000,
  });
  assert.deepEqual(config.admission, {
    mode: 'registration',
    types: [1, 2, 3, 4, 5, 6, 7, 8, 254],
    metaTypes: ['ja3-jl', 'd4-telemetry', 'fascia', 'maltrail'],
    duplicateSession: 'replace',
    timestampSkewSeconds: 0,
  });
  assert.deepEqual(config.sinks.disk, {
    kind: 'files',
    dir: 'sensors',
    rotateSeconds: 300,
    rotateBytes: 1024 ** 3,
    compress: 'none',
    fsync: 'interval',
    fsyncIntervalMs: 1000,
    flushMs: 1000,
  });
  assert.deepEqual(config.routes, [{ match: {}, to: ['disk'] }]);
});

describe('one line names the fault and its mend', () => {
  const cases: [yaml: string, ...lines: (string | RegExp)[]][] = [
    [
      'limits: { maxPayloadByte: 1 }',
      'limits.maxPayloadByte: unknown key; did you mean maxPayloadBytes?',
    ],
    ['rutes: []', 'rutes: unknown key; did you mean routes?'],
    ['qwertyuiop: 1', 'qwertyuiop: unknown key'],
    ['constructor: 1', /^constructor: unknown key/],
    ['{"a\\nb": 1}', '"a\\nb": unknown key'],
    ['limits: { maxPayloadBytes: 16777155 }', /^limits.maxPayloadBytes: 16777155 given, expected/],
    ['limits: { maxConnections: 1.5 }', /^limits.maxConnections: 1.5 given, expected a whole/],
    ['limits: { ringBytes: 3MiB }', /^limits.ringBytes: 3145728 given, expected a power of two/],
    ['limits: { poolBytes: lots }', /^limits.poolBytes: "lots" given, expected bytes from 1 MiB/],
    ['limits:', 'limits: null given, expected a mapping with', /./],
    ['workers: 257', 'workers: 257 given, expected auto or a whole number from 1 to 256'],
    ['workers: "4"', /^workers: "4" given/],
    ['threads: pipeline', /pipelined, inline; did you mean pipelined\?$/],
    ['admission: { types: [1, 9] }', /^admission.types\[1\]: 9 given, expected a D4 type/],
    ['admission: { types: [0] }', /^admission.types\[0\]: 0 given/],
    ['admission: { types: [] }', 'admission.types: empty; expected at least one D4 type'],
    ['admission: { metaTypes: [ok, ../up] }', /^admission.metaTypes\[1\]: "..\/up" given/],
    ['listen: []', /^listen: empty/],
    ['listen: [{}]', 'listen[0]: none given, expected exactly one of tls, tcp, unix, wss'],
    [
      'listen: [{ tls: { port: 1 }, tcp: { port: 2 } }]',
      'listen[0]: tls and tcp given, expected exactly one of tls, tcp, unix, wss',
    ],
    ["listen: [{ wss: { path: 'd4' } }]", /^listen\[0\].wss.path: .*expected a path/],
    ['listen: [{ wss: { path: /link } }]', /^listen\[0\].wss.path: .*another path: \/link is for/],
    ['listen: [{ tcp: {} }]', /^listen\[0\].tcp.port: missing; expected a whole number/],
    ['listen: [{ tcp: { port: 65536 } }]', /^listen\[0\].tcp.port: 65536 given/],
    ['listen: [{ unix: { path: "" } }]', /^listen\[0\].unix.path: "" given/],
    ['listen: [{ unix: { path: "a\\0b" } }]', /^listen\[0\].unix.path: "a\\u0000b" given/],
    ['sinks: { disk: { kind: file } }', /^sinks.disk.kind: "file".*did you mean files\?$/],
    ['sinks: { disk: { kind: relay } }', /^sinks.disk.to: missing; expected tls:\/\/HOST:PORT/],
    ['sinks: { p: { kind: relay, to: "udp://a:1" } }', /^sinks.p.to: "udp:.*expected tls:/],
    ['sinks: { p: { kind: relay, to: "tcp://a:1", tlp: [red] } }', /tlp\[0\]: "red".*a TLP tag/],
    [
      'sinks: { p: { kind: relay, to: "tcp://a:1", spool: { onFull: drop } } }',
      /^sinks.p.spool.onFull: "drop" given, expected one of block, drop-oldest/,
    ],
    ['sinks: { old: { kind: archive } }', /^sinks.old.dir: missing; expected the path/],
    ['sinks: { old: { kind: archive, dir: x, keepBytes: 9 } }', /^sinks.old.keepBytes: 9 given/],
    [
      'sinks: { disk: { dir: x } }',
      /^sinks.disk.kind: missing; expected one of files, archive, relay/,
    ],
    ['sinks: { disk: { kind: files } }', /^sinks.disk.dir: missing; expected the path/],
    ['sinks: { disk: 3 }', /^sinks.disk: 3 given, expected a mapping/],
    ['sinks: { Disk: { kind: blackhole } }', /^sinks.Disk: "Disk" given, expected a sink name/],
    ['sinks: { constructor: { kind: blackhole } }', /^sinks.constructor: .*expected a sink name/],
    ['sinks: {}', 'sinks: empty; expected at least one sink'],
    ['routes: []', /^routes: empty/],
    ['routes: [{ to: [] }]', /^routes\[0\].to: empty/],
    ['routes: [{ match: {} }]', /^routes\[0\].to: missing/],
    ['routes: [{ match: { sensors: [nix] }, to: [disk] }]', /sensors\[0\]: "nix" given/],
    [
      'routes: [{ match: { sensors: [00000000-0000-0000-0000-000000000000] }, to: [disk] }]',
      /sensors\[0\]: "00000000-.* given, expected '\*' or a sensor's UUID \(version 4\)$/,
    ],
    ['routes: [{ match: { types: [] }, to: [disk] }]', /^routes\[0\].match.types: empty/],
    ['log: { level: inf }', /did you mean info\?$/],
  ];
  for (const [yaml, line] of cases) {
    it(yaml, () => {
      const found = problems(yaml);
      assert.equal(found.length, 1, found.join('\n'));
      if (line instanceof RegExp) assert.match(found[0]!, line);
      else assert(found[0]!.startsWith(line!), found[0]);
    });
  }
});

it('names every fault at once, each on its line', () => {
  const found = problems(
    'workers: 0\nlimits: { a: 1, b: 2 }\nadmission: { mode: x, types: [0, 0] }\nlog: 1\nz: 1',
  );
  assert.deepEqual(
    found.map((line) => line.split(':')[0]),
    ['workers', 'limits.a', 'limits.b', 'admission.mode', 'admission.types[0]'].concat([
      'admission.types[1]',
      'log',
      'z',
    ]),
  );
});

it('a value of any length or content stays on one line of bounded length', () => {
  const [line] = problems({ workers: `x\ny\u001b[31m${'z'.repeat(10_000)}` });
  assert.equal(problems({ workers: 'x\ny' }).length, 1);
  assert(line!.length < 200);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the absence of one is the test
  assert.doesNotMatch(line!, /\u001b/);
});

it('at most 16 sinks', () => {
  const sinks = (count: number) =>
    Object.fromEntries(Array.from({ length: count }, (_, at) => [`s${at}`, { kind: 'blackhole' }]));
  const routes = [{ to: ['s0'] }];
  assert.deepEqual(problems({ sinks: sinks(16), routes }), []);
  assert.deepEqual(problems({ sinks: sinks(17), routes }), [
    'sinks: 17 sinks given, expected at most 16',
  ]);
});

it("'*' stands for a list of it, and UUIDs take their canonical form", () => {
  const uuid = '3A9F1C526D0E4B7A9C415E2F8B7D0A13';
  const match = { sensors: [uuid], metaTypes: '*' };
  const { routes, admission } = configSchema.parse({
    ...MINIMAL,
    admission: { metaTypes: ['*'] },
    routes: [
      { match, to: ['disk'] },
      { match: { sensors: '*' }, to: ['disk'] },
    ],
  });
  assert.deepEqual(admission.metaTypes, ['*']);
  assert.deepEqual(routes[0]!.match, {
    sensors: ['3a9f1c52-6d0e-4b7a-9c41-5e2f8b7d0a13'],
    metaTypes: ['*'],
  });
  assert.deepEqual(routes[1]!.match, { sensors: ['*'] });
});
