import assert from 'node:assert/strict';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import type { AddressInfo } from 'node:net';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { connect, createServer, type TLSSocket } from 'node:tls';
import { loadTls, type TlsMaterial } from '../../src/config/certificate.js';
import { selfSigned, VALIDITY_DAYS } from '../../src/config/self-signed.js';
import { GatewayError } from '../../src/errors.js';

const DAY_MS = 86_400_000;

let dir: string;
let own: { certFile: string; keyFile: string };

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'd4gw-tls-'));
  own = { certFile: join(dir, 'tls', 'cert.pem'), keyFile: join(dir, 'tls', 'key.pem') };
});

afterEach(() => rmSync(dir, { recursive: true }));

const failure = (message: RegExp) => (error: unknown) =>
  error instanceof GatewayError &&
  error.code === 'D4GW_E_CERTIFICATE' &&
  error.exitCode === 1 &&
  !error.message.includes('\n') &&
  message.test(error.message);

function put(name: string, content: string, mode = 0o600): string {
  const file = join(dir, name);
  writeFileSync(file, content, { mode });
  return file;
}

async function putPair(name: string, now?: number) {
  const pair = await selfSigned(undefined, now);
  return {
    ...pair,
    certFile: put(`${name}.crt`, pair.cert),
    keyFile: put(`${name}.key`, pair.key),
  };
}

/** Connects with full verification, and says which protocol was agreed on. */
async function handshake(
  material: TlsMaterial,
  client: { host: string; ca?: string; maxVersion?: 'TLSv1.1' | 'TLSv1.2' },
): Promise<string | null> {
  const server = createServer({ ...material });
  server.on('tlsClientError', () => {});
  await once(server.listen(0, client.host), 'listening');
  const { port } = server.address() as AddressInfo;
  let socket: TLSSocket | undefined;
  try {
    socket = connect({ port, ...client, minVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' });
    await once(socket, 'secureConnect');
    return socket.getProtocol();
  } finally {
    socket?.destroy();
    server.close();
    await once(server, 'close');
  }
}

describe('the generated certificate', () => {
  test('is P-256, for this host, and taken by a client that trusts it', async () => {
    const material = await loadTls({}, dir);
    const certificate = new X509Certificate(material.cert);
    assert.equal(certificate.subject, 'CN=d4-gateway');
    assert.equal(certificate.publicKey.asymmetricKeyDetails!.namedCurve, 'prime256v1');
    assert.equal(certificate.verify(certificate.publicKey), true);
    for (const ip of ['127.0.0.1', '::1']) assert.equal(certificate.checkIP(ip), ip);
    assert.equal(certificate.checkHost('localhost'), 'localhost');
    const name = hostname().toLowerCase();
    if (/^[a-z0-9-]+$/.test(name)) assert.equal(certificate.checkHost(name), name);
    assert.equal(certificate.checkHost('example.org'), undefined);
    assert.equal(material.fingerprint256, certificate.fingerprint256);
    const days = (Date.parse(material.notAfter) - Date.now()) / DAY_MS;
    assert.ok(Math.abs(days - VALIDITY_DAYS) < 0.1);
    assert.deepEqual(material.warnings, []);
    assert.equal(material.generated, true);
    assert.equal(material.certFile, own.certFile);

    const ca = material.cert;
    assert.equal(await handshake(material, { host: '127.0.0.1', ca }), 'TLSv1.3');
    assert.equal(await handshake(material, { host: 'localhost', ca }), 'TLSv1.3');
    const tls12 = { host: '127.0.0.1', ca, maxVersion: 'TLSv1.2' } as const;
    assert.equal(await handshake(material, tls12), 'TLSv1.2');
    await assert.rejects(handshake(material, { ...tls12, maxVersion: 'TLSv1.1' }));
    await assert.rejects(handshake(material, { host: '127.0.0.1' }), /self.signed/);
  });

  test('is made once, its key readable by its owner alone', async () => {
    const first = await loadTls({}, dir);
    assert.equal(statSync(own.keyFile).mode & 0o777, 0o600);
    assert.equal(statSync(join(dir, 'tls')).mode & 0o777, 0o700);
    assert.deepEqual(await loadTls({}, dir), first);
    assert.equal(readFileSync(own.certFile, 'utf8'), first.cert);
  });

  test('is one, whoever asks at the same time', async () => {
    const all = await Promise.all(Array.from({ length: 8 }, () => loadTls({}, dir)));
    for (const material of all) assert.deepEqual(material, all[0]);
    assert.deepEqual(readdirSync(dir), ['tls']);
    assert.deepEqual(readdirSync(join(dir, 'tls')).sort(), ['cert.pem', 'key.pem']);
  });

  test('is announced before it expires, and made anew for the same key after', async () => {
    const first = await loadTls({}, dir);
    const expiry = Date.parse(first.notAfter);
    const soon = await loadTls({}, dir, expiry - 3 * DAY_MS);
    assert.equal(soon.cert, first.cert);
    assert.match(soon.warnings.join(), /cert\.pem: expires at .*: renew it/);
    const next = await loadTls({}, dir, expiry + 1000);
    assert.notEqual(next.cert, first.cert);
    assert.equal(next.key, first.key);
    assert.ok(Date.parse(next.notAfter) > expiry);
    assert.match(next.warnings.join(), /had expired, and is made anew/);
    assert.deepEqual(readdirSync(join(dir, 'tls')).sort(), ['cert.pem', 'key.pem']);
  });

  test('is not made over half of another', async () => {
    await loadTls({}, dir);
    rmSync(own.keyFile);
    await assert.rejects(loadTls({}, dir), failure(/cert\.pem without key\.pem: put it back/));
    writeFileSync(own.keyFile, 'x', { mode: 0o600 });
    await assert.rejects(loadTls({}, dir), failure(/key\.pem: holds no usable/));
    const file = put('file', '');
    await assert.rejects(loadTls({}, file), failure(/cannot make a certificate there/));
  });
});

describe('a given certificate', () => {
  test('is read, with its chain', async () => {
    const pair = await putPair('own');
    const other = await selfSigned();
    const certFile = put('chain.crt', `# comment\n${pair.cert}${other.cert}`);
    const material = await loadTls({ ...pair, certFile }, dir);
    assert.equal(material.generated, false);
    assert.equal(material.fingerprint256, new X509Certificate(pair.cert).fingerprint256);
    assert.equal(await handshake(material, { host: '127.0.0.1', ca: pair.cert }), 'TLSv1.3');
    assert.deepEqual(readdirSync(dir).includes('tls'), false, 'none was generated');
  });

  test('that does not fit its key is refused', async () => {
    const [one, two] = [await putPair('one'), await putPair('two')];
    const mixed = { certFile: one.certFile, keyFile: two.keyFile };
    await assert.rejects(loadTls(mixed, dir), failure(/two\.key: not the key of .*one\.crt/));
  });

  test('that is expired, not yet valid, or whose key is open to others, is taken with a warning', async () => {
    const old = await putPair('old', Date.now() - (VALIDITY_DAYS + 1) * DAY_MS);
    assert.match((await loadTls(old, dir)).warnings.join(), /old\.crt: expired at \d{4}-/);
    const early = await putPair('early', Date.now() + 9 * DAY_MS);
    assert.match((await loadTls(early, dir)).warnings.join(), /early\.crt: not valid before/);
    const open = await putPair('open');
    chmodSync(open.keyFile, 0o640);
    assert.match((await loadTls(open, dir)).warnings.join(), /open\.key: .*chmod 600/);
  });

  test('that is damaged is refused in one line that names its file, and no line of its key', async () => {
    const { cert, key, certFile, keyFile } = await putPair('good');
    const encrypted = createPrivateKey(key)
      .export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'secret' })
      .toString();
    const cases: [Parameters<typeof loadTls>[0], RegExp][] = [
      [{ certFile }, /certFile is given without keyFile/],
      [{ keyFile }, /keyFile is given without certFile/],
      [{ certFile: join(dir, 'missing'), keyFile }, /missing: cannot be read \(ENOENT\)/],
      [{ certFile: dir, keyFile }, /cannot be read \(EISDIR\)/],
      [{ certFile: put('big', ' '.repeat(2 << 20)), keyFile }, /big: 2097152 bytes are too many/],
      [{ certFile: keyFile, keyFile }, /good\.key: holds no PEM certificate/],
      [{ certFile, keyFile: certFile }, /good\.crt: holds no usable PEM private key/],
      [{ certFile, keyFile: put('enc', encrypted) }, /enc: is encrypted: decrypt it/],
      [{ certFile, keyFile: put('cut', key.slice(0, 80)) }, /cut: holds no usable/],
      [{ certFile: put('bent', cert.replace(/\nMII/, '\nMIX')), keyFile }, /bent: .*number 1/],
      [{ certFile, keyFile, caFile: keyFile }, /good\.key: holds no PEM certificate/],
      [{ certFile, keyFile, clientCert: 'require' }, /require needs caFile/],
    ];
    for (const [files, message] of cases) {
      await assert.rejects(loadTls(files, dir), (error: Error) => {
        assert.doesNotMatch(error.message, new RegExp(key.split('\n')[1]!.slice(0, 20)));
        return failure(message)(error);
      });
    }
  });

  test('asks for client certificates as it is told', async () => {
    const { cert, certFile } = await putPair('ca');
    const asked = async (clientCert: 'none' | 'request' | 'require') => {
      const material = await loadTls({ caFile: certFile, clientCert }, dir);
      assert.equal(material.ca, cert);
      return [material.requestCert, material.rejectUnauthorized];
    };
    assert.deepEqual(await asked('none'), [false, false]);
    assert.deepEqual(await asked('request'), [true, false]);
    assert.deepEqual(await asked('require'), [true, true]);
  });
});
