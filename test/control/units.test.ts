import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { checkConfig } from '../../src/config/load.js';
import { readCookie, writeCookie } from '../../src/control/auth/cookie.js';
import { DELAY_MAX_MS, FREE_FAILURES, Throttle } from '../../src/control/auth/throttle.js';
import type { HttpProblem } from '../../src/control/http/reply.js';
import { maskedConfig } from '../../src/control/masked.js';
import { type Route, route } from '../../src/control/route.js';
import { Router } from '../../src/control/router.js';
import { tempDir } from '../support/tmp.js';

describe('the throttle', () => {
  test('lets people mistype, then doubles up to a minute, and forgets', () => {
    const throttle = new Throttle();
    let now = 0;
    for (let failure = 1; failure < FREE_FAILURES; failure += 1) {
      throttle.failed('192.0.2.1', now);
      assert.equal(throttle.waitMs('192.0.2.1', now), 0);
    }
    const waits: number[] = [];
    for (let failure = 0; failure < 9; failure += 1) {
      throttle.failed('192.0.2.1', now);
      waits.push(throttle.waitMs('192.0.2.1', now));
      now += waits.at(-1)!;
    }
    assert.deepEqual(waits.slice(0, 4), [1_000, 2_000, 4_000, 8_000]);
    assert.equal(waits.at(-1), DELAY_MAX_MS);
    assert.equal(throttle.waitMs('192.0.2.2', now), 0, 'another address is not meant');
    throttle.failed('192.0.2.1', now + 3_600_000);
    assert.equal(throttle.waitMs('192.0.2.1', now + 3_600_000), 0);
  });

  test('takes a /64 as one, and holds no more addresses than it may', () => {
    const throttle = new Throttle(10);
    for (let tries = 0; tries < 20; tries += 1) throttle.failed(`2001:db8::${tries}`, 0);
    assert.ok(throttle.waitMs('2001:db8::ffff', 0) > 0);
    assert.equal(throttle.waitMs('2001:db8:0:1::1', 0), 0);
    for (let host = 0; host < 10; host += 1) throttle.failed(`192.0.2.${host}`, 0);
    assert.equal(throttle.waitMs('2001:db8::1', 0), 0, 'the oldest was let go');
  });
});

describe('the router', () => {
  const handle = () => ({ status: 200 });
  const make = (method: Route['method'], path: string) =>
    route({ method, path, role: 'open', id: path, tag: '', summary: '', answers: {}, handle });
  const router = new Router([
    make('GET', '/a/{x}/c'),
    make('GET', '/a/b/c'),
    make('POST', '/a/{x}/c'),
  ]);
  const statusOf = (method: string, path: string) => {
    try {
      return router.find(method, path).route.path;
    } catch (error) {
      return (error as HttpProblem).status;
    }
  };

  test('a path that stands for itself comes first; a name is one decoded segment', () => {
    assert.equal(statusOf('GET', '/a/b/c'), '/a/b/c');
    assert.equal(statusOf('POST', '/a/b/c'), '/a/{x}/c');
    assert.deepEqual(router.find('GET', '/a/%2f%20/c').params, { x: '/ ' });
    assert.equal(statusOf('HEAD', '/a/z/c'), '/a/{x}/c');
  });

  test('what is not there is 404, what has not the method 405', () => {
    for (const path of [
      '',
      '/',
      '/a',
      '/a/b',
      '/a//c',
      '/a/%00/c',
      '/a/%zz/c',
      '/a/b/c/',
      'a/b/c',
    ]) {
      assert.equal(statusOf('GET', path), 404, path);
    }
    assert.equal(statusOf('GET', '/x'.repeat(10_000)), 404);
    assert.throws(() => router.find('DELETE', '/a/x/c'), {
      status: 405,
      headers: { allow: 'GET, HEAD, POST' },
    });
  });
});

test('cookies: under TLS they are of this host and of TLS alone', () => {
  assert.equal(
    writeCookie('v', true, 60),
    '__Host-d4gw=v; Path=/; HttpOnly; SameSite=Strict; Max-Age=60; Secure',
  );
  assert.equal(readCookie('a=1; __Host-d4gw=v; d4gw=w', true), 'v');
  assert.equal(readCookie('a=1; __Host-d4gw=v; d4gw=w', false), 'w');
  assert.equal(readCookie('xd4gw=w', false), undefined);
});

test('the configuration is shown without what is secret', () => {
  const config = checkConfig(
    {
      listen: [{ tcp: { port: 4444 } }],
      sinks: { nowhere: { kind: 'blackhole' } },
      routes: [{ to: ['nowhere'] }],
      control: {},
      alerts: { webhooks: [{ url: 'https://user:pass@hooks.example/T0/secret?x=1' }] },
    },
    tempDir('masked'),
    'test',
  );
  const shown = JSON.stringify(maskedConfig({ ...config, hmacKey: 'secret' } as never));
  assert.doesNotMatch(shown, /secret|pass@/);
  assert.match(shown, /https:\/\/hooks.example\/\*\*\*/);
  assert.match(shown, /"hmacKey":"\*\*\*"/);
});
