import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseTarget } from '../../src/net/target.js';

describe('parseTarget', () => {
  it('reads addresses in all their forms', () => {
    const at = (kind: string, host: string, port: number, name: string) => {
      return { kind, host, port, name };
    };
    assert.deepEqual(parseTarget('stdout'), { kind: 'stdout' });
    assert.deepEqual(parseTarget('-'), { kind: 'stdout' });
    assert.deepEqual(parseTarget('a.b:1'), at('tls', 'a.b', 1, 'tls://a.b:1'));
    assert.deepEqual(parseTarget('a.b:1', true), at('tcp', 'a.b', 1, 'tcp://a.b:1'));
    assert.deepEqual(parseTarget('tcp://127.0.0.1:65535').kind, 'tcp');
    assert.deepEqual(parseTarget('tls://a:4443').kind, 'tls');
    assert.deepEqual(parseTarget('[::1]:4443'), at('tls', '::1', 4443, 'tls://[::1]:4443'));
    const local = at('tcp', 'fe80::1%eth0', 1, 'tcp://[fe80::1%eth0]:1');
    assert.deepEqual(parseTarget('tcp://[fe80::1%eth0]:1'), local);
  });

  it('refuses what is none, and a contradiction', () => {
    const usage = { code: 'D4GW_E_USAGE' };
    const bad = ['', 'a', 'a:', ':1', 'a:0', 'a:65536', 'a:1x', '::1:4443', '[::1]', 'a b:1'];
    for (const text of [...bad, 'http://a:1', 'tls://a:1/', 'user@a:1', '[a]:1', 'a:99999999']) {
      assert.throws(() => parseTarget(text), usage, text);
    }
    assert.throws(() => parseTarget('tls://a:1', true), usage);
  });
});
