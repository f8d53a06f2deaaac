import { z } from 'zod';
import { error } from './api/schemas.js';
import type { Answer, Route } from './route.js';

/** Answers that a route may give whatever it does, so that none has to name them. */
const BAD_REQUEST: Answer = { description: 'A field is wrong: it is named.', schema: error };
const TOO_LARGE: Answer = { description: 'The body is too large.', schema: error };
const REFUSED: Record<number, Answer> = {
  401: { description: 'No token, or one that is not or no longer valid.', schema: error },
  403: { description: 'The token may not do this, or the request is not genuine.', schema: error },
  429: { description: 'Too many failures from this address: see Retry-After.', schema: error },
};
const UNAVAILABLE: Answer = {
  description: 'It can not be written now: the disk is full, or the audit trail is damaged.',
  schema: error,
};

type Json = Record<string, unknown>;

/** Describes routes as OpenAPI 3.1, from the same schemas that requests are held against. */
export function describeRoutes(routes: readonly Route[], version: string): Json {
  const paths: Record<string, Json> = {};
  for (const route of routes) {
    paths[route.path] ??= {};
    paths[route.path]![route.method.toLowerCase()] = operation(route);
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'd4-gateway control plane',
      version,
      description:
        'Programs send `Authorization: Bearer TOKEN` (or the bare token, as for the D4 reference ' +
        'server). Pages log in and hold a cookie; they send X-CSRF-Token with all but GET. GET ' +
        'answers HEAD too. Errors are `{"status": "error", "reason": …, "field": …}`. Times are UTC. ' +
        'The WebSocket at /api/live sends the overview: see API.md.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    paths,
    components: {
      securitySchemes: {
        token: { type: 'http', scheme: 'bearer' },
        session: { type: 'apiKey', in: 'cookie', name: 'd4gw' },
      },
    },
  };
}

/** What a route may answer, with what every route may. */
export function answersOf({ role, method, params, query, body, answers }: Route) {
  return {
    ...(params || query || body ? { 400: BAD_REQUEST } : {}),
    ...(params ? { 404: { description: 'No such resource.', schema: error } } : {}),
    ...(role === 'open' ? {} : REFUSED),
    ...(body ? { 413: TOO_LARGE } : {}),
    ...(method === 'GET' ? {} : { 503: UNAVAILABLE }),
    ...answers,
  } as Record<number, Answer>;
}

function operation(route: Route): Json {
  const { id, tag, summary, description, role, body } = route;
  return {
    operationId: id,
    tags: [tag],
    summary,
    ...(description === undefined ? {} : { description }),
    'x-role': role,
    security: role === 'open' ? [] : [{ token: [] }, { session: [] }],
    parameters: [...parameters(route, 'params'), ...parameters(route, 'query')],
    ...(body
      ? {
          requestBody: {
            required: true,
            content: { 'application/json': { schema: schemaOf(body, 'input') } },
          },
        }
      : {}),
    responses: Object.fromEntries(
      Object.entries(answersOf(route)).map(([status, answer]) => [status, response(answer)]),
    ),
  };
}

function response({ description, schema, contentType }: Answer): Json {
  if (contentType !== undefined) {
    return { description, content: { [contentType]: { schema: { type: 'string' } } } };
  }
  return schema
    ? { description, content: { 'application/json': { schema: schemaOf(schema, 'output') } } }
    : { description };
}

function parameters(route: Route, where: 'params' | 'query'): Json[] {
  const schema = route[where];
  if (!schema) return [];
  const { properties = {}, required = [] } = schemaOf(schema, 'input') as {
    properties?: Record<string, Json>;
    required?: string[];
  };
  return Object.entries(properties).map(([name, { description, ...own }]) => ({
    name,
    in: where === 'params' ? 'path' : 'query',
    required: where === 'params' || required.includes(name),
    ...(description === undefined ? {} : { description }),
    schema: own,
  }));
}

function schemaOf(schema: z.ZodType, io: 'input' | 'output'): Json {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: 'any' });
  return rest;
}
