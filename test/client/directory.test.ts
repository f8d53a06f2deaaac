import assert from 'node:assert/strict';
import { chmodSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { readClientDirectory } from '../../src/client/directory.js';
import { tempDir } from '../support/tmp.js';

const UUID = '3a9f1c52-6d0e-4b7a-9c41-5e2f8b7d0a13';
const META = '{"type":"ja3-jl"}\n';

/** The files as the C client's repository has them; undefined leaves one out. */
function directory(files: Record<string, string | Buffer | undefined> = {}): string {
  const dir = tempDir('client');
  const all = {
    uuid: UUID,
    key: 'private key to change\n',
    snaplen: '4096\n',
    version: '1\n',
    type: '3\n',
    source: 'stdin\n',
    destination: 'stdout\n',
    ...files,
  };
  for (const [name, content] of Object.entries(all)) {
    if (content !== undefined) writeFileSync(join(dir, name), content, { mode: 0o600 });
  }
  return dir;
}

const config = (message: RegExp) => ({ code: 'D4GW_E_CONFIG', exitCode: 2, message });

describe('readClientDirectory', () => {
  it('reads what the official clients read', () => {
    const { key, ...rest } = readClientDirectory(directory());
    assert.equal(key.export().toString(), 'private key to change');
    assert.deepEqual(rest, {
      uuid: UUID,
      snaplenBytes: 4096,
      type: 3,
      destination: 'stdout',
      warnings: [],
    });
  });

  it('drops one final newline of the key, and nothing else', () => {
    const key = (text: string) => readClientDirectory(directory({ key: text })).key.export();
    assert.equal(key('a').toString(), 'a');
    assert.equal(key('a\n').toString(), 'a');
    assert.equal(key('a\n\n').toString(), 'a\n');
    assert.equal(key(' a \t\n').toString(), ' a \t');
    const binary = Buffer.from([0, 255, 10, 128, 10]);
    const read = readClientDirectory(directory({ key: binary })).key.export();
    assert.deepEqual(read, binary.subarray(0, -1));
  });

  it('takes the defaults of what may be missing, and a UUID without hyphens', () => {
    const missing = { snaplen: undefined, version: undefined, source: undefined };
    const dir = directory({ ...missing, destination: undefined, uuid: UUID.replaceAll('-', '') });
    const read = readClientDirectory(dir, 8);
    assert.equal(read.uuid, UUID);
    assert.equal(read.snaplenBytes, 4096);
    assert.equal(read.destination, 'stdout');
    assert.equal(read.type, 8);
  });

  const refused: [string, Record<string, string | undefined>, RegExp][] = [
    ['no uuid', { uuid: undefined }, /uuid: is missing/],
    ['an empty uuid', { uuid: '\n' }, /uuid: is missing or empty/],
    ['no UUID at all', { uuid: 'sensor-1' }, /uuid: "sensor-1" is no version 4 UUID/],
    ['the nil UUID', { uuid: '00000000-0000-0000-0000-000000000000' }, /no version 4 UUID/],
    ['a version 1 UUID', { uuid: '3a9f1c52-6d0e-1b7a-9c41-5e2f8b7d0a13' }, /no version 4 UUID/],
    ['no key', { key: undefined }, /key: is missing/],
    ['an empty key', { key: '' }, /key: is empty/],
    ['a key of a newline', { key: '\n' }, /key: is empty/],
    ['snaplen 0', { snaplen: '0' }, /snaplen: is 0/],
    ['a large snaplen', { snaplen: '1000001' }, /snaplen: is 1000001; .* 1 to 1000000/],
    ['a snaplen that is no number', { snaplen: '4k' }, /snaplen: "4k" is no number/],
    ['version 2', { version: '2' }, /version: is 2/],
    ['type 0', { type: '0' }, /type: 0 is no type/],
    ['type 9', { type: '9' }, /type: 9 is no type/],
    ['no type', { type: undefined }, /type: is missing; or give --type/],
    ['a source of another kind', { source: '/var/spool' }, /source: is "\/var\/spool"/],
    ['254 without a meta header', { type: '254' }, /metaheader.json: is missing/],
    ['a meta header without type', { type: '254', 'metaheader.json': '{}' }, /meta-no-type/],
    ['a meta header of text', { type: '254', 'metaheader.json': 'x' }, /meta-not-json/],
  ];
  for (const [name, files, message] of refused) {
    it(`refuses ${name}, naming the file`, () => {
      const dir = directory(files);
      assert.throws(() => readClientDirectory(dir), config(message));
    });
  }

  it('refuses a directory that is none', () => {
    const dir = directory();
    rmSync(dir, { recursive: true });
    assert.throws(() => readClientDirectory(dir), config(/is no directory/));
  });

  it('reads the meta header, byte for byte, for 254, and for 2 where it stands', () => {
    const meta = { 'metaheader.json': META };
    for (const type of [254, 2]) {
      const read = readClientDirectory(directory(meta), type);
      assert.equal(read.metaHeader?.toString(), META);
    }
    assert.equal(readClientDirectory(directory(), 2).metaHeader, undefined);
    assert.equal(readClientDirectory(directory(meta), 3).metaHeader, undefined);
  });

  it('warns of a key that others can read, and of a carriage return in it', () => {
    const dir = directory({ key: 'secret\r\n' });
    chmodSync(join(dir, 'key'), 0o640);
    const { warnings } = readClientDirectory(dir);
    assert.match(warnings.join('\n'), /chmod 600 .*\n.*carriage return/);
    assert.doesNotMatch(warnings.join('\n'), /secret/);
  });

  it('shows nothing of the key', () => {
    const long = 'secret'.repeat(1_000);
    const dir = directory({ key: long });
    assert.throws(
      () => readClientDirectory(dir),
      (error: Error) => /limit 4096/.test(error.message) && !/secret/.test(error.message),
    );
  });
});
