import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import type { Command } from 'commander';
import { GatewayError, messageOf } from '../errors.js';
import type { SecureOptions } from '../net/connection.js';
import type { Target } from '../net/target.js';

/** What a command is told of a connection's security. */
export interface SecureFlags {
  insecure?: boolean;
  ca?: string;
  cert?: string;
  keyFile?: string;
  servername?: string;
}

export function addSecureOptions(command: Command): Command {
  return command
    .option('--tcp', 'plain TCP where the address has no prefix')
    .option('--ca <file>', 'trust the certificates in this PEM file, and no others')
    .option('--insecure', "do not check the server's certificate")
    .option('--servername <name>', 'name to ask for and to check, if not that of the address')
    .option('--cert <file>', 'client certificate (PEM)')
    .option('--key-file <file>', 'private key of the client certificate (PEM)');
}

/** @throws GatewayError D4GW_E_USAGE, D4GW_E_CERTIFICATE */
export function secureOptions(options: SecureFlags, target: Target): SecureOptions {
  const given = [
    options.insecure && '--insecure',
    options.ca && '--ca',
    options.cert && '--cert',
    options.keyFile && '--key-file',
    options.servername && '--servername',
  ].filter(Boolean);
  if (target.kind !== 'tls') {
    if (given.length === 0) return {};
    throw usage(`${given.join(', ')}: only for TLS, and the destination is ${target.kind}`);
  }
  if (options.insecure && options.ca) throw usage('--insecure contradicts --ca: give one of them');
  if (!options.cert !== !options.keyFile) {
    throw usage('a client certificate needs both --cert and --key-file');
  }
  const secure = {
    ...(options.ca ? { ca: readPem(options.ca) } : {}),
    ...(options.cert ? { cert: readPem(options.cert) } : {}),
    ...(options.keyFile ? { key: readPem(options.keyFile) } : {}),
  };
  try {
    createSecureContext(secure);
  } catch (cause) {
    const files = [options.ca, options.cert, options.keyFile].filter(Boolean).join(', ');
    throw new GatewayError('D4GW_E_CERTIFICATE', `${files}: ${messageOf(cause)}`, { cause });
  }
  return {
    ...secure,
    ...(options.servername ? { servername: options.servername } : {}),
    rejectUnauthorized: !options.insecure,
  };
}

function readPem(path: string): Buffer {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (cause) {
    throw new GatewayError('D4GW_E_CERTIFICATE', `${path}: ${messageOf(cause)}`, { cause });
  }
  // OpenSSL takes a file of authorities without any, and then trusts nothing.
  if (!bytes.includes('-----BEGIN ')) {
    throw new GatewayError('D4GW_E_CERTIFICATE', `${path}: holds no PEM (-----BEGIN …)`);
  }
  return bytes;
}

function usage(message: string): GatewayError {
  return new GatewayError('D4GW_E_USAGE', message);
}
