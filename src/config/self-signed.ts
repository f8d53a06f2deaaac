import { createPrivateKey, createPublicKey, randomBytes, webcrypto } from 'node:crypto';
import { hostname } from 'node:os';

export const CERTIFICATE_NAME = 'd4-gateway';
/** What TLS clients with the strictest rules still take. */
export const VALIDITY_DAYS = 825;
/** Sensors' clocks may be slow. */
const BACKDATE_DAYS = 1;
const DAY_MS = 86_400_000;
const CURVE = { name: 'ECDSA', namedCurve: 'P-256' } as const;
/** At most 20 (RFC 5280, 4.1.2.2). */
const SERIAL_BYTES = 16;

export interface PemPair {
  cert: string;
  key: string;
}

/**
 * Makes a self-signed P-256 certificate for this host's name and the loopback addresses.
 * @param keyPem PKCS #8 PEM of the P-256 key to certify; a new one is made without it
 */
export async function selfSigned(keyPem?: string, now = Date.now()): Promise<PemPair> {
  // Read only when a certificate is made: it takes longer to load than all the rest.
  const x509 = await import('@peculiar/x509');
  const keys = keyPem === undefined ? await newKeys() : await keysOf(keyPem);
  const names = [...new Set(['localhost', hostname().toLowerCase()])].filter(isDnsName);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: `CN=${CERTIFICATE_NAME}`,
    notBefore: new Date(now - BACKDATE_DAYS * DAY_MS),
    notAfter: new Date(now + VALIDITY_DAYS * DAY_MS),
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension([
        ...names.map((value) => ({ type: 'dns' as const, value })),
        { type: 'ip', value: '127.0.0.1' },
        { type: 'ip', value: '::1' },
      ]),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey));
  return {
    cert: `${certificate.toString('pem')}\n`,
    key: `${x509.PemConverter.encode(der, 'PRIVATE KEY')}\n`,
  };
}

/** Hex of a random DER integer that is positive and has no leading zeros. */
function serialNumber(): string {
  const bytes = randomBytes(SERIAL_BYTES);
  bytes[0] = (bytes[0]! & 0x7f) | 0x40;
  return bytes.toString('hex');
}

function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(CURVE, true, ['sign', 'verify']);
}

async function keysOf(pem: string): Promise<webcrypto.CryptoKeyPair> {
  const secret = createPrivateKey(pem);
  const pkcs8 = secret.export({ type: 'pkcs8', format: 'der' });
  const spki = createPublicKey(secret).export({ type: 'spki', format: 'der' });
  return {
    privateKey: await webcrypto.subtle.importKey('pkcs8', pkcs8, CURVE, true, ['sign']),
    publicKey: await webcrypto.subtle.importKey('spki', spki, CURVE, true, ['verify']),
  };
}

/** Letters, digits and hyphens (RFC 1123, 2.1); other host names exist, and fit no certificate. */
function isDnsName(name: string): boolean {
  return name.length <= 253 && /^[a-z0-9]([a-z0-9-]{0,62}\.)*[a-z0-9-]{0,62}[a-z0-9]$/.test(name);
}
