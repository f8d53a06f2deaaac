import type { HttpRequest, HttpResponse } from 'uWebSockets.js';
import type { Logger } from 'pino';
import type { z } from 'zod';
import { GatewayError, type GatewayErrorCode, messageOf } from '../errors.js';
import type { Gate } from './auth/gate.js';
import { parseJson, readBody } from './http/body.js';
import { HttpProblem, type Reply } from './http/reply.js';
import { type Request, readRequest } from './http/request.js';
import { beginExchange, send } from './http/send.js';
import type { Caller, Route } from './route.js';
import { Router } from './router.js';
import type { Site } from './site.js';

/** What an error of the gateway means to who asked. What is not named is our own fault. */
const STATUSES: Partial<Record<GatewayErrorCode, number>> = {
  D4GW_E_USAGE: 400,
  D4GW_E_SENSOR: 400,
  D4GW_E_CONTROL: 400,
  D4GW_E_CONFIG: 400,
  D4GW_E_CERTIFICATE: 400,
  D4GW_E_SINK: 400,
  D4GW_E_SPOOL: 400,
  D4GW_E_LISTEN: 400,
  D4GW_E_REGISTRY: 503,
  D4GW_E_LEDGER: 503,
  D4GW_E_AUDIT: 503,
};

/** Answers requests: finds the route, asks the gate, checks what was sent, calls the handler. */
export class ControlApp {
  readonly #router: Router;
  readonly #site: Site;
  readonly #gate: Gate;
  readonly #log: Logger;
  readonly #answered: (route: string, status: number) => void;

  /** @param answered told of each answer; `route` is the pattern, so it is one of few */
  constructor(
    routes: readonly Route[],
    site: Site,
    gate: Gate,
    log: Logger,
    answered: (route: string, status: number) => void,
  ) {
    this.#router = new Router(routes);
    this.#site = site;
    this.#gate = gate;
    this.#log = log;
    this.#answered = answered;
  }

  /** One request. Never rejects: what goes wrong is answered. */
  readonly serve = async (res: HttpResponse, req: HttpRequest): Promise<void> => {
    const exchange = beginExchange(res);
    const request = readRequest(req, res);
    let pattern = 'none';
    let reply: Reply;
    try {
      const page = this.#site.find(request);
      if (page) {
        pattern = 'page';
        reply = page;
      } else {
        const { route, params } = this.#router.find(request.method, request.path);
        pattern = route.path;
        const caller = route.role === 'open' ? undefined : this.#gate.admit(request, route.role);
        const body = route.body
          ? await readBody(res, request.headers['content-length'])
          : Buffer.alloc(0);
        if (exchange.aborted) return;
        reply = await this.#call(route, request, caller, params, body);
      }
    } catch (error) {
      reply = this.#problemOf(error, request).reply();
    }
    this.#answered(pattern, reply.status);
    try {
      await send(exchange, reply, request.method === 'HEAD');
    } catch (error) {
      this.#log.warn({ path: request.path, error: messageOf(error) }, 'an answer was cut short');
      if (!exchange.aborted) res.close();
    }
  };

  async #call(
    route: Route,
    request: Request,
    caller: Caller | undefined,
    params: Record<string, string>,
    body: Buffer,
  ): Promise<Reply> {
    return await route.handle({
      params: route.params ? checked(route.params, params, 404) : undefined,
      query: route.query ? checked(route.query, Object.fromEntries(request.query)) : undefined,
      body: route.body ? checked(route.body, parseJson(body)) : undefined,
      caller,
      request,
    });
  }

  #problemOf(error: unknown, request: Request): HttpProblem {
    if (error instanceof HttpProblem) return error;
    if (error instanceof GatewayError && STATUSES[error.code] !== undefined) {
      return new HttpProblem(STATUSES[error.code]!, error.message);
    }
    const text = error instanceof Error ? error.stack : messageOf(error);
    this.#log.error({ method: request.method, path: request.path, error: text }, 'request failed');
    return new HttpProblem(500, 'Internal error: the log of the gateway has it');
  }
}

/** @throws HttpProblem naming the first field that is wrong */
function checked(schema: z.ZodType, value: unknown, status = 400): unknown {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  if (status === 404) throw new HttpProblem(404, 'No such resource');
  const issue = parsed.error.issues[0]!;
  const keys = issue.code === 'unrecognized_keys' ? [...issue.path, issue.keys[0]!] : issue.path;
  const field = keys.map(String).join('.');
  const reason = field === '' ? issue.message : `${field}: ${issue.message}`;
  throw new HttpProblem(status, reason, field === '' ? {} : { field });
}
