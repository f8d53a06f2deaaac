import { csrfToken, sessionOver } from './session.js';

/** A call that takes longer has failed. */
const TIMEOUT_MS = 20_000;

/** What the gateway says was wrong; status 0 where it could not be reached. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    reason: string,
    readonly field: string | undefined = undefined,
  ) {
    super(reason);
    this.name = 'ApiError';
  }
}

export type Method = 'GET' | 'POST' | 'PATCH' | 'DELETE';

/** Calls the API with the session's cookie. @throws ApiError */
export async function call<T>(
  method: Method,
  path: string,
  body: unknown = undefined,
  signal?: AbortSignal,
): Promise<T> {
  const headers: Record<string, string> = {};
  if (method !== 'GET' && csrfToken.value !== null) headers['x-csrf-token'] = csrfToken.value;
  if (body !== undefined) headers['content-type'] = 'application/json';
  const deadline = AbortSignal.timeout(TIMEOUT_MS);
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      headers,
      credentials: 'same-origin',
      signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, 'The gateway does not answer.');
  }
  const answer = await readAnswer(response);
  if (response.ok) return answer as T;
  if (response.status === 401 && path !== LOGIN) sessionOver();
  const { reason, field } = (answer ?? {}) as { reason?: string; field?: string };
  throw new ApiError(response.status, reason ?? `The gateway answered ${response.status}.`, field);
}

export const LOGIN = '/api/v1/login';

async function readAnswer(response: Response): Promise<unknown> {
  try {
    const text = await response.text();
    return text === '' ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}

export const get = <T>(path: string, signal?: AbortSignal): Promise<T> =>
  call<T>('GET', path, undefined, signal);

/** A path with its query; what is undefined or empty is left out. */
export function withQuery(
  path: string,
  query: Readonly<Record<string, string | number | undefined>>,
): string {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== '') params.set(name, `${value}`);
  }
  const text = params.toString();
  return text === '' ? path : `${path}?${text}`;
}

export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
