import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { messageOf } from '../errors.js';

/** The certificate of one side was refused: trying again would change nothing. */
export class CertificateError extends Error {}

const SELF_SIGNED: readonly string[] = [
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
];

/** TLS alerts by which a server refuses a client's certificate, or that there is none. */
const CLIENT_CERTIFICATE_ALERT =
  /ALERT_(CERTIFICATE_REQUIRED|BAD_CERTIFICATE|UNSUPPORTED_CERTIFICATE|CERTIFICATE_(REVOKED|EXPIRED|UNKNOWN)|UNKNOWN_CA)/;

/** How an error is mended, in the words of whoever set the connection up. */
export interface Mends {
  plain: string;
  clientCertificate: string;
  authority: string;
  servername: string;
}

/** In the words of the client's command line. */
export const CLIENT_MENDS: Mends = {
  plain: 'give --tcp',
  clientCertificate: '--cert and --key-file',
  authority:
    'If it is your gateway, copy its certificate here and trust it: --ca cert.pem ' +
    '(the gateway keeps it as data/tls/cert.pem). --insecure checks nothing',
  servername: '--servername',
};

const PLAIN = /wrong version number|packet length too long/;
const HANDSHAKE_REFUSED = /alert handshake failure/;

/**
 * Turns a socket's error into one that says what to do where that is known.
 * @param name what the server's certificate was checked against
 */
export function explainConnectionError(
  error: Error,
  socket: Socket | TLSSocket,
  name: string,
  mends: Mends = CLIENT_MENDS,
): Error {
  const code = (error as NodeJS.ErrnoException).code ?? '';
  if ('authorizationError' in socket && socket.authorizationError) {
    return new CertificateError(certificateProblem(error, code, name, mends), { cause: error });
  }
  if (CLIENT_CERTIFICATE_ALERT.test(code)) {
    const mend = `give one that it trusts with ${mends.clientCertificate}`;
    return new CertificateError(`the server wants another client certificate (${code}): ${mend}`, {
      cause: error,
    });
  }
  if (code === 'EPROTO' || code.startsWith('ERR_SSL_')) {
    const reason = (error as { reason?: string }).reason ?? code;
    return new Error(`TLS failed (${reason})${hintOf(reason, mends)}`, { cause: error });
  }
  // Several addresses were tried: the error has no message of its own.
  if (error instanceof AggregateError) return new Error(error.errors.map(messageOf).join(', '));
  return error;
}

function hintOf(reason: string, mends: Mends): string {
  if (PLAIN.test(reason)) return `: does it listen by plain TCP? Then ${mends.plain}`;
  if (!HANDSHAKE_REFUSED.test(reason)) return '';
  return `: it may want a client certificate (${mends.clientCertificate})`;
}

function certificateProblem(error: Error, code: string, name: string, mends: Mends): string {
  if (SELF_SIGNED.includes(code)) {
    return `no known authority signed the server's certificate (${code}). ${mends.authority}`;
  }
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    const names = (error as { cert?: { subjectaltname?: string } }).cert?.subjectaltname;
    const given = names ? `it is for ${names.slice(0, 200)}` : 'it names no host';
    return (
      `the server's certificate is not for ${name}: ${given}. ` +
      `Connect by such a name, or give it with ${mends.servername}`
    );
  }
  return `the server's certificate is refused: ${error.message} (${code})`;
}
