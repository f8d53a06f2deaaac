import assert from 'node:assert/strict';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { openRegistry } from '../../src/registry/lmdb.js';
import { pseudonymOf } from '../../src/sinks/relay/identity.js';
import { d4gw } from '../support/program.js';
import { tempDir } from '../support/tmp.js';

const uuidOf = (number: number) =>
  `5e2f8b7d-0a13-4b7a-9c41-${number.toString(16).padStart(12, '0')}`;
const TOKEN = 'a-token-of-the-partner';

/** A configuration with a relay, and two sensors that are approved, one that is not. */
async function site(mode = 'resign') {
  const dir = tempDir('cli-relay');
  const config = join(dir, 'd4gw.yaml');
  writeFileSync(
    config,
    `listen: [{ tcp: { port: 4444 } }]
sinks: { partner: { kind: relay, to: "tcp://127.0.0.1:9", mode: ${mode} }, gone: { kind: blackhole } }
routes: [{ to: [partner] }]
`,
  );
  const registry = openRegistry(join(dir, 'data'), {});
  for (const number of [1, 2, 3]) {
    const state = number === 3 ? 'pending' : 'approved';
    await registry.add({ uuid: uuidOf(number), key: Buffer.from(`key ${number}`), state });
  }
  await registry.close();
  const tokenFile = join(dir, 'token');
  writeFileSync(tokenFile, `${TOKEN}\n`, { mode: 0o600 });
  return { dir, config, tokenFile };
}

interface Asked {
  path: string | undefined;
  authorization: string | undefined;
  body: { uuid: string; hmac_key: string };
}

/** A reference server's REST call: answers with these, one after the other. */
async function partner(...statuses: number[]) {
  const asked: Asked[] = [];
  const server = createServer(async (request: IncomingMessage, answer) => {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    const { authorization } = request.headers;
    asked.push({
      path: request.url,
      authorization,
      body: JSON.parse(Buffer.concat(parts).toString()),
    });
    const reason = 'no way\u001b[31m';
    answer.writeHead(statuses.shift() ?? 200).end(JSON.stringify({ status: 'error', reason }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  after(() => server.close());
  const { port } = server.address() as AddressInfo;
  return { asked, url: `http://127.0.0.1:${port}` };
}

describe('d4gw relay register', () => {
  it('prints the pseudonyms of approved sensors, the same each time', async () => {
    const { dir, config } = await site();
    const args = ['relay', 'register', 'partner', '--config', config];
    const { code, stdout, stderr } = await d4gw(args);
    assert.equal(code, 0, stderr);
    const [secretFile, keyFile] = ['secret', 'key'].map((name) =>
      join(dir, 'data', 'relay', 'partner', name),
    );
    for (const file of [secretFile!, keyFile!]) assert.equal(statSync(file).mode & 0o777, 0o600);
    const secret = Buffer.from(readFileSync(secretFile!, 'latin1').trim());
    for (const number of [1, 2]) {
      assert.ok(stdout.includes(`${pseudonymOf(uuidOf(number), secret)}  ${uuidOf(number)}`));
    }
    assert.ok(!stdout.includes(uuidOf(3)), 'one that is not approved is left out');
    assert.ok(stderr.includes(keyFile!));
    for (const file of [secretFile!, keyFile!]) {
      const hidden = readFileSync(file, 'latin1').trim();
      assert.ok(!stdout.includes(hidden) && !stderr.includes(hidden));
    }
    assert.equal((await d4gw(args)).stdout, stdout);
  });

  it("registers them by the reference server's call", async () => {
    const { dir, config, tokenFile } = await site();
    const { asked, url } = await partner(200, 409);
    const to = ['--url', url, '--token-file', tokenFile, '--allow-http', '--json'];
    const args = ['relay', 'register', 'partner', '--config', config, ...to];
    const { code, stdout, stderr } = await d4gw(args);
    assert.equal(code, 0, stderr);
    const key = readFileSync(join(dir, 'data', 'relay', 'partner', 'key'), 'latin1').trim();
    const { sensors } = JSON.parse(stdout) as { sensors: { pseudonym: string; result: string }[] };
    assert.deepEqual(
      sensors.map(({ result }) => result),
      ['registered', 'known'],
    );
    assert.deepEqual(
      asked.map(({ body }) => body),
      sensors.map(({ pseudonym }) => ({ uuid: pseudonym, hmac_key: key })),
    );
    for (const { path, authorization } of asked) {
      assert.deepEqual([path, authorization], ['/api/v1/add/sensor/register', TOKEN]);
    }
    assert.ok(!stdout.includes(key));
  });

  it('says what the server refuses, without token and key', async () => {
    const { config, tokenFile } = await site();
    const { url } = await partner(403);
    const to = ['--url', url, '--token-file', tokenFile, '--allow-http'];
    const { code, stderr } = await d4gw([
      'relay',
      'register',
      'partner',
      '--config',
      config,
      ...to,
    ]);
    assert.equal(code, 1);
    assert.match(stderr, /^d4gw: 127\.0\.0\.1:\d+ answered 403 for .*: no way \[31m\n$/);
    assert.ok(!stderr.includes(TOKEN));
  });

  const wrong: [string, string, string[], RegExp][] = [
    ['a name that is none', 'resign', ['gone'], /gone: no relay of the configuration/],
    ['preserve', 'preserve', ['partner'], /its mode is preserve, which has no pseudonyms/],
    ['a URL without a token', 'resign', ['partner', '--url', 'https://a'], /give both, or neither/],
  ];
  for (const [what, mode, args, message] of wrong) {
    it(`${what}: exits 2`, async () => {
      const { config } = await site(mode);
      const { code, stderr } = await d4gw(['relay', 'register', ...args, '--config', config]);
      assert.equal(code, 2);
      assert.match(stderr, message);
    });
  }

  it('http has to be asked for', async () => {
    const { config, tokenFile } = await site();
    const to = ['--url', 'http://127.0.0.1:9', '--token-file', tokenFile];
    const { code, stderr } = await d4gw([
      'relay',
      'register',
      'partner',
      '--config',
      config,
      ...to,
    ]);
    assert.equal(code, 2);
    assert.match(stderr, /it would send token and key in clear/);
  });
});
