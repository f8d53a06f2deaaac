import type { z } from 'zod';
import type { Actor } from '../audit/entry.js';
import type { Role, TokenRecord } from '../registry/tokens.js';
import type { Session } from './auth/sessions.js';
import type { Reply } from './http/reply.js';
import type { Request } from './http/request.js';

export type Method = 'GET' | 'POST' | 'PATCH' | 'DELETE';

/** Who asks: with a token, by the header or by a session that it opened. */
export interface Caller {
  token: TokenRecord;
  actor: Actor;
  /** Where it came by a session. */
  session: Session | undefined;
}

/** One kind of answer, for the description. */
export interface Answer {
  description: string;
  /** Absent for what is not JSON. */
  schema?: z.ZodType;
  /** Of what is not JSON. */
  contentType?: string;
}

/** What a handler gets; what its route describes was held against it. */
export interface Call<Params, Query, Body> {
  params: Params;
  query: Query;
  body: Body;
  /** Undefined where the route is open to all. */
  caller: Caller | undefined;
  request: Request;
}

export interface RouteOptions<
  Params extends z.ZodType,
  Query extends z.ZodType,
  Body extends z.ZodType,
> {
  method: Method;
  /** Such as `/api/v1/sensors/{uuid}`; each `{name}` is one segment. */
  path: string;
  /** `open`: without a token. */
  role: Role | 'open';
  /** Name of the operation in the description, and of its group. */
  id: string;
  tag: string;
  summary: string;
  description?: string;
  params?: Params;
  query?: Query;
  body?: Body;
  /** By status; those that every route may give need not be named. */
  answers: Record<number, Answer>;
  handle(call: Call<z.output<Params>, z.output<Query>, z.output<Body>>): Reply | Promise<Reply>;
}

/** A route of which the types of its parts are forgotten. */
export type Route = Omit<RouteOptions<z.ZodType, z.ZodType, z.ZodType>, 'handle'> & {
  handle(call: Call<unknown, unknown, unknown>): Reply | Promise<Reply>;
};

/** Ties a handler's types to the schemas that its route is described by. */
export function route<
  Params extends z.ZodType = z.ZodUndefined,
  Query extends z.ZodType = z.ZodUndefined,
  Body extends z.ZodType = z.ZodUndefined,
>(options: RouteOptions<Params, Query, Body>): Route {
  return options as unknown as Route;
}

/** The caller of a route that is not open. */
export function callerOf(call: Call<unknown, unknown, unknown>): Caller {
  if (!call.caller) throw new TypeError('an open route has no caller');
  return call.caller;
}
