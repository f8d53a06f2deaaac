import assert from 'node:assert/strict';
import { readFileSync, statSync } from 'node:fs';
import { request } from 'node:http';
import { test } from 'node:test';
import { SECURITY_HEADERS } from '../../src/control/http/headers.js';
import { d4gw } from '../support/program.js';
import { Controlled, type Json } from './api.js';

const control = await Controlled.start();
const WRONG = `d4gw_000000000000_${'A'.repeat(43)}`;

/** Logs in, and returns what a page then sends with each request. */
async function login(token = control.admin) {
  const answer = await control.post('/api/v1/login', { token }, { token: null });
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  const [cookie] = answer.headers.getSetCookie();
  return { answer, cookie: cookie!, session: cookie!.split(';')[0]!, csrf: answer.body.csrfToken };
}

test('the first admin token is in a file of its own, and in no log', () => {
  assert.equal(statSync(control.tokenFile).mode & 0o777, 0o600);
  const [line] = control.gateway.logged('the first admin token');
  assert.equal(line!.file, control.tokenFile);
  assert.equal(control.gateway.process.output().includes(control.admin), false);
  const trail = readFileSync(`${control.dataDir}/audit/audit-000001.ndjson`, 'utf8');
  assert.equal(trail.includes(control.admin.slice(18)), false);
});

test('a token may do what its role may, and no more', async () => {
  const reader = await control.token('reader');
  const operator = await control.token('operator');
  const calls: [method: string, path: string, body: unknown, reader: number, operator: number][] = [
    ['GET', '/api/v1/sensors', undefined, 200, 200],
    ['GET', '/metrics', undefined, 200, 200],
    ['POST', '/api/v1/addresses/block', { address: '192.0.2.1' }, 403, 200],
    ['GET', '/api/v1/audit', undefined, 403, 200],
    ['GET', '/api/v1/tokens', undefined, 403, 403],
    ['POST', '/api/v1/sinks/disk/resume', undefined, 403, 403],
  ];
  for (const [method, path, body, asReader, asOperator] of calls) {
    assert.equal(
      (await control.call(method, path, { body, token: reader })).status,
      asReader,
      path,
    );
    assert.equal(
      (await control.call(method, path, { body, token: operator })).status,
      asOperator,
      path,
    );
    assert.equal((await control.call(method, path, { body })).status, 200, path);
  }
  const refused = await control.metric('d4gw_control_refused_total');
  assert.equal(refused['{reason="role"}'], 6);
});

test('without a token, and with one that is none, expired or revoked: 401', async () => {
  const none = await control.get('/api/v1/sensors', { token: null });
  assert.equal(none.status, 401);
  assert.deepEqual(none.body, { status: 'error', reason: 'Authentication needed' });
  const wrong = await control.get('/api/v1/sensors', { token: WRONG });
  assert.deepEqual(wrong.body, { status: 'error', reason: 'Authentication failed' });
  const expiring = await control.token('admin', Date.now() + 400);
  assert.equal((await control.get('/api/v1/session', { token: expiring })).status, 200);
  const deadline = Date.now() + 10_000;
  while ((await control.get('/api/v1/session', { token: expiring })).status !== 401) {
    assert.ok(Date.now() < deadline, 'it expires');
  }
  const made = await control.ok('POST', '/api/v1/tokens', { name: 'short', role: 'reader' });
  assert.equal((await control.get('/api/v1/session', { token: made.token })).status, 200);
  const at = ['--data-dir', control.dataDir];
  assert.equal((await d4gw(['token', 'revoke', made.id, ...at])).code, 0);
  assert.equal((await control.get('/api/v1/session', { token: made.token })).status, 401);
});

test('the bare token is taken too, as the reference server does', async () => {
  const headers = { authorization: control.admin };
  assert.equal((await control.get('/api/v1/session', { token: null, headers })).status, 200);
});

test('a session: cookie, forgery, logout, and the end of its token', async () => {
  const made = await control.ok('POST', '/api/v1/tokens', { name: 'person', role: 'operator' });
  const { cookie, session, csrf, answer } = await login(made.token);
  assert.match(cookie, /^d4gw=[\w-]{43}; Path=\/; HttpOnly; SameSite=Strict; Max-Age=604\d{3}$/);
  assert.equal(answer.body.role, 'operator');
  const as = (headers: Record<string, string> = {}) => ({
    token: null,
    headers: { cookie: `other=1; ${session}`, ...headers },
  });
  assert.equal((await control.get('/api/v1/session', as())).body.csrfToken, csrf);
  const block = { address: '192.0.2.8' };
  const path = '/api/v1/addresses/block';
  assert.equal((await control.post(path, block, as())).status, 403, 'no proof');
  const forged = as({ 'x-csrf-token': `${csrf.slice(0, -1)}!` });
  assert.equal((await control.post(path, block, forged)).status, 403);
  const foreign = as({ 'x-csrf-token': csrf, origin: 'https://evil.example' });
  assert.equal((await control.post(path, block, foreign)).status, 403, 'another origin');
  const own = as({ 'x-csrf-token': csrf, origin: control.url });
  assert.equal((await control.post(path, block, own)).status, 200);
  const other = await login(made.token);
  assert.equal((await control.post('/api/v1/logout', undefined, own)).status, 204);
  assert.equal((await control.get('/api/v1/session', as())).status, 401);
  await control.ok('DELETE', `/api/v1/tokens/${made.id}`);
  const others = { token: null, headers: { cookie: other.session } };
  assert.equal((await control.get('/api/v1/session', others)).status, 401, 'its token is void');
  const acts = await control.ok('GET', '/api/v1/audit?act=login');
  assert.deepEqual(
    acts.slice(0, 2).map((act: Json) => [act.subject, act.actor.name, act.actor.from]),
    [
      [made.id, 'person', '127.0.0.1'],
      [made.id, 'person', '127.0.0.1'],
    ],
  );
});

test('a login from another site is refused', async () => {
  const headers = { origin: 'https://evil.example' };
  const body = { token: control.admin };
  const answer = await control.post('/api/v1/login', body, { token: null, headers });
  assert.equal(answer.status, 403);
});

test('every answer carries the headers that protect a page', async () => {
  for (const path of ['/api/v1/sensors', '/nothing', '/healthz', '/metrics']) {
    const { headers } = await control.get(path);
    for (const [name, value] of Object.entries(SECURITY_HEADERS)) {
      assert.equal(headers.get(name), value, `${path} ${name}`);
    }
    assert.equal(headers.get('access-control-allow-origin'), null);
  }
});

test('unknown paths and methods, and HEAD', async () => {
  for (const path of ['/api/v1', '/api/v1/sensors/', '/api/v1/sensors/%', '/%00', '/a/../b']) {
    const answer = await control.get(path);
    assert.deepEqual([answer.status, answer.body.status], [404, 'error'], path);
  }
  const put = await control.call('PUT', '/api/v1/sensors', { body: {} });
  assert.deepEqual([put.status, put.headers.get('allow')], [405, 'GET, HEAD, POST']);
  assert.equal(put.body.status, 'error');
  const head = await control.call('HEAD', '/healthz');
  assert.equal(head.status, 200);
  assert.equal(head.headers.get('content-length'), '29');
});

test('bodies: too large, no JSON, no object, a wrong or unknown field', async () => {
  const path = '/api/v1/addresses/block';
  const large = await control.post(path, { address: 'x'.repeat(70_000) });
  assert.equal(large.status, 413);
  assert.match(large.body.reason, /at most 65536 bytes/);
  const bad: [body: string, field: string | undefined, reason: RegExp][] = [
    ['', undefined, /is not JSON/],
    ['{"address"', undefined, /is not JSON/],
    ['\xff', undefined, /is not JSON/],
    ['[]', undefined, /not a JSON object/],
    ['{}', 'address', /^address: /],
    ['{"address": 7}', 'address', /^address: /],
    ['{"address": "nowhere"}', 'address', /expected an address/],
    ['{"address": "192.0.2.1", "why": 1}', 'why', /why/],
  ];
  for (const [body, field, reason] of bad) {
    const answer = await control.post(path, body);
    assert.deepEqual([answer.status, answer.body.field], [400, field], body);
    assert.match(answer.body.reason, reason);
  }
  const query = await control.get('/api/v1/sensors?limit=0');
  assert.deepEqual([query.status, query.body.field], [400, 'limit']);
  assert.equal((await control.get('/api/v1/sensors?what=1')).body.field, 'what');
});

test('a body that never ends is cut off at its limit', async () => {
  const status = await new Promise<number | undefined>((resolve, reject) => {
    const req = request(`${control.url}/api/v1/addresses/block`, {
      method: 'POST',
      headers: { authorization: `Bearer ${control.admin}`, 'content-length': 10_000_000 },
    });
    req.on('response', (response) => resolve(response.statusCode));
    req.on('error', reject);
    req.write('{');
  });
  assert.equal(status, 413);
});

test('failures are slowed by address, and a right token is not', async () => {
  const statuses: number[] = [];
  for (let tries = 0; tries < 8; tries += 1) {
    statuses.push((await control.get('/api/v1/session', { token: WRONG })).status);
  }
  assert.ok(statuses.includes(429), `${statuses}`);
  const slowed = await control.post('/api/v1/login', { token: WRONG }, { token: null });
  assert.equal(slowed.status, 429);
  assert.match(slowed.headers.get('retry-after')!, /^\d+$/);
  assert.equal((await control.get('/api/v1/session')).status, 200);
  // Behind a proxy all have one address: one who fails kept everybody out.
  const right = await control.post('/api/v1/login', { token: control.admin }, { token: null });
  assert.equal(right.status, 200);
  const refused = await control.metric('d4gw_control_refused_total');
  assert.ok(refused['{reason="slowed"}']! > 0);
  assert.equal(await control.gateway.stop(), 0);
});
