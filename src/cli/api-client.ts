import { existsSync, readFileSync } from 'node:fs';
import { type IncomingMessage, request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { join, resolve } from 'node:path';
import { loadConfig } from '../config/load.js';
import type { Config } from '../config/schema.js';
import { firstTokenFile } from '../control/auth/first-token.js';
import { GatewayError, messageOf } from '../errors.js';

const TIMEOUT_MS = 10_000;
const ANSWER_BYTES_MAX = 16 * 1024 * 1024;

export interface ApiOptions {
  config?: string;
  url?: string;
  tokenFile?: string;
  ca?: string;
}

/** Calls to the control plane of a gateway, for commands. */
export class ApiClient {
  readonly #url: URL;
  readonly #token: string;
  readonly #ca: string | undefined;

  /**
   * Finds where the control plane is and a token for it: as told, or as the configuration says.
   * @throws GatewayError D4GW_E_CONTROL naming what is missing
   */
  constructor(options: ApiOptions, environment: NodeJS.ProcessEnv = process.env) {
    const config = options.url === undefined ? loadConfig(options.config) : undefined;
    this.#url = options.url === undefined ? urlOf(config!) : parseUrl(options.url);
    this.#token = tokenOf(options, config, environment);
    this.#ca = caOf(options, config);
  }

  /**
   * What a route answers.
   * @throws GatewayError D4GW_E_CONTROL where it does not answer, or with an error
   */
  async get(path: string): Promise<unknown> {
    const { status, text } = await this.#request(path);
    let body: unknown;
    try {
      body = JSON.parse(text);
    } catch {
      throw fail(`${this.#url.origin}${path} is no control plane of a gateway`);
    }
    if (status === 200 || (path === '/readyz' && status === 503)) return body;
    const { reason } = body as { reason?: string };
    const mend = status === 401 ? ': give another token with --token-file' : '';
    throw fail(`${this.#url.origin}${path} answers ${status}, ${reason ?? 'no reason'}${mend}`);
  }

  #request(path: string): Promise<{ status: number; text: string }> {
    const url = new URL(path, this.#url);
    const headers = { authorization: `Bearer ${this.#token}` };
    const options = { headers, timeout: TIMEOUT_MS, ...(this.#ca ? { ca: this.#ca } : {}) };
    return new Promise((resolve, reject) => {
      const failed = (error: unknown) =>
        reject(fail(`${this.#url.origin} does not answer (${reasonOf(error)})`));
      const answered = (response: IncomingMessage) => {
        const chunks: Buffer[] = [];
        let size = 0;
        response.on('data', (chunk: Buffer) => {
          chunks.push(chunk);
          size += chunk.length;
          if (size > ANSWER_BYTES_MAX) response.destroy(new Error('its answer has no end'));
        });
        response.on('error', failed);
        response.on('end', () => {
          resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() });
        });
      };
      const send = url.protocol === 'https:' ? requestHttps : requestHttp;
      const request = send(url, options, answered);
      request.on('timeout', () => request.destroy(new Error(`nothing within ${TIMEOUT_MS} ms`)));
      request.on('error', failed);
      request.end();
    });
  }
}

/** The address that the configuration's control plane is reached at from this machine. */
function urlOf({ control }: Config): URL {
  if (!control) {
    throw fail('the configuration has no control plane: give it control: {}, or --url URL');
  }
  const { host, port, tls } = control;
  if (port === 0) throw fail('control.port is 0, any free one: give --url, as its log has it');
  const near = host === '::' ? '::1' : host === '0.0.0.0' ? '127.0.0.1' : host;
  return new URL(`${tls ? 'https' : 'http'}://${near.includes(':') ? `[${near}]` : near}:${port}`);
}

function parseUrl(text: string): URL {
  if (URL.canParse(text)) {
    const url = new URL(text);
    if (url.protocol === 'http:' || url.protocol === 'https:') return url;
  }
  throw new GatewayError('D4GW_E_USAGE', `--url ${text}: give one such as http://127.0.0.1:7000`);
}

function tokenOf(
  { tokenFile }: ApiOptions,
  config: Config | undefined,
  environment: NodeJS.ProcessEnv,
): string {
  if (tokenFile === undefined && environment.D4GW_TOKEN) return environment.D4GW_TOKEN;
  const file = tokenFile ?? (config && firstTokenFile(config.dataDir));
  if (file === undefined) throw fail('no token: give --token-file FILE, or set D4GW_TOKEN');
  try {
    return readFileSync(file, 'utf8').trim();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const mend = 'make one with `token add`, and give --token-file FILE or set D4GW_TOKEN';
    throw fail(`the token in ${file} can't be read (${code}): ${mend}`);
  }
}

/** The gateway's own certificate is trusted where it is the one in use. */
function caOf({ ca }: ApiOptions, config: Config | undefined): string | undefined {
  const tls = config?.control?.tls;
  const own = config && join(config.dataDir, 'tls', 'cert.pem');
  const file = ca === undefined ? tls && (tls.certFile ?? own) : resolve(ca);
  if (file === undefined || (ca === undefined && !existsSync(file))) return undefined;
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw fail(`--ca ${file}: ${messageOf(error)}`);
  }
}

function reasonOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? messageOf(error);
}

function fail(message: string): GatewayError {
  return new GatewayError('D4GW_E_CONTROL', message);
}
