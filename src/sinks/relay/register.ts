import { request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { GatewayError, messageOf } from '../../errors.js';

/** The reference server's REST call, which leaves the sensor to be approved there. */
const PATH = '/api/v1/add/sensor/register';
const REQUEST_MS_MAX = 15_000;
const ANSWER_BYTES_MAX = 64 * 1024;
const SHOWN_CHARS_MAX = 200;
/** The reference server cuts a longer key off, and would escape these in one. */
const KEY_CHARS_MAX = 100;
const ESCAPED = /[&<>"']/;

export interface RegisterOptions {
  /** The partner's web interface, such as `https://d4.example.org:7000`. */
  url: string;
  token: string;
  /** Authorities that its certificate is verified against, PEM; default: the system's. */
  ca?: string | undefined;
  /** Takes a URL without TLS too: the token and the key can be read on the way. */
  allowHttp?: boolean | undefined;
}

export type Registration = 'registered' | 'known';

/**
 * Registers one pseudonym and the key that signs its frames at a D4 server. Bounded in time and in
 * what it reads.
 * @throws GatewayError D4GW_E_SINK, without token and key
 */
export async function registerSensor(
  options: RegisterOptions,
  uuid: string,
  key: string,
): Promise<Registration> {
  const url = endpoint(options);
  if (key.length > KEY_CHARS_MAX || ESCAPED.test(key)) {
    throw fail(
      `the signing key can't be sent: the server takes ${KEY_CHARS_MAX} characters without ` +
        `& < > " '; give the relay another signingKeyFile, or remove it to have one made`,
    );
  }
  const body = JSON.stringify({ uuid, hmac_key: key });
  const { status, text } = await post(url, options, body);
  if (status === 200) return 'registered';
  if (status === 409) return 'known';
  throw fail(`${url.host} answered ${status} for ${uuid}: ${reasonIn(text)}`);
}

function endpoint({ url, allowHttp }: RegisterOptions): URL {
  let parsed: URL;
  try {
    parsed = new URL(PATH, url);
  } catch {
    throw new GatewayError('D4GW_E_USAGE', `--url ${url}: expected https://HOST[:PORT]`);
  }
  if (parsed.protocol === 'https:' || (parsed.protocol === 'http:' && allowHttp)) return parsed;
  const mend = 'give https://, or --allow-http where nobody can listen';
  throw new GatewayError(
    'D4GW_E_USAGE',
    `--url ${url}: it would send token and key in clear; ${mend}`,
  );
}

function post(
  url: URL,
  { token, ca }: RegisterOptions,
  body: string,
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const request = url.protocol === 'https:' ? requestHttps : requestHttp;
    const sent = request(
      url,
      {
        method: 'POST',
        headers: {
          Authorization: token,
          'Content-Type': 'application/json',
          'Content-Length': Buffer.byteLength(body),
        },
        ...(ca === undefined ? {} : { ca }),
        agent: false,
      },
      (answer) => {
        const parts: Buffer[] = [];
        let bytes = 0;
        answer.on('data', (part: Buffer) => {
          bytes += part.length;
          if (bytes > ANSWER_BYTES_MAX) {
            sent.destroy(new Error(`its answer is over ${ANSWER_BYTES_MAX} bytes`));
          } else parts.push(part);
        });
        answer.on('end', () => {
          clearTimeout(timer);
          resolve({ status: answer.statusCode ?? 0, text: Buffer.concat(parts).toString('utf8') });
        });
        answer.on('error', failed);
      },
    );
    const failed = (error: Error) => {
      clearTimeout(timer);
      reject(fail(`${url.host}: ${messageOf(error)}`, error));
    };
    const timer = setTimeout(
      () => sent.destroy(new Error(`no answer within ${REQUEST_MS_MAX / 1000} s`)),
      REQUEST_MS_MAX,
    );
    sent.on('error', failed);
    sent.end(body);
  });
}

/** What the server says was wrong, as it may be shown on a terminal. */
function reasonIn(text: string): string {
  let reason: unknown;
  try {
    reason = (JSON.parse(text) as { reason?: unknown }).reason;
  } catch {
    reason = undefined;
  }
  const shown = typeof reason === 'string' ? reason : text;
  return shown.replace(/\p{C}/gu, ' ').trim().slice(0, SHOWN_CHARS_MAX) || 'no reason given';
}

function fail(message: string, cause?: unknown): GatewayError {
  return new GatewayError('D4GW_E_SINK', message, { cause });
}
