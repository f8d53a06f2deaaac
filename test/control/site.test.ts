import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import type { Request } from '../../src/control/http/request.js';
import { isPagePath, VIEWS } from '../../src/control/pages.js';
import { Site } from '../../src/control/site.js';
import { repository } from '../support/shared.js';
import { tempDir } from '../support/tmp.js';
import { Controlled } from './api.js';

const UI_DIR = join(repository, 'dist', 'ui');
/** All that a browser ever loads. */
const COMPRESSED_BYTES_MAX = 200_000;

const control = await Controlled.start();

interface Raw {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: Buffer;
}

/** Without what `fetch` does by itself. */
function raw(path: string, headers: Record<string, string> = {}, method = 'GET'): Promise<Raw> {
  const { hostname, port } = new URL(control.url);
  return new Promise((resolve, reject) => {
    const options = { hostname, port, path, method, headers, agent: false, timeout: 10_000 };
    const asked = request(options, (answer) => {
      const chunks: Buffer[] = [];
      answer.on('data', (chunk: Buffer) => chunks.push(chunk));
      answer.on('end', () =>
        resolve({
          status: answer.statusCode!,
          headers: answer.headers,
          body: Buffer.concat(chunks),
        }),
      );
    });
    asked.on('error', reject);
    asked.end();
  });
}

const shell = (await raw('/')).body.toString();
const assets = [...shell.matchAll(/(?:src|href)="(\/assets\/[^"]+)"/g)].map((match) => match[1]!);

test('each view is the one page, and nothing else is', async () => {
  for (const view of VIEWS) assert.equal((await raw(`/${view}`)).body.toString(), shell, view);
  const below = '/sensors/5e2f8b7d-0a13-4b7a-9c41-000000000001';
  assert.equal((await raw(below)).body.toString(), shell);
  for (const path of ['/nothing', '/sensors/a/b', '/alerts/x', '/sensors/', '/index.html.br']) {
    assert.equal(isPagePath(path), false, path);
    const { status, headers } = await raw(path);
    assert.deepEqual([status, headers['content-type']], [404, 'application/json; charset=utf-8']);
  }
  for (const path of ['/assets/../../package.json', '/assets/%2e%2e/index.html', '//etc/passwd']) {
    assert.equal((await raw(path)).status, 404, path);
  }
  const post = await raw('/', {}, 'POST');
  assert.deepEqual([post.status, post.headers.allow], [405, 'GET, HEAD']);
});

test('the policy lets it load what is its own alone, and it has nothing inline', async () => {
  const { headers } = await raw('/alerts');
  const policy = headers['content-security-policy'] as string;
  assert.match(policy, /default-src 'none'; script-src 'self'; style-src 'self';/);
  assert.doesNotMatch(policy, /unsafe|https?:|\*/);
  assert.equal(headers['x-content-type-options'], 'nosniff');
  assert.doesNotMatch(shell, /<script(?![^>]*src=)|<style| style=| on\w+=/);
  assert.ok(assets.length >= 3, shell);
  for (const name of readdirSync(join(UI_DIR, 'assets'))) {
    if (!/\.(js|css)$/.test(name)) continue;
    const text = readFileSync(join(UI_DIR, 'assets', name), 'utf8');
    assert.doesNotMatch(text, /@import|url\(\s*["']?(https?:)?\/\//, name);
  }
});

test('assets are kept for ever, the page itself is asked about', async () => {
  for (const path of assets) {
    const { status, headers } = await raw(path);
    assert.equal(status, 200);
    assert.equal(headers['cache-control'], 'public, max-age=31536000, immutable', path);
  }
  const { headers } = await raw('/');
  assert.equal(headers['cache-control'], 'no-cache');
  const again = await raw('/', { 'if-none-match': headers.etag as string });
  assert.deepEqual([again.status, again.body.length], [304, 0]);
  assert.equal((await raw('/', { 'if-none-match': '"other"' })).status, 200);
  const head = await raw('/', {}, 'HEAD');
  assert.deepEqual([head.status, head.body.length], [200, 0]);
  assert.equal(head.headers['content-length'], `${Buffer.byteLength(shell)}`);
});

test('it is sent as it was compressed at the build, to who takes that', async () => {
  const script = assets.find((path) => path.endsWith('.js'))!;
  const plain = (await raw(script)).body;
  const coded = async (accept: string) => {
    const { headers, body } = await raw(script, { 'accept-encoding': accept });
    return [headers['content-encoding'], body] as const;
  };
  const [brotli, brotliBody] = await coded('gzip, deflate, br, zstd');
  assert.equal(brotli, 'br');
  assert.ok(brotliDecompressSync(brotliBody).equals(plain));
  const [gzip, gzipBody] = await coded('gzip;q=1.0, br;q=0');
  assert.equal(gzip, 'gzip');
  assert.ok(gunzipSync(gzipBody).equals(plain));
  const [none, body] = await coded('identity');
  assert.equal(none, undefined);
  assert.ok(body.equals(plain));
});

test('without a build there is no page, and all else works', () => {
  const site = Site.load(tempDir('no-ui'));
  const asked = { method: 'GET', path: '/', headers: {} } as Request;
  assert.equal(site.find(asked), undefined);
});

test('all of it is small', async () => {
  const files = readdirSync(UI_DIR, { recursive: true, encoding: 'utf8' });
  const sent = files
    .filter((name) => /\.(html|js|css|svg|woff2)$/.test(name))
    .map((name) => (files.includes(`${name}.gz`) ? `${name}.gz` : name));
  const bytes = sent.reduce((sum, name) => sum + statSync(join(UI_DIR, name)).size, 0);
  assert.ok(bytes > 10_000 && bytes < COMPRESSED_BYTES_MAX, `${bytes} bytes`);
  assert.equal(await control.gateway.stop(), 0);
});
