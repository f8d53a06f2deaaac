import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { report, runProgram } from '../../src/cli/program.js';
import { sensorCommand } from '../../src/cli/sensor.js';
import { openRegistry } from '../../src/registry/lmdb.js';
import type { Registry, SensorRecord } from '../../src/registry/store.js';

const MAIN = fileURLToPath(new URL('../../src/main.js', import.meta.url));
const CHILD_TIMEOUT_MS = 30_000;
const UUID_FORM = /[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}/;

interface Outcome {
  code: number;
  out: string;
  error: string;
}

let dir: string;
let dataDir: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'd4gw-sensor-'));
  dataDir = join(dir, 'data');
});

afterEach(() => rmSync(dir, { recursive: true }));

/** Runs `d4gw sensor …` in this process. */
async function sensor(args: string[], stdin: (string | Buffer)[] = []): Promise<Outcome> {
  const out: string[] = [];
  const errors: string[] = [];
  const load = async () =>
    sensorCommand({
      stdin: (async function* () {
        yield* stdin;
      })(),
      stdout: { write: (text: string) => out.push(text) },
    });
  const complain = (text: string | Uint8Array) => errors.push(String(text)) > 0;
  const { write } = process.stderr;
  let code = 0;
  try {
    // What commander itself says.
    process.stderr.write = complain;
    await runProgram(
      ['sensor', ...args, '--data-dir', dataDir],
      [{ name: 'sensor', summary: '', load }],
    );
  } catch (thrown) {
    code = report(thrown, complain);
  } finally {
    process.stderr.write = write;
  }
  return { code, out: out.join(''), error: errors.join('') };
}

/** Runs it, expects no complaint, and returns what it printed. */
async function ok(...args: string[]): Promise<string> {
  const { code, out, error } = await sensor(args);
  assert.deepEqual({ code, error }, { code: 0, error: '' });
  return out;
}

/** Runs it, and expects one line of complaint. */
async function fails(code: 1 | 2, message: RegExp, ...args: string[]): Promise<void> {
  const outcome = await sensor(args);
  assert.equal(outcome.code, code, outcome.error);
  assert.match(outcome.error, /^d4gw: [^\n]+\n$/);
  assert.match(outcome.error, message);
  assert.equal(outcome.out, '');
}

async function registry<T>(use: (registry: Registry) => T | Promise<T>): Promise<T> {
  const opened = openRegistry(dataDir);
  try {
    return await use(opened);
  } finally {
    await opened.close();
  }
}

const record = (uuid: string): Promise<SensorRecord | undefined> =>
  registry((opened) => opened.sensor(uuid));

async function addOne(...args: string[]): Promise<string> {
  return UUID_FORM.exec(await ok('add', ...args))![0];
}

describe('add', () => {
  test('generates a UUID and a key, and prints the key this once', async () => {
    const out = await ok('add', '--name', 'one', '--description', 'Eins', '--contact', 'noc@e.org');
    const [, uuid, key] = /^sensor (\S+) added, approved\nkey: ([!-~]{43,64})\n$/.exec(out)!;
    const { createdAt, ...rest } = (await record(uuid!))!;
    assert.deepEqual(rest, {
      uuid,
      key: Buffer.from(key!),
      name: 'one',
      description: 'Eins',
      contact: 'noc@e.org',
      state: 'approved',
      blocked: false,
    });
    assert.ok(Math.abs(createdAt - Date.now()) < 60_000);
    const other = await ok('add');
    assert.ok(!other.includes(uuid!) && !other.includes(key!));
  });

  test('takes a UUID in any form, and --pending', async () => {
    const uuid = randomUUID();
    const given = uuid.replaceAll('-', '').toUpperCase();
    assert.equal(await addOne('--uuid', given, '--pending'), uuid);
    assert.equal((await record(uuid))!.state, 'pending');
    await fails(1, /exists already/, 'add', '--uuid', uuid);
  });

  test('takes the key from a file or standard input, less one newline, and does not repeat it', async () => {
    const keyFile = join(dir, 'key');
    const cases: [string | Buffer, Buffer][] = [
      ['secret words\n', Buffer.from('secret words')],
      ['two\n\n', Buffer.from('two\n')],
      [' blanks ', Buffer.from(' blanks ')],
      [Buffer.from([0, 255, 10]), Buffer.from([0, 255])],
      [Buffer.alloc(1024, 'x'), Buffer.alloc(1024, 'x')],
    ];
    for (const [content, key] of cases) {
      writeFileSync(keyFile, content);
      const bytes = Buffer.from(content);
      const outcomes = [
        await sensor(['add', '--key-file', keyFile]),
        await sensor(['add', '--key-stdin'], [bytes.subarray(0, 1), bytes.subarray(1)]),
      ];
      for (const { code, out, error } of outcomes) {
        assert.deepEqual({ code, error }, { code: 0, error: '' });
        assert.match(out, /^sensor \S+ added, approved\n$/);
        assert.deepEqual((await record(UUID_FORM.exec(out)![0]))!.key, key);
      }
    }
    assert.match(await ok('add', '--key-file', keyFile, '--show-key'), /\nkey: x{1024}\n$/);
    writeFileSync(keyFile, Buffer.from([1, 255]));
    assert.match(await ok('add', '--key-file', keyFile, '--show-key'), /\nkey, in hex: 01ff\n$/);
  });

  test('refuses a key that is empty, too long, or on the command line', async () => {
    const keyFile = join(dir, 'key');
    for (const content of ['', '\n']) {
      writeFileSync(keyFile, content);
      await fails(1, /the key is empty/, 'add', '--key-file', keyFile);
    }
    const endless = Array<string>(1000).fill('y'.repeat(100));
    const { code, error } = await sensor(['add', '--key-stdin'], endless);
    assert.equal(code, 1);
    assert.match(error, /the key has 1100 bytes: at most 1024/, 'and stops to read');
    writeFileSync(keyFile, 'y'.repeat(2000));
    await fails(2, /--key-file .*2000 bytes/, 'add', '--key-file', keyFile);
    await fails(2, /--key-file .*ENOENT/, 'add', '--key-file', join(dir, 'none'));
    await fails(2, /cannot be used with/, 'add', '--key-file', keyFile, '--key-stdin');
    await fails(2, /unknown option '--key'/, 'add', '--key', 'hunter2');
    for (const command of sensorCommand().commands) {
      for (const { long } of command.options) assert.notEqual(long, '--key');
    }
    assert.equal(existsSync(join(dataDir, 'registry')), false, 'nothing was touched');
  });

  test('--out writes a client directory, and says where the key is instead of what', async () => {
    const out = join(dir, 'client');
    const metaHeader = join(dir, 'meta.json');
    writeFileSync(metaHeader, '{"type":"ja3-jl"}\n');
    const text = await ok(
      ...['add', '--out', out, '--type', '254', '--meta-header', metaHeader],
      ...['--destination', '[::1]:4443'],
    );
    const uuid = UUID_FORM.exec(text)![0];
    assert.equal(text, `sensor ${uuid} added, approved\nclient directory: ${out}\n`);
    const read = (name: string) => readFileSync(join(out, name), 'utf8');
    assert.equal(read('uuid'), uuid);
    assert.equal(read('key'), `${(await record(uuid))!.key}\n`);
    assert.equal(read('type'), '254\n');
    assert.equal(read('destination'), '[::1]:4443\n');
    assert.equal(read('metaheader.json'), '{"type":"ja3-jl"}\n');
    assert.equal(statSync(join(out, 'key')).mode & 0o777, 0o600);
    const shown = await ok('add', '--out', join(dir, 'shown'), '--show-key');
    assert.match(shown, /\nkey: \S+\nclient directory: /);
  });

  test('a failure leaves neither a sensor nor a directory', async () => {
    const out = join(dir, 'client');
    const uuid = await addOne();
    await fails(1, /exists already/, 'add', '--uuid', uuid, '--out', out);
    assert.equal(existsSync(out), false);
    writeFileSync(join(dir, 'key'), 'a\0b');
    await fails(1, /zero byte/, 'add', '--out', out, '--key-file', join(dir, 'key'));
    await fails(1, /not empty/, 'add', '--out', dir);
    assert.deepEqual(await registry((opened) => opened.list().map((one) => one.uuid)), [uuid]);
    assert.deepEqual(readdirSync(dir).sort(), ['data', 'key']);
  });

  test('bad values are named, with their mend', async () => {
    const out = ['--out', join(dir, 'client')];
    const meta = join(dir, 'meta.json');
    writeFileSync(meta, '{"type":"../x"}');
    const uuid5 = '2ed6657d-e927-568b-95e1-2665a8aea6a2';
    await fails(2, /--uuid "x" is no version 4 UUID/, 'add', '--uuid', 'x');
    await fails(2, /no version 4 UUID: give one/, 'add', '--uuid', uuid5);
    await fails(2, /--type 0 is no D4 type: give one of 1, 2/, 'add', '--type', '0', ...out);
    await fails(2, /--type "1e0" is no whole number/, 'add', '--type', '1e0', ...out);
    await fails(2, /give --out too, or leave them out/, 'add', '--type', '3');
    await fails(2, /needs --meta-header/, 'add', '--type', '254', ...out);
    await fails(2, /for types 2 and 254/, 'add', '--meta-header', meta, ...out);
    await fails(2, /meta-no-type/, 'add', '--type', '2', '--meta-header', meta, ...out);
    await fails(2, /"nowhere" is no address/, 'add', '--destination', 'nowhere', ...out);
    await fails(2, /stdout or HOST:PORT/, 'add', '--destination', 'tls://a:1', ...out);
    await fails(1, /the name .* address: choose another/, 'add', '--name', '10.0.0.1');
    await fails(1, /control characters/, 'add', '--description', '\u001b[31m');
    assert.equal(existsSync(join(dir, 'client')), false);
  });
});

describe('naming a sensor', () => {
  test('by UUID, prefix or name; what fits several is refused with a list', async () => {
    const [one, two, three] = [
      'cafe0000-0000-4000-8000-000000000001',
      'cafe0000-0000-4000-8000-000000000002',
      'beef0000-0000-4000-8000-000000000003',
    ];
    await ok('add', '--uuid', one, '--name', 'twin');
    await ok('add', '--uuid', two, '--name', 'twin');
    await ok('add', '--uuid', three, '--name', 'cafe0000');
    for (const text of [
      three,
      three.toUpperCase(),
      three.replaceAll('-', ''),
      'BEEF',
      'beef0000-0',
    ]) {
      assert.match(await ok('approve', text), new RegExp(three));
    }
    assert.match(await ok('show', 'cafe0000-0000-4000-8000-000000000002'), new RegExp(two));
    await fails(1, /"twin" fits 2 sensors: cafe\S+1 \(twin\), cafe\S+2 \(twin\)/, 'remove', 'twin');
    await fails(1, /"cafe0000" fits 3 sensors/, 'remove', 'cafe0000');
    await fails(1, /fits 2 sensors/, 'remove', 'cafe0000-0');
    await fails(1, /no sensor "bee": give a UUID/, 'remove', 'bee');
    await fails(1, /no sensor ""/, 'remove', '');
    assert.equal((await registry((opened) => opened.list())).length, 3);
  });
});

describe('rotate-key', () => {
  test('keeps the old key for a day, or as long as it is told', async () => {
    const uuid = await addOne('--name', 'x');
    const old = (await record(uuid))!.key;
    const out = await ok('rotate-key', 'x');
    const [, until, key] = /valid until (\S+)\nkey: (\S+)\n$/.exec(out)!;
    const { previousKey, ...changed } = (await record(uuid))!;
    assert.equal(changed.key.toString(), key);
    assert.deepEqual(previousKey!.key, old);
    assert.ok(Math.abs(previousKey!.validUntil - Date.now() - 86_400_000) < 60_000);
    assert.ok(previousKey!.validUntil - Date.parse(until!) < 1000);
    assert.match(await ok('rotate-key', 'x', '--grace', '0'), /the old one is void/);
    assert.equal((await record(uuid))!.previousKey, undefined);
    await fails(2, /--grace "1d" is no whole number/, 'rotate-key', 'x', '--grace', '1d');
    await fails(1, /grace of 9999999999 seconds/, 'rotate-key', 'x', '--grace', '9999999999');
  });

  test('--out writes the new key, and nothing when it fails', async () => {
    const uuid = await addOne();
    const out = join(dir, 'client');
    assert.doesNotMatch(await ok('rotate-key', uuid, '--out', out), /key:/);
    assert.equal(readFileSync(join(out, 'key'), 'utf8'), `${(await record(uuid))!.key}\n`);
    const again = join(dir, 'again');
    const sameKey = ['--key-file', join(out, 'key'), '--out', again];
    await fails(1, /has that key already/, 'rotate-key', uuid, ...sameKey);
    assert.equal(existsSync(again), false);
  });
});

describe('states and blocks', () => {
  test('approve, block, unblock, remove', async () => {
    const uuid = await addOne('--pending');
    const state = async () => JSON.parse(await ok('show', uuid, '--json')).state as string;
    assert.equal(await state(), 'pending');
    await ok('block', uuid);
    assert.equal(await state(), 'blocked');
    assert.match(await ok('show', uuid), /^state +blocked \(pending before\)$/m);
    assert.match(await ok('unblock', uuid), /unblocked, pending/);
    await ok('approve', uuid);
    assert.equal(await state(), 'approved');
    await ok('remove', uuid);
    await fails(1, /no sensor/, 'show', uuid);
  });

  test('addresses and ranges, of both families', async () => {
    assert.equal(await ok('block', '192.0.2.0/24'), 'address 192.0.2.0/24 blocked\n');
    assert.equal(await ok('block', '2001:DB8::/32'), 'address 2001:db8::/32 blocked\n');
    assert.equal(await ok('block', '::ffff:198.51.100.7'), 'address 198.51.100.7 blocked\n');
    const { blockedAddresses } = JSON.parse(await ok('list', '--json'));
    assert.deepEqual(blockedAddresses.map(({ address }: { address: string }) => address).sort(), [
      '192.0.2.0/24',
      '198.51.100.7',
      '2001:db8::/32',
    ]);
    assert.match(await ok('list'), /^BLOCKED ADDRESS +SINCE\n192\.0\.2\.0\/24 +20/m);
    await ok('unblock', '192.0.2.0/24');
    await fails(1, /192\.0\.2\.0\/24 is not blocked/, 'unblock', '192.0.2.0/24');
    await fails(2, /write 10\.0\.0\.0\/8/, 'block', '10.0.0.1/8');
    await fails(2, /no range/, 'block', '10.0.0.1/33');
  });
});

describe('edit and reject', () => {
  test('edit changes what is named, groups as a whole, and nothing else', async () => {
    const uuid = await addOne('--name', 'one', '--group', 'north', 'dmz', '--expect', '60');
    const before = (await record(uuid))!;
    assert.deepEqual([before.groups, before.expectSeconds], [['dmz', 'north'], 60]);
    await ok('edit', 'one', '--description', 'new', '--expect', '0');
    assert.deepEqual(await record(uuid), { ...before, description: 'new', expectSeconds: 0 });
    await ok('edit', 'one', '--group', 'south');
    assert.match(await ok('list', '--group', 'south'), /one/);
    assert.match(await ok('list', '--group', 'north'), /no sensors/);
    await ok('edit', 'one', '--no-groups');
    assert.deepEqual((await record(uuid))!.groups, []);
    await fails(1, /no name of a group/, 'edit', 'one', '--group', 'North');
    await fails(2, /no whole number/, 'edit', 'one', '--expect', '1m');
  });

  test('reject forgets a pending sensor, and no other', async () => {
    const pending = await addOne('--pending');
    const approved = await addOne();
    await ok('reject', pending);
    assert.equal(await record(pending), undefined);
    await fails(1, /was approved before: block it/, 'reject', approved);
  });
});

describe('list and show', () => {
  test('align what they print, and let nothing drive the terminal', async () => {
    await ok('add', '--uuid', 'aaaaaaaa-0000-4000-8000-000000000001', '--name', 'nördlich');
    const uuid = await addOne('--uuid', 'bbbbbbbb-0000-4000-8000-000000000002', '--name', 'b');
    const at = Date.UTC(2026, 0, 2, 3, 4, 5, 678);
    await registry(async (opened) => {
      await opened.recordActivity([
        { kind: 'seen', uuid, at, address: '192.0.2.1' },
        {
          kind: 'reject',
          uuid,
          reason: 'bad-hmac',
          detail: 'x\u001b[2J',
          at,
          address: '192.0.2.9',
        },
        { kind: 'note', uuid, at, text: 'kept as raw\u009b31m\n' },
      ]);
    });
    assert.equal(
      await ok('list'),
      [
        'UUID                                  NAME      GROUPS  STATE     LAST SEEN             FROM       LAST REJECT',
        'aaaaaaaa-0000-4000-8000-000000000001  nördlich  -       approved  never                 -          -',
        'bbbbbbbb-0000-4000-8000-000000000002  b         -       approved  2026-01-02T03:04:05Z  192.0.2.1  bad-hmac at 2026-01-02T03:04:05Z',
        '',
      ].join('\n'),
    );
    const shown = await ok('show', 'b');
    assert.match(shown, /^ {2}detail +x\\u\{1b\}\[2J$/m);
    assert.match(shown, /^note +2026-01-02T03:04:05Z kept as raw\\u\{9b\}31m\\u\{a\}$/m);
    assert.doesNotMatch(shown.replaceAll('\n', ''), /[\p{Cc}\p{Cf}]/u);
  });

  test('no key is in any of their outputs', async () => {
    const keyFile = join(dir, 'key');
    const keys = ['the-first-secret', 'the-second-secret'];
    writeFileSync(keyFile, keys[0]!);
    const uuid = await addOne('--key-file', keyFile);
    writeFileSync(keyFile, keys[1]!);
    await ok('rotate-key', uuid, '--key-file', keyFile);
    const outputs = [
      await ok('list'),
      await ok('list', '--json'),
      await ok('show', uuid),
      await ok('show', uuid, '--json'),
    ];
    for (const output of outputs) {
      for (const key of keys) {
        for (const encoding of ['utf8', 'hex', 'base64', 'base64url'] as const) {
          const text = Buffer.from(key).toString(encoding).replace(/=+$/, '');
          assert.ok(!output.includes(text));
        }
        assert.ok(!output.replace(/\s/g, '').includes([...Buffer.from(key)].join(',')));
      }
      assert.ok(output.includes(uuid));
    }
    assert.match(outputs[2]!, /^old key +valid until 20/m);
  });

  test('an empty registry says what to do, a missing one is an error', async () => {
    await fails(1, /no registry in .*data.registry: add a sensor/, 'list');
    assert.equal(existsSync(dataDir), false, 'looking makes nothing');
    await registry(() => {});
    assert.match(await ok('list'), /^no sensors: `d4gw sensor add`/);
    assert.deepEqual(JSON.parse(await ok('list', '--json')), { sensors: [], blockedAddresses: [] });
  });
});

describe('the program', () => {
  async function run(args: string[], stdin = ''): Promise<Outcome> {
    const child = spawn(process.execPath, [MAIN, 'sensor', ...args], { timeout: CHILD_TIMEOUT_MS });
    const outcome = { code: 0, out: '', error: '' };
    child.stdout.on('data', (chunk) => {
      outcome.out += chunk;
    });
    child.stderr.on('data', (chunk) => {
      outcome.error += chunk;
    });
    child.stdin.end(stdin);
    [outcome.code] = await once(child, 'close');
    return outcome;
  }

  test('several at once lose nothing, and take keys from standard input', async () => {
    const place = ['--data-dir', dataDir];
    const names = ['a', 'b', 'c', 'd'];
    const added = await Promise.all(
      names.map((name) =>
        run(['add', '--name', name, '--key-stdin', ...place], `key of ${name}\n`),
      ),
    );
    for (const { code, error } of added) assert.deepEqual({ code, error }, { code: 0, error: '' });
    const sensors = await registry((opened) => opened.list());
    assert.deepEqual(
      sensors.map(({ name, key }) => [name, key.toString()]).sort(),
      names.map((name) => [name, `key of ${name}`]),
    );
    assert.equal(await registry((opened) => opened.version()), names.length);
  });

  test('finds the data directory in a configuration', async () => {
    const config = join(dir, 'd4gw.yaml');
    writeFileSync(
      config,
      'dataDir: ./elsewhere\nlisten: [{ tcp: { port: 0 } }]\nsinks: { n: { kind: blackhole } }\nroutes: [{ match: {}, to: [n] }]\n',
    );
    const { code, error } = await run(['add', '--config', config]);
    assert.deepEqual({ code, error }, { code: 0, error: '' });
    assert.ok(existsSync(join(dir, 'elsewhere', 'registry', 'data.mdb')));
    const bad = await run(['list', '--config', join(dir, 'none.yaml')]);
    assert.equal(bad.code, 2);
    assert.match(bad.error, /none\.yaml/);
  });
});
