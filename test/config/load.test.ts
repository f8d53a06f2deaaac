import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { stringify } from 'yaml';
import { checkConfig, loadConfig } from '../../src/config/load.js';
import type { Config } from '../../src/config/schema.js';
import { GatewayError } from '../../src/errors.js';
import { tempDir } from '../support/tmp.js';

const dir = tempDir('config');
let files = 0;

/** Writes a file of the test's directory and returns its path. */
function file(content: string, name = `f${files++}`): string {
  const path = join(dir, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
  return path;
}

const CERT = file('certificate', 'cert.pem');
const KEY = file('key', 'key.pem');
const SECRET = file('shared secret\n', 'secret');

const SINKS = 'sinks: { disk: { kind: files, dir: out } }\nroutes: [{ to: [disk] }]\n';
const relay = (fields: string) =>
  `sinks: { disk: { kind: files, dir: out }, p: { kind: relay, ${fields} } }`;
const LISTEN = 'listen: [{ tcp: { port: 4444 } }]\n';

function problems(path: string): string[] {
  try {
    loadConfig(path);
  } catch (error) {
    assert(error instanceof GatewayError);
    assert.equal(error.code, 'D4GW_E_CONFIG');
    return error.message.split('\n').map((line) => {
      assert(line.startsWith(`${path}: `), line);
      return line.slice(path.length + 2);
    });
  }
  return [];
}

it('without a file, the embedded default serves TLS on 4443 and stores under ./data', () => {
  const config = loadConfig();
  assert.equal(config.dataDir, join(process.cwd(), 'data'));
  assert.equal(config.admission.mode, 'registration');
  assert.deepEqual(config.listen, [{ tls: { host: '::', port: 4443, clientCert: 'none' } }]);
  assert.deepEqual(config.routes, [{ match: {}, to: ['disk'] }]);
  const { disk } = config.sinks;
  assert(disk?.kind === 'files');
  assert.equal(disk.dir, join(process.cwd(), 'data', 'sensors'));
});

const FULL = `
dataDir: state
admission: { mode: shared-secret, sharedSecretFile: secret }
listen:
  - { tls: { port: 1, certFile: cert.pem, keyFile: ./key.pem, caFile: sub/../cert.pem,
             clientCert: require } }
  - { tcp: { port: 2 } }
  - { unix: { path: run.sock } }
  - { unix: { path: /abs/run.sock } }
sinks:
  disk: { kind: files, dir: ../out, rotateBytes: 64MiB }
  nowhere: { kind: blackhole }
routes: [{ match: { types: [1] }, to: [disk, nowhere] }, { to: [nowhere] }]
`;

it("paths are relative to the file's directory, whatever the working directory", () => {
  const config = loadConfig(file(FULL, 'd4gw.yaml'));
  assert.equal(config.dataDir, join(dir, 'state'));
  assert.equal(config.admission.sharedSecretFile, SECRET);
  assert.deepEqual(config.listen, [
    {
      tls: {
        host: '::',
        port: 1,
        certFile: CERT,
        keyFile: KEY,
        caFile: CERT,
        clientCert: 'require',
      },
    },
    { tcp: { host: '127.0.0.1', port: 2 } },
    { unix: { path: join(dir, 'run.sock') } },
    { unix: { path: '/abs/run.sock' } },
  ]);
  const { disk } = config.sinks;
  assert(disk?.kind === 'files');
  assert.equal(disk.dir, join(dirname(dir), 'out'));
  assert.equal(disk.rotateBytes, 64 * 1024 ** 2);
});

it('a completed configuration is one with the same meaning, from any directory', () => {
  for (const config of [loadConfig(), loadConfig(file(FULL))] satisfies Config[]) {
    assert.deepEqual(loadConfig(file(stringify(config), 'elsewhere/again.yaml')), config);
    assert.deepEqual(checkConfig(JSON.parse(JSON.stringify(config)), '/other', 'x'), config);
  }
});

describe('what the file itself may be', () => {
  const refused: [what: string, path: string, line: RegExp][] = [
    ['absent', join(dir, 'nix.yaml'), /^does not exist$/],
    ['a directory', dir, /^not a file$/],
    ['empty', file('# nothing\n'), /^empty; expected at least listen, sinks and routes$/],
    ['a list', file('- 1\n'), /^\[1\] given, expected a mapping with dataDir,/],
    ['no YAML', file('listen: [\n'), /at line 2, column 1$/],
    ['a key twice', file('log: {}\nlog: {}\n'), /unique at line 2, column 1$/],
    ['two documents', file('a: 1\n---\nb: 1\n'), /^holds several YAML documents, expected one$/],
    ['an unknown tag', file(`${LISTEN}${SINKS}log: !x {}\n`), /^Unresolved tag: !x at line 4/],
    ['__proto__', file(`${LISTEN}${SINKS}log: { __proto__: 1 }\n`), /^__proto__: unknown key$/],
    ['over a megabyte', file(`#${' '.repeat(1024 ** 2)}`), /^1048577 bytes, expected at most/],
    [
      'aliases without end',
      file(
        ['a: &a [1, 1]']
          .concat(
            [...'bcdefgh'].map((name, at) => {
              const above = 'abcdefgh'[at];
              return `${name}: &${name} [${Array(9).fill(`*${above}`).join(', ')}]`;
            }),
          )
          .join('\n'),
      ),
      /alias count/,
    ],
  ];
  for (const [what, path, line] of refused) {
    it(what, () => {
      const found = problems(path);
      assert.equal(found.length, 1, found.join('\n'));
      assert.match(found[0]!, line);
    });
  }
});

describe('what concerns several keys, or the files that they name', () => {
  const listen = (...entries: string[]) => `listen: [${entries.join(', ')}]\n${SINKS}`;
  const tls = (rest: string) => listen(`{ tls: { port: 1, ${rest} } }`);
  const cases: [yaml: string, ...lines: string[]][] = [
    [
      'admission: { mode: shared-secret }',
      'admission.sharedSecretFile: missing; mode shared-secret needs it',
    ],
    [
      'admission: { sharedSecretFile: nix }',
      `admission.sharedSecretFile: "${join(dir, 'nix')}" does not exist`,
    ],
    [
      `admission: { sharedSecretFile: ${file('\n', 'blank')} }`,
      `admission.sharedSecretFile: "${join(dir, 'blank')}" is empty`,
    ],
    [
      `admission: { sharedSecretFile: ${file('s'.repeat(1025), 'long')} }`,
      `admission.sharedSecretFile: "${join(dir, 'long')}" holds over 1024 bytes`,
    ],
    [`admission: { sharedSecretFile: ${file(`${'s'.repeat(1024)}\n`)} }`],
    ['admission: { sharedSecretFile: . }', `admission.sharedSecretFile: "${dir}" is not a file`],
    [
      'admission: { sharedSecretFile: cert.pem/secret }',
      `admission.sharedSecretFile: "${join(dir, 'cert.pem/secret')}" can't be read (ENOTDIR)`,
    ],
    ['admission: { types: [1, 254] }', 'admission.types: type 254 needs type 2, its meta header'],
    [
      'admission: { metaTypes: [] }',
      "admission.metaTypes: empty; type 254 needs at least one ('*' takes all)",
    ],
    ['admission: { types: [1], metaTypes: [] }'],
    [
      'limits: { maxPayloadBytes: 2MiB, assemblyBytes: 1MiB }',
      'limits.assemblyBytes: 1048576 given, expected at least 4 MiB: ' +
        'a frame of limits.maxPayloadBytes must fit',
    ],
    // The guard in front of a frame counts too: 1 MiB less header and guard is the most.
    ['limits: { maxPayloadBytes: 1048450, assemblyBytes: 1MiB }'],
    [
      'limits: { maxPayloadBytes: 1048451, assemblyBytes: 1MiB }',
      'limits.assemblyBytes: 1048576 given, expected at least 2 MiB: ' +
        'a frame of limits.maxPayloadBytes must fit',
    ],
    [tls('certFile: cert.pem'), 'listen[0].tls.keyFile: missing; certFile needs it'],
    [tls('keyFile: key.pem'), 'listen[0].tls.certFile: missing; keyFile needs it'],
    [tls('clientCert: request'), 'listen[0].tls.caFile: missing; clientCert request needs it'],
    [
      tls('certFile: a.pem, keyFile: b.pem'),
      `listen[0].tls.certFile: "${join(dir, 'a.pem')}" does not exist`,
      `listen[0].tls.keyFile: "${join(dir, 'b.pem')}" does not exist`,
    ],
    [
      listen('{ tls: { port: 1 } }', '{ tcp: { port: 1 } }'),
      'listen[1]: port 1 is taken by listen[0]',
    ],
    [
      listen('{ tcp: { host: 0.0.0.0, port: 1 } }', '{ tcp: { port: 1 } }'),
      'listen[1]: port 1 is taken by listen[0]',
    ],
    [
      listen('{ unix: { path: a } }', '{ unix: { path: ./b/../a } }'),
      `listen[1]: "${join(dir, 'a')}" is taken by listen[0]`,
    ],
    [listen('{ tcp: { host: "::1", port: 1 } }', '{ tcp: { port: 1 } }')],
    [listen('{ tcp: { host: "::1", port: 1 } }', '{ tcp: { host: 0.0.0.0, port: 1 } }')],
    [listen('{ tcp: { port: 0 } }', '{ tls: { port: 0 } }')],
    [
      listen(`{ unix: { path: /${'x'.repeat(107)} } }`),
      `listen[0].unix.path: "/${'x'.repeat(58)}… is longer than the 107 bytes that a socket's ` +
        'path may have',
    ],
    [listen(`{ unix: { path: /${'x'.repeat(106)} } }`)],
    ['routes: [{ to: [dsik] }]', 'routes[0].to[0]: "dsik" is no sink; did you mean disk?'],
    ['routes: [{ to: [constructor] }]', 'routes[0].to[0]: "constructor" is no sink'],
    ['routes: [{ to: [disk, disk] }]', 'routes[0].to[1]: "disk" is given twice'],
    [
      'routes: [{ match: { types: [1], metaTypes: [ja3-jl] }, to: [disk] }]',
      'routes[0].match: matches nothing: metaTypes needs type 254, which types leaves out',
    ],
    [
      'sinks: { disk: { kind: files, dir: a }, b: { kind: files, dir: a/b } }',
      `sinks.b.dir: "${join(dir, 'a/b')}" overlaps the directory of disk`,
    ],
    ['sinks: { disk: { kind: files, dir: a }, b: { kind: files, dir: ..a } }'],
    [
      relay('to: "tls://d4.example.org:4443", certFile: cert.pem'),
      'sinks.p.keyFile: missing; certFile needs it',
    ],
    [
      relay('to: "tls://d4.example.org:4443", caFile: none.pem'),
      `sinks.p.caFile: "${join(dir, 'none.pem')}" does not exist`,
    ],
    [
      relay('to: "tcp://d4.example.org:4443", servername: a'),
      'sinks.p.servername: only for TLS, and to is "tcp://d4.example.org:4443"',
    ],
    [
      relay('to: "tls://d4.example.org:4443", caFile: cert.pem, verify: false'),
      'sinks.p.verify: false contradicts caFile; leave one of them out',
    ],
    [
      relay('to: "tls://d4.example.org:4443", secretFile: s'),
      'sinks.p.secretFile: only with mode resign',
    ],
    [
      relay('to: "tcp://127.0.0.1:4444"'),
      'sinks.p.to: "tcp://127.0.0.1:4444" is this gateway\'s own listen[0]: what it relays would come back',
    ],
    [
      relay('to: "tcp://localhost:4444"'),
      'sinks.p.to: "tcp://localhost:4444" is this gateway\'s own listen[0]: what it relays would come back',
    ],
    [relay('to: "tcp://127.0.0.1:4445"')],
    [
      'sinks: { disk: { kind: files, dir: a }, p: { kind: relay, to: "tcp://b:1", spool: { dir: s } }, q: { kind: relay, to: "tcp://c:1", spool: { dir: ./s } } }',
      `sinks.q.spool.dir: "${join(dir, 's')}" is the spool of p`,
    ],
    [
      relay('to: "wss://d4.example.org:4445"'),
      'sinks.p.tokenFile: missing; `d4gw link add` at the other gateway prints a token',
    ],
    [
      relay('to: "wss://d4.example.org:4445", tokenFile: none'),
      `sinks.p.tokenFile: "${join(dir, 'none')}" does not exist`,
    ],
    [
      relay('to: "wss://d4.example.org:4445", tokenFile: cert.pem, mode: resign, verify: false'),
      'sinks.p.mode: resign is not for wss://; use preserve',
      'sinks.p.verify: a link is always verified; give caFile',
    ],
    [
      relay('to: "tls://d4.example.org:4443", tokenFile: cert.pem'),
      'sinks.p.tokenFile: only for wss://, and to is "tls://d4.example.org:4443"',
    ],
    [relay('to: "wss://d4.example.org:4445", tokenFile: cert.pem, compress: lz4')],
    [relay('to: "tls://d4.example.org:4443", mode: resign, secretFile: new/secret')],
  ];
  for (const [yaml, ...lines] of cases) {
    it(yaml.replaceAll('\n', ' ').slice(0, 80), () => {
      const given = ['listen', 'sinks', 'routes'].filter((key) => yaml.includes(`${key}:`));
      const rest = [LISTEN, ...SINKS.split(/(?<=\n)/)].filter(
        (line) => !given.includes(line.split(':')[0]!),
      );
      assert.deepEqual(problems(file(`${yaml}\n${rest.join('')}`)), lines);
    });
  }
});
