import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Certificate } from '../../../../src/control/ui/data/types.js';
import {
  clientCommands,
  directoryFiles,
  directoryName,
  targetOf,
} from '../../../../src/control/ui/lib/client.js';

const SOURCES = ['unix ./d4gw.sock', 'tcp 127.0.0.1:4444', 'tls [::]:4443', 'wss [::]:4445'];
const own: Certificate = {
  source: 'tls [::]:4443',
  notAfter: '2030-01-01T00:00:00Z',
  isSelfSigned: true,
  names: ['localhost', 'gw', '127.0.0.1'],
  pem: 'PEM\n',
};

test('sensors are sent to TLS where there is, at the address by which the page is reached', () => {
  const target = targetOf(SOURCES, [own], 'gw.example.org');
  assert.deepEqual(target, {
    kind: 'tls',
    host: 'gw.example.org',
    port: '4443',
    certificate: own,
  });
  assert.equal(targetOf(SOURCES.slice(0, 2), [], 'gw')?.host, '127.0.0.1');
  assert.equal(targetOf(['tls [2001:db8::1]:1'], [], 'gw')?.host, '[2001:db8::1]');
  assert.equal(targetOf(SOURCES.slice(0, 1), [], 'gw'), undefined);
});

test('the directory has what its client needs, and the commands fit it', () => {
  const choice = { type: 254, metaType: 'ja3-jl' };
  const files = { uuid: 'u', key: 'k\n', type: '1\n' };
  const target = targetOf(SOURCES, [own], 'gw.example.org')!;
  assert.deepEqual(directoryFiles(files, choice, target), {
    uuid: 'u',
    key: 'k\n',
    type: '254\n',
    'metaheader.json': '{"type":"ja3-jl"}\n',
    'rootCA.crt': 'PEM\n',
  });
  const authority = { ...target, certificate: { ...own, isSelfSigned: false } };
  assert.deepEqual(Object.keys(directoryFiles(files, { ...choice, type: 3 }, authority)), [
    'uuid',
    'key',
    'type',
  ]);
  const textOf = (given: typeof target, type: number) =>
    clientCommands('dir', { ...choice, type }, given).map(({ text }) => text);
  const [ours, c, go] = textOf(target, 1);
  assert.equal(
    ours,
    "sudo tcpdump -i any -U -w - 'not port 4443' | d4gw client -c dir --to tls://gw.example.org:4443" +
      ' --ca dir/rootCA.crt --servername localhost',
  );
  assert.match(c!, /\| \.\/d4 -c dir \| socat - OPENSSL-CONNECT:gw\.example\.org:4443,verify=0$/);
  assert.match(go!, /^echo gw\.example\.org:4443 > dir\/destination\n.*\.\/d4-goclient -c dir$/);
  assert.doesNotMatch(textOf({ ...target, host: 'gw' }, 3)[0]!, /servername/);
  assert.doesNotMatch(textOf(authority, 3)[0]!, /--ca/);
  const tcp = textOf({ kind: 'tcp', host: 'gw', port: '4444', certificate: undefined }, 8);
  assert.match(tcp[0]!, /--to tcp:\/\/gw:4444$/);
  assert.match(tcp[1]!, /socat - TCP:gw:4444$/);
  assert.match(tcp[2]!, / -ce=false$/);
});

test('a directory is named so that no shell minds', () => {
  const uuid = '5e2f8b7d-0a13-4b7a-9c41-000000000001';
  assert.equal(directoryName('Fresh one; rm -rf $HOME', uuid), 'fresh-one-rm--rf-home');
  for (const name of ['', '../..', '---', 'é']) {
    assert.equal(directoryName(name, uuid), 'sensor-5e2f8b7d', name);
  }
});
