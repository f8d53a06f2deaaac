import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { Sensor, sharedSecret, until, uuidOf } from '../integration/peers.js';
import { type Answer, type CallOptions, Controlled, type Json } from './api.js';

/**
 * Holds the description to what is served: each operation is called, each answer must be one that is
 * described, and what is not described must not be there.
 */

const control = await Controlled.start(sharedSecret());
const description = await control.ok('GET', '/api/openapi.json');
const METHODS = ['get', 'post', 'patch', 'delete', 'put'];

interface Operation {
  id: string;
  method: string;
  path: string;
  role: string;
  parameters: { name: string; in: string; required: boolean; schema: object }[];
  requestBody: Json;
  responses: Record<string, { content?: Record<string, { schema: object }> }>;
}

const operations: Operation[] = Object.entries(description.paths as Json).flatMap(([path, item]) =>
  Object.entries(item as Json).map(([method, operation]: [string, Json]) => ({
    ...operation,
    id: operation.operationId,
    role: operation['x-role'],
    method: method.toUpperCase(),
    path,
  })),
);
const ajv = new Ajv2020({ strict: false, allErrors: true, validateFormats: false });
const covered = new Map<string, Set<number>>();

/** Calls an operation, and checks that the answer is one that is described. */
async function call(
  id: string,
  {
    params = {},
    query = '',
    ...options
  }: CallOptions & {
    params?: Record<string, string>;
    query?: string;
  } = {},
): Promise<Answer> {
  const operation = operations.find((one) => one.id === id);
  assert.ok(operation, `${id} is not described`);
  const path = operation.path.replace(/\{(\w+)\}/g, (_, name) => {
    assert.ok(params[name] !== undefined, `${id} needs ${name}`);
    return encodeURIComponent(params[name]);
  });
  const answer = await control.call(operation.method, path + query, options);
  const { status, body } = answer;
  const response = operation.responses[status];
  assert.ok(response, `${id} answers ${status}, which is not described: ${JSON.stringify(body)}`);
  const seen = covered.get(id) ?? new Set();
  covered.set(id, seen.add(status));
  const [type, content] = Object.entries(response.content ?? {})[0] ?? [];
  if (content === undefined) assert.equal(body, '', `${id} ${status} has no body`);
  else {
    assert.ok(answer.headers.get('content-type')?.startsWith(type!), `${id} is ${type}`);
    if (type === 'application/json') {
      const valid = ajv.compile(content.schema);
      assert.ok(
        valid(body),
        `${id} ${status}: ${JSON.stringify(valid.errors)}\n${JSON.stringify(body)}`,
      );
    }
  }
  return answer;
}

const sensor = new Sensor(uuidOf(1), 3);
const NOBODY = uuidOf(99);

test('it is OpenAPI 3.1, and all of its schemas are such', () => {
  assert.equal(description.openapi, '3.1.0');
  const ids = operations.map(({ id }) => id);
  assert.equal(new Set(ids).size, ids.length);
  for (const { id, path, parameters, requestBody, responses, role } of operations) {
    const names = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]);
    const own = parameters.filter((one) => one.in === 'path').map(({ name }) => name);
    assert.deepEqual(own, names, id);
    assert.ok(['open', 'reader', 'operator', 'admin'].includes(role), id);
    for (const { schema } of parameters) ajv.compile(schema);
    if (requestBody) ajv.compile(requestBody.content['application/json'].schema);
    for (const { content } of Object.values(responses)) {
      for (const { schema } of Object.values(content ?? {})) ajv.compile(schema);
    }
  }
});

test("the reference server's calls, word for word", async () => {
  const register = (body: unknown) => call('registerSensor', { body });
  const MISSING = { status: 'error', reason: 'Mandatory parameter(s) not provided' };
  const uuid = uuidOf(7);
  assert.deepEqual((await register({ uuid })).body, MISSING);
  assert.deepEqual((await register({ hmac_key: 'k' })).body, MISSING);
  const wrong = await register({ uuid: 'x', hmac_key: 'k' });
  assert.deepEqual([wrong.status, wrong.body], [400, { status: 'error', reason: 'Invalid uuid' }]);
  const about = { description: 'what', mail: 'noc@example.org', more: 1 };
  const made = await register({ uuid, hmac_key: 'the key', ...about });
  assert.deepEqual([made.status, made.body], [200, { uuid: uuid.replaceAll('-', '') }]);
  const again = await register({ uuid: uuid.toUpperCase().replaceAll('-', ''), hmac_key: 'k' });
  assert.equal(again.status, 409);
  assert.deepEqual(again.body, { status: 'error', reason: 'Sensor already registered' });
  const { body } = await call('getSensor', { params: { uuid } });
  assert.deepEqual([body.state, body.contact, body.description], ['pending', about.mail, 'what']);
  assert.deepEqual((await call('monitoringErrors')).body, []);
});

test('sensors', async () => {
  const params = { uuid: sensor.uuid };
  const made = await call('addSensor', { body: { name: 'mine', groups: ['b', 'a'] } });
  assert.equal(made.status, 201);
  const { uuid, groups } = made.body.sensor;
  assert.deepEqual(groups, ['a', 'b']);
  assert.match(made.body.key, /^[0-9a-f]{64}$/);
  assert.equal(made.body.clientFiles.key, `${made.body.key}\n`);
  assert.equal((await call('addSensor', { body: { uuid } })).status, 409);
  assert.equal((await call('addSensor', { body: { uuid: 'x' } })).body.field, 'uuid');
  assert.equal((await call('addSensor', { body: { groups: ['X'] } })).body.field, 'groups.0');
  const { body: given } = await call('addSensor', {
    body: { uuid: sensor.uuid, key: sensor.key, name: 'sender' },
  });
  assert.deepEqual([given.key, given.clientFiles], [null, null]);
  const { body: edited } = await call('editSensor', { params, body: { expectSeconds: 3600 } });
  assert.deepEqual([edited.name, edited.expectSeconds], ['sender', 3600]);
  const { body: found } = await call('listSensors', { query: '?q=MINE&sort=lastSeen&order=desc' });
  assert.deepEqual(
    found.sensors.map((one: Json) => one.uuid),
    [uuid],
  );
  const { body: paged } = await call('listSensors', { query: '?limit=1&offset=1' });
  assert.deepEqual([paged.total, paged.sensors.length], [3, 1]);
  assert.equal((await call('listSensors', { query: '?state=pending' })).body.total, 1);
  assert.equal((await call('listSensors', { query: '?group=a' })).body.total, 1);
  assert.deepEqual((await call('listGroups')).body, [
    { name: 'a', sensors: 1 },
    { name: 'b', sensors: 1 },
  ]);
  assert.equal((await call('blockSensor', { params: { uuid } })).body.state, 'blocked');
  assert.equal((await call('unblockSensor', { params: { uuid } })).body.state, 'approved');
  const pending = { uuid: uuidOf(7) };
  const rotated = await call('rotateKey', { params: pending, body: { graceSeconds: 60 } });
  assert.match(rotated.body.key, /^[0-9a-f]{64}$/);
  assert.ok(rotated.body.sensor.previousKeyValidUntil);
  assert.equal((await call('approveSensor', { params: pending })).body.state, 'approved');
  assert.equal((await call('rejectSensor', { params: pending })).status, 409);
  const other = await call('addSensor', { body: { state: 'pending' } });
  const unwanted = { uuid: other.body.sensor.uuid };
  assert.deepEqual((await call('rejectSensor', { params: unwanted })).body, unwanted);
  assert.deepEqual((await call('removeSensor', { params: { uuid } })).body, { uuid });
  for (const { id, path, method } of operations) {
    if (!path.includes('{uuid}') || path.includes('history') || path.includes('files')) continue;
    const body = ['POST', 'PATCH'].includes(method) ? {} : undefined;
    assert.equal((await call(id, { params: { uuid: NOBODY }, body })).status, 404, id);
    assert.equal((await call(id, { params: { uuid: 'x' }, body })).status, 404, id);
  }
});

test('what is seen while a sensor sends', async () => {
  const socket = await control.gateway.tcp();
  socket.write(sensor.frame('a line\n'));
  await until(async () => {
    const { body } = await call('listSessions', { query: `?sensor=${sensor.uuid}` });
    return body.sessions[0]?.received.frames === 1;
  }, 'its session shows');
  // Workers tell their figures once a second.
  await until(
    async () => (await call('getOverview')).body.received[3] !== undefined,
    'it is in the figures',
  );
  const { body } = await call('getOverview');
  assert.deepEqual(body.received, { 3: { frames: 1, bytes: 7 } });
  assert.equal(body.sessions, 1);
  await call('getSeries');
  await call('getLedger', { query: `?sensor=${sensor.uuid}` });
  await call('getHistory', { query: '?unit=minute' });
  await call('getSensorHistory', { params: { uuid: sensor.uuid } });
  assert.equal((await call('getHistory', { query: '?unit=week' })).body.field, 'unit');
  await until(async () => {
    const listed = await call('listFiles', { params: { uuid: sensor.uuid } });
    return listed.body.files.length === 1 && listed.body.files[0].bytes === 7;
  }, 'its file shows');
  const listed = await call('listFiles', { params: { uuid: sensor.uuid }, query: '?type=3' });
  const { sink, path } = listed.body.files[0];
  const query = `?sink=${sink}&path=${encodeURIComponent(path)}`;
  const download = await call('downloadFile', { params: { uuid: sensor.uuid }, query });
  assert.equal(download.body, 'a line\n');
  assert.match(download.headers.get('content-disposition')!, /^attachment; filename="[\w.-]+"$/);
  const sessions = (await call('listSessions')).body.sessions;
  const params = { id: sessions[0].id };
  const kicked = await call('kickSession', { params, body: {} });
  assert.equal(kicked.body.sensor, sensor.uuid);
  assert.equal((await call('listBans')).body[0].sensor, sensor.uuid);
  const gone = { id: 'none' };
  assert.equal((await call('kickSession', { params: gone, body: {} })).status, 404);
});

test('the rest', async () => {
  const token = (await call('addToken', { body: { name: 'x', role: 'reader' } })).body;
  assert.equal((await call('listTokens')).body.length, 2);
  assert.deepEqual((await call('revokeToken', { params: { id: token.id } })).body, {
    id: token.id,
  });
  assert.equal((await call('revokeToken', { params: { id: token.id } })).status, 404);
  assert.equal((await call('blockAddress', { body: { address: '192.0.2.0/24' } })).status, 200);
  assert.equal((await call('blockAddress', { body: { address: '192.0.2.1/24' } })).status, 400);
  assert.equal((await call('listAddresses')).body[0].address, '192.0.2.0/24');
  const rule = { address: '192.0.2.0/24' };
  assert.deepEqual((await call('unblockAddress', { body: rule })).body, rule);
  assert.equal((await call('unblockAddress', { body: rule })).status, 404);
  const login = await call('login', { body: { token: control.admin }, token: null });
  assert.equal((await call('login', { body: { token: 'x' }, token: null })).status, 401);
  assert.equal((await call('whoAmI')).body.role, 'admin');
  assert.equal(login.body.role, 'admin');
  assert.equal((await call('logout')).status, 204);
  assert.equal((await call('pauseSink', { params: { name: 'none' } })).status, 404);
  assert.equal((await call('pauseSink', { params: { name: 'disk' } })).body.state, 'stopped');
  assert.equal((await call('isReady', { token: null })).status, 503);
  assert.equal((await call('resumeSink', { params: { name: 'disk' } })).body.state, 'ok');
  assert.equal((await call('isReady', { token: null })).status, 200);
  for (const id of ['isAlive', 'getDescription']) await call(id, { token: null });
  for (const id of ['listSinks', 'getVersion', 'getConfig', 'listAlerts', 'listRejects']) {
    await call(id);
  }
  assert.equal((await call('listRejects', { query: `?sensor=${NOBODY}` })).body.total, 0);
  const [tls] = (await call('listCertificates')).body;
  assert.equal(tls.pem, readFileSync(control.gateway.certFile, 'utf8'));
  assert.ok(tls.isSelfSigned && tls.source.startsWith('tls ') && tls.names.includes('127.0.0.1'));
  await call('getMetrics');
  assert.deepEqual((await call('reloadConfig')).body, { changed: [] });
  const acts = (await call('listAudit', { query: '?limit=2&act=sink' })).body;
  assert.deepEqual(
    acts.map((one: Json) => one.act),
    ['sink.resume', 'sink.pause'],
  );
});

test('each described operation was called, needs a token unless it is open, and nothing else is there', async () => {
  const called = [...covered].filter(([, statuses]) => [...statuses].some((one) => one < 300));
  assert.deepEqual(called.map(([id]) => id).sort(), operations.map(({ id }) => id).sort());
  for (const { path } of operations) {
    const concrete = path
      .replace(/\{uuid\}/, NOBODY)
      .replace(/\{id\}/, '0'.repeat(12))
      .replace(/\{\w+\}/, 'x');
    for (const method of METHODS) {
      const operation = operations.find(
        (one) => one.path === path && one.method === method.toUpperCase(),
      );
      const { status } = await control.call(method.toUpperCase(), concrete, {
        token: null,
        body: ['get', 'delete'].includes(method) ? undefined : {},
      });
      if (!operation) assert.ok(status === 405 || status === 404, `${method} ${path}: ${status}`);
      else if (operation.role === 'open') assert.notEqual(status, 401, `${method} ${path}`);
      else assert.equal(status, 401, `${method} ${path}`);
    }
  }
});

test('it stops as any gateway does', async () => {
  assert.equal(await control.gateway.stop(), 0);
});
