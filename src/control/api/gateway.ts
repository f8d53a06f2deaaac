import { z } from 'zod';
import { alertJson } from '../../alerts/alerts.js';
import { readTrail } from '../../audit/reader.js';
import { ALL_SENSORS } from '../../history/layout.js';
import { tokenView } from '../../registry/tokens.js';
import { iso } from '../../registry/view.js';
import type { ControlContext } from '../context.js';
import { HttpProblem, json } from '../http/reply.js';
import { maskedConfig } from '../masked.js';
import { POINT_MS, POINTS_MAX, sinkJson } from '../overview.js';
import { callerOf, type Route, route } from '../route.js';
import {
  alert,
  amount,
  count,
  error,
  overview,
  role,
  sink,
  time,
  token,
  type,
  uuid,
  uuidIn,
} from './schemas.js';

const AUDIT_MAX = 1_000;
const NAME_CHARS_MAX = 64;

/** The gateway itself: how it is, its sinks, its books, its settings. */
export function gatewayRoutes(context: ControlContext): Route[] {
  return [
    ...stateRoutes(context),
    ...sinkRoutes(context),
    ...bookRoutes(context),
    ...tokenRoutes(context),
  ];
}

const rates = z.object({
  bytesPerSecond: z.array(z.number()),
  framesPerSecond: z.array(z.number()),
});

export const series = z.object({
  stepSeconds: z.number(),
  times: z.array(time).describe('End of each step.'),
  types: z.record(z.string(), rates),
});

export const version = z.object({
  version: z.string(),
  node: z.string(),
  startedAt: time,
  sources: z.array(z.string()),
});

export const alerts = z.object({
  open: z.array(alert),
  closed: z.array(alert),
  webhooks: z.array(
    z.object({
      url: z.string().describe('Without its path.'),
      waiting: count,
      sent: count,
      failed: count,
      dropped: count,
      lastError: z.object({ text: z.string(), at: time }).nullable(),
    }),
  ),
});

function stateRoutes({ gateway, overview: feed, alerts: found, history }: ControlContext): Route[] {
  return [
    route({
      method: 'GET',
      path: '/api/v1/version',
      role: 'reader',
      id: 'getVersion',
      tag: 'gateway',
      summary: 'Which release runs, since when, and what it listens on',
      answers: {
        200: {
          description: 'The release.',
          schema: version,
        },
      },
      handle() {
        const { version: own, startedAt, sources } = gateway;
        const { node } = process.versions;
        return json(200, { version: own, node, startedAt: iso(startedAt), sources });
      },
    }),
    route({
      method: 'GET',
      path: '/api/v1/overview',
      role: 'reader',
      id: 'getOverview',
      tag: 'gateway',
      summary: 'Everything at a glance, as it was within the last second',
      answers: { 200: { description: 'The overview.', schema: overview } },
      handle: () => json(200, feed.current),
    }),
    route({
      method: 'GET',
      path: '/api/v1/overview/series',
      role: 'reader',
      id: 'getSeries',
      tag: 'gateway',
      summary: 'Rates of the last hour, by D4 type',
      description: 'What was before the gateway began is told by minutes, from the history.',
      answers: {
        200: {
          description: 'Steps of 5 s, the oldest first.',
          schema: series,
        },
      },
      handle() {
        const now = Date.now();
        const past = history.read(ALL_SENSORS, 'minute', now - POINTS_MAX * POINT_MS, now);
        return json(200, feed.series(past));
      },
    }),
    route({
      method: 'GET',
      path: '/api/v1/alerts',
      role: 'reader',
      id: 'listAlerts',
      tag: 'gateway',
      summary: 'Alerts that are open, and the last that were',
      answers: {
        200: {
          description: 'Critical ones first, then the newest.',
          schema: alerts,
        },
      },
      handle: () =>
        json(200, {
          open: found.open.map(alertJson),
          closed: found.closed.map(alertJson),
          webhooks: found.webhooks.map(({ lastError, ...webhook }) => ({
            ...webhook,
            lastError: lastError ? { text: lastError.text, at: iso(lastError.at) } : null,
          })),
        }),
    }),
    route({
      method: 'GET',
      path: '/api/v1/config',
      role: 'reader',
      id: 'getConfig',
      tag: 'gateway',
      summary: 'The configuration in force, with its defaults, without secrets',
      answers: {
        200: {
          description: 'As `check-config --json` prints it.',
          schema: z.record(z.string(), z.unknown()),
        },
      },
      handle: () => json(200, maskedConfig(gateway.config)),
    }),
    route({
      method: 'POST',
      path: '/api/v1/reload',
      role: 'admin',
      id: 'reloadConfig',
      tag: 'gateway',
      summary: 'Take the configuration file, certificates, CA and shared secret anew',
      description: 'What is wrong is refused whole. Established connections are not touched.',
      answers: {
        200: {
          description: 'It is in force.',
          schema: z.object({ changed: z.array(z.string()).describe('Keys, such as routes.') }),
        },
        400: { description: 'Refused, and why: the old one is in force.', schema: error },
      },
      handle: async (call) => json(200, await gateway.reload(callerOf(call).actor)),
    }),
  ];
}

function sinkRoutes({ gateway }: ControlContext): Route[] {
  const viewOf = (name: string) => gateway.stats.sinks().find((one) => one.name === name);
  const change = (name: 'pause' | 'resume', summary: string, description: string): Route =>
    route({
      method: 'POST',
      path: `/api/v1/sinks/{name}/${name}`,
      role: 'admin',
      id: `${name}Sink`,
      tag: 'sinks',
      summary,
      description,
      params: z.object({ name: z.string() }),
      answers: {
        200: { description: 'The sink as it is now.', schema: sink },
        404: { description: 'No such sink.', schema: error },
      },
      async handle(call) {
        const { name: own } = call.params;
        if (!viewOf(own)) throw new HttpProblem(404, `No sink ${own}`);
        const registry = gateway.registry.as(callerOf(call).actor);
        await registry.record({ act: `sink.${name}`, subject: own });
        gateway.holdSink(own, name === 'pause');
        return json(200, sinkJson(viewOf(own)!));
      },
    });
  return [
    route({
      method: 'GET',
      path: '/api/v1/sinks',
      role: 'reader',
      id: 'listSinks',
      tag: 'sinks',
      summary: 'The sinks, and how each fares',
      answers: { 200: { description: 'All.', schema: z.array(sink) } },
      handle: () => json(200, gateway.stats.sinks().map(sinkJson)),
    }),
    change(
      'pause',
      'Stop a sink',
      'Backpressure, without loss: every session that feeds it is no longer read from, so its ' +
        'other sinks get nothing of it either. Ends with the gateway.',
    ),
    change('resume', 'Let a sink that was stopped go on', 'Its sessions are read from again.'),
  ];
}

export const auditEntry = z.object({
  seq: count,
  at: time,
  actor: z.object({
    kind: z.enum(['cli', 'token', 'gateway']),
    name: z.string(),
    role: z.string().optional(),
    from: z.string(),
  }),
  act: z.string(),
  subject: z.string(),
  before: z.unknown().optional(),
  after: z.unknown().optional(),
  prev: z.string(),
  hash: z.string(),
});

const ledgerSink = z.object({
  sink: z.string(),
  received: amount,
  delivered: amount,
  rejected: amount,
  lost: amount,
  inFlight: z.object({ frames: z.int(), bytes: z.int() }),
});

export const ledger = z.looseObject({
  balanced: z.boolean(),
  received: amount,
  sinks: z.array(z.looseObject(ledgerSink.shape)),
  sensors: z.array(
    z.looseObject({
      sensor: uuid,
      type,
      sessions: count,
      open: count,
      received: amount,
      sinks: z.array(z.looseObject(ledgerSink.shape)),
    }),
  ),
  openSessions: count,
});

function bookRoutes({ gateway }: ControlContext): Route[] {
  return [
    route({
      method: 'GET',
      path: '/api/v1/ledger',
      role: 'reader',
      id: 'getLedger',
      tag: 'books',
      summary: 'What was received, delivered, rejected and lost, across restarts',
      description: 'As `d4gw ledger --json` prints it, without the open sessions.',
      query: z.strictObject({ sensor: uuidIn.optional() }),
      answers: {
        200: {
          description: 'The ledger.',
          schema: ledger,
        },
      },
      async handle({ query }) {
        const { sessions, ...report } = await gateway.ledger(query.sensor);
        return json(200, { ...report, openSessions: sessions.length });
      },
    }),
    route({
      method: 'GET',
      path: '/api/v1/audit',
      role: 'operator',
      id: 'listAudit',
      tag: 'books',
      summary: 'Who did what, when and from where',
      query: z.strictObject({
        limit: z.coerce.number().int().min(1).max(AUDIT_MAX).default(100),
        before: z.coerce.number().int().min(1).optional().describe('Numbers below this alone.'),
        act: z.string().max(NAME_CHARS_MAX).optional().describe('Such as sensor, or sensor.block.'),
        subject: z.string().max(200).optional(),
      }),
      answers: {
        200: {
          description: 'The newest first.',
          schema: z.array(auditEntry),
        },
      },
      handle: async ({ query }) => json(200, await readTrail(gateway.config.dataDir, query)),
    }),
  ];
}

function tokenRoutes({ gateway }: ControlContext): Route[] {
  return [
    route({
      method: 'GET',
      path: '/api/v1/tokens',
      role: 'admin',
      id: 'listTokens',
      tag: 'tokens',
      summary: 'The tokens, without their texts',
      answers: { 200: { description: 'All.', schema: z.array(token) } },
      handle() {
        gateway.registry.version();
        return json(200, gateway.registry.tokens.list().map(tokenView));
      },
    }),
    route({
      method: 'POST',
      path: '/api/v1/tokens',
      role: 'admin',
      id: 'addToken',
      tag: 'tokens',
      summary: 'Make a token',
      body: z.strictObject({
        name: z.string().min(1).max(NAME_CHARS_MAX),
        role,
        expiresAt: time.optional().describe('Without it, never.'),
      }),
      answers: {
        201: {
          description: 'The token, with its text, this once.',
          schema: token.extend({ token: z.string() }),
        },
      },
      handle(call) {
        const { name, role: own, expiresAt } = call.body;
        const { tokens } = gateway.registry.as(callerOf(call).actor);
        const at = expiresAt === undefined ? undefined : Date.parse(expiresAt);
        const { record, text } = tokens.add({ name, role: own, expiresAt: at });
        return json(201, { ...tokenView(record), token: text });
      },
    }),
    route({
      method: 'DELETE',
      path: '/api/v1/tokens/{id}',
      role: 'admin',
      id: 'revokeToken',
      tag: 'tokens',
      summary: 'Revoke a token',
      description: 'It and all sessions that were opened with it are out at once.',
      params: z.object({ id: z.string().regex(/^[0-9a-f]{12}$/) }),
      answers: {
        200: { description: 'It is void.', schema: z.object({ id: z.string() }) },
        404: { description: 'No such token.', schema: error },
      },
      handle(call) {
        const { id } = call.params;
        const { tokens } = gateway.registry.as(callerOf(call).actor);
        if (!tokens.list().some((one) => one.id === id)) {
          throw new HttpProblem(404, `No token ${id}`);
        }
        tokens.revoke(id);
        return json(200, { id });
      },
    }),
  ];
}
