import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openRegistry } from '../../src/registry/lmdb.js';
import type { Role } from '../../src/registry/tokens.js';
import { Gateway, type GatewayOptions } from '../integration/gateway.js';

/** What a test reads from an answer: its own assertions say what that is. */
export type Json = ReturnType<typeof JSON.parse>;

export interface Answer {
  status: number;
  headers: Headers;
  /** Parsed where it is JSON. */
  body: Json;
}

export interface CallOptions {
  /** Undefined: the first admin's; `null`: none. */
  token?: string | null | undefined;
  body?: unknown;
  headers?: Record<string, string>;
}

/** A gateway with a control plane, and calls to it. */
export class Controlled {
  readonly gateway: Gateway;
  readonly url: string;
  readonly admin: string;

  static async start(options: GatewayOptions = {}): Promise<Controlled> {
    const config = { control: { port: 0 }, ...options.config };
    return new Controlled(await Gateway.start({ ...options, config }));
  }

  private constructor(gateway: Gateway) {
    this.gateway = gateway;
    this.url = gateway.logged('the control plane listens')[0]!.url as string;
    this.admin = readFileSync(this.tokenFile, 'utf8').trim();
  }

  get dataDir(): string {
    return join(this.gateway.dir, 'data');
  }

  get tokenFile(): string {
    return join(this.dataDir, 'control', 'admin-token');
  }

  async call(method: string, path: string, options: CallOptions = {}): Promise<Answer> {
    const { token = this.admin, body } = options;
    const headers: Record<string, string> = { ...options.headers };
    if (token !== null) headers.authorization = `Bearer ${token}`;
    if (body !== undefined) headers['content-type'] ??= 'application/json';
    const response = await fetch(this.url + path, {
      method,
      headers,
      redirect: 'error',
      signal: AbortSignal.timeout(15_000),
      ...(body === undefined
        ? {}
        : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    const isJson =
      text !== '' && response.headers.get('content-type')?.startsWith('application/json');
    return {
      status: response.status,
      headers: response.headers,
      body: isJson ? JSON.parse(text) : text,
    };
  }

  get(path: string, options?: CallOptions): Promise<Answer> {
    return this.call('GET', path, options);
  }

  post(path: string, body: unknown = undefined, options: CallOptions = {}): Promise<Answer> {
    return this.call('POST', path, { body, ...options });
  }

  /** What a call that succeeds answers. */
  async ok(method: string, path: string, body?: unknown): Promise<Json> {
    const answer = await this.call(method, path, { body });
    assert.ok(answer.status < 300, `${method} ${path}: ${JSON.stringify(answer.body)}`);
    return answer.body;
  }

  /** A token of a role, made beside the gateway as the command does. */
  async token(role: Role, expiresAt?: number): Promise<string> {
    const registry = openRegistry(this.dataDir);
    try {
      return registry.tokens.add({ name: `a ${role}`, role, expiresAt }).text;
    } finally {
      await registry.close();
    }
  }

  /** The samples of one metric, by their labels as they stand. */
  async metric(name: string): Promise<Record<string, number>> {
    const { body } = await this.get('/metrics');
    const lines = (body as string).split('\n').filter((line) => /^[a-z]/.test(line));
    return Object.fromEntries(
      lines
        .map((line) => /^([a-z0-9_]+)(\{.*\})? (\S+)$/.exec(line)!)
        .filter((match) => match[1] === name)
        .map((match) => [match[2] ?? '', Number(match[3])]),
    );
  }
}
