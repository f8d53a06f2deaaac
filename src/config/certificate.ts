import { createPrivateKey, type KeyObject, randomBytes, X509Certificate } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createSecureContext } from 'node:tls';
import { GatewayError, messageOf } from '../errors.js';
import { type PemPair, selfSigned } from './self-signed.js';

const MIN_VERSION = 'TLSv1.2';
const PEM_BYTES_MAX = 1024 * 1024;
const EXPIRY_WARNING_DAYS = 30;
const DAY_MS = 86_400_000;
const CERTIFICATE_BLOCK = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

export interface TlsFiles {
  /** PEM, the server's own certificate first; with neither, one is generated. */
  certFile?: string | undefined;
  keyFile?: string | undefined;
  /** PEM certificates that client certificates must chain to. */
  caFile?: string | undefined;
  clientCert?: 'none' | 'request' | 'require' | undefined;
}

/** What a TLS listener needs, as PEM text, so that it can be sent to workers as it is. */
export interface TlsMaterial {
  cert: string;
  key: string;
  ca?: string;
  requestCert: boolean;
  rejectUnauthorized: boolean;
  minVersion: 'TLSv1.2';
  /** SHA-256 of the certificate, as hex pairs with colons. */
  fingerprint256: string;
  /** When the certificate expires, ISO 8601. */
  notAfter: string;
  /** Whether the certificate is the gateway's own. */
  generated: boolean;
  /** Where the certificate is, for sensors that shall trust it. */
  certFile: string;
  keyFile: string;
  /** What the operator should know, one line each. */
  warnings: string[];
}

/**
 * Reads and checks the certificate and keys of a listener. Without `certFile` and `keyFile` it
 * makes a self-signed certificate in `<dataDir>/tls/`, once; when that has expired, a new one for
 * the same key takes its place.
 * @throws GatewayError D4GW_E_CERTIFICATE naming the file and what to do about it
 */
export async function loadTls(
  files: TlsFiles,
  dataDir: string,
  now = Date.now(),
): Promise<TlsMaterial> {
  const { certFile, keyFile, caFile, clientCert = 'none' } = files;
  if ((certFile === undefined) !== (keyFile === undefined)) {
    const [given, missing] = certFile ? ['certFile', 'keyFile'] : ['keyFile', 'certFile'];
    throw fail(`${given} is given without ${missing}: give both, or neither`);
  }
  if (clientCert === 'require' && caFile === undefined) {
    throw fail(
      'clientCert: require needs caFile, or any certificate of a public authority would do',
    );
  }
  const warnings: string[] = [];
  const generated = certFile === undefined || keyFile === undefined;
  const paths = generated ? await ownFiles(dataDir, now, warnings) : { certFile, keyFile };
  const pair = readPair(paths, now, warnings);
  const ca = caFile === undefined ? undefined : readAuthorities(caFile);
  try {
    createSecureContext({ ...pair.pem, ...(ca ? { ca } : {}), minVersion: MIN_VERSION });
  } catch (error) {
    throw fail(`${paths.certFile}: not usable for TLS (${messageOf(error)}): make a new one`);
  }
  return {
    ...pair.pem,
    ...(ca ? { ca } : {}),
    requestCert: clientCert !== 'none',
    rejectUnauthorized: clientCert === 'require',
    minVersion: MIN_VERSION,
    fingerprint256: pair.certificate.fingerprint256,
    notAfter: new Date(pair.certificate.validTo).toISOString(),
    generated,
    certFile: paths.certFile,
    keyFile: paths.keyFile,
    warnings,
  };
}

interface PairFiles {
  certFile: string;
  keyFile: string;
}

function readPair({ certFile, keyFile }: PairFiles, now: number, warnings: string[]) {
  const pem: PemPair = { cert: readPem(certFile), key: readPem(keyFile) };
  const certificate = parseCertificates(certFile, pem.cert)[0]!;
  if (!certificate.checkPrivateKey(parseKey(keyFile, pem.key))) {
    throw fail(
      `${keyFile}: not the key of ${certFile}: give the key that the certificate was made for (of a chain, the server's own certificate comes first)`,
    );
  }
  if ((statSync(keyFile).mode & 0o077) !== 0) {
    warnings.push(`${keyFile}: others than its owner may use this private key: chmod 600 it`);
  }
  const from = Date.parse(certificate.validFrom);
  const to = Date.parse(certificate.validTo);
  const until = new Date(to).toISOString();
  if (now < from) {
    warnings.push(`${certFile}: not valid before ${new Date(from).toISOString()}: check the clock`);
  } else if (now > to) {
    warnings.push(`${certFile}: expired at ${until}: sensors that verify it will not connect`);
  } else if (to - now < EXPIRY_WARNING_DAYS * DAY_MS) {
    warnings.push(`${certFile}: expires at ${until}: renew it before`);
  }
  return { pem, certificate };
}

/** The gateway's own certificate, made or renewed where needed. */
async function ownFiles(dataDir: string, now: number, warnings: string[]): Promise<PairFiles> {
  const directory = join(dataDir, 'tls');
  const files = { certFile: join(directory, 'cert.pem'), keyFile: join(directory, 'key.pem') };
  try {
    const found = [existsSync(files.certFile), existsSync(files.keyFile)];
    if (found[0] !== found[1]) {
      const [there, missing] = found[0] ? ['cert.pem', 'key.pem'] : ['key.pem', 'cert.pem'];
      throw fail(
        `${directory} holds ${there} without ${missing}: put it back, or remove both to have new ones made`,
      );
    }
    if (!found[0]) await create(directory, now);
    else await renewExpired(files, now, warnings);
  } catch (error) {
    if (error instanceof GatewayError) throw error;
    throw fail(`${directory}: cannot make a certificate there (${messageOf(error)})`, error);
  }
  return files;
}

/** Both files appear at once, by the renaming of their directory; who comes second uses them. */
async function create(directory: string, now: number): Promise<void> {
  const pair = await selfSigned(undefined, now);
  const temporary = temporaryName(directory);
  mkdirSync(temporary, { mode: 0o700, recursive: true });
  try {
    await writeFile(join(temporary, 'key.pem'), pair.key, { mode: 0o600, flush: true });
    await writeFile(join(temporary, 'cert.pem'), pair.cert, { mode: 0o644, flush: true });
    renameSync(temporary, directory);
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true });
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error;
  }
}

/** A new certificate for the same key: one file, replaced by one renaming. */
async function renewExpired(files: PairFiles, now: number, warnings: string[]): Promise<void> {
  const old = parseCertificates(files.certFile, readPem(files.certFile))[0]!;
  if (Date.parse(old.validTo) > now) return;
  const key = readPem(files.keyFile);
  parseKey(files.keyFile, key);
  const { cert } = await selfSigned(key, now);
  const temporary = temporaryName(files.certFile);
  await writeFile(temporary, cert, { mode: 0o644, flush: true });
  renameSync(temporary, files.certFile);
  warnings.push(
    `${files.certFile}: had expired, and is made anew: sensors that trust the old file need this one`,
  );
}

function temporaryName(path: string): string {
  return `${path}.${process.pid}-${randomBytes(4).toString('hex')}.tmp`;
}

function readPem(file: string): string {
  try {
    const { size } = statSync(file);
    if (size > PEM_BYTES_MAX) throw fail(`${file}: ${size} bytes are too many for a PEM file`);
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (error instanceof GatewayError) throw error;
    const { code = 'unknown' } = error as NodeJS.ErrnoException;
    throw fail(`${file}: cannot be read (${code}): check the path and its permissions`, error);
  }
}

/** Every certificate of a PEM text; at least one. */
function parseCertificates(file: string, pem: string): X509Certificate[] {
  const blocks = pem.match(CERTIFICATE_BLOCK) ?? [];
  if (blocks.length === 0) {
    throw fail(`${file}: holds no PEM certificate (-----BEGIN CERTIFICATE-----)`);
  }
  return blocks.map((block, index) => {
    try {
      return new X509Certificate(block);
    } catch (error) {
      throw fail(`${file}: its certificate number ${index + 1} is damaged: replace it`, error);
    }
  });
}

function parseKey(file: string, pem: string): KeyObject {
  // PKCS #8 and the older form both say so in their head.
  if (/^(-----BEGIN|Proc-Type:).*ENCRYPTED/m.test(pem)) {
    throw fail(`${file}: is encrypted: decrypt it with openssl pkey -in ${file} -out NEW-FILE`);
  }
  try {
    return createPrivateKey(pem);
  } catch {
    // Without its cause, lest that hold a piece of the key.
    throw fail(`${file}: holds no usable PEM private key: give the certificate's key`);
  }
}

function readAuthorities(file: string): string {
  const pem = readPem(file);
  parseCertificates(file, pem);
  return pem;
}

function fail(message: string, cause?: unknown): GatewayError {
  return new GatewayError('D4GW_E_CERTIFICATE', message, cause === undefined ? {} : { cause });
}
