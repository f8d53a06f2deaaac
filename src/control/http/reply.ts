import type { FileHandle } from 'node:fs/promises';

/** What a handler answers. */
export interface Reply {
  status: number;
  headers?: Record<string, string>;
  body?: string | Buffer | FileBody;
}

/** A file that is sent as it is read; whoever sends it closes it. */
export interface FileBody {
  file: FileHandle;
  bytes: number;
}

export const JSON_TYPE = 'application/json; charset=utf-8';

/** The one form of every error: that of the reference server, with the field's name added. */
export interface ErrorBody {
  status: 'error';
  reason: string;
  /** The field of the request that is wrong, such as `hmac_key`. */
  field?: string;
}

/** Ends a request with an error. */
export class HttpProblem extends Error {
  readonly status: number;
  readonly field: string | undefined;
  readonly headers: Record<string, string>;

  constructor(
    status: number,
    reason: string,
    { field, headers = {} }: { field?: string; headers?: Record<string, string> } = {},
  ) {
    super(reason);
    this.name = 'HttpProblem';
    this.status = status;
    this.field = field;
    this.headers = headers;
  }

  reply(): Reply {
    const { field, message: reason } = this;
    const body: ErrorBody = { status: 'error', reason, ...(field === undefined ? {} : { field }) };
    return json(this.status, body, this.headers);
  }
}

export function json(status: number, value: unknown, headers: Record<string, string> = {}): Reply {
  return {
    status,
    headers: { 'content-type': JSON_TYPE, ...headers },
    body: JSON.stringify(value),
  };
}
