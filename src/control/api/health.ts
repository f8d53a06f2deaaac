import { z } from 'zod';
import { STALE_MS } from '../../stats/gateway-stats.js';
import type { ControlContext } from '../context.js';
import { json } from '../http/reply.js';
import { type Route, route } from '../route.js';

const health = z.object({ status: z.enum(['ok', 'not ready']), problems: z.array(z.string()) });

/** What machines ask: is it alive, is it ready, what does it measure, what can one ask. */
export function healthRoutes(context: ControlContext, document: () => unknown): Route[] {
  const { metrics } = context;
  return [
    route({
      method: 'GET',
      path: '/healthz',
      role: 'open',
      id: 'isAlive',
      tag: 'health',
      summary: 'Whether the gateway runs',
      answers: { 200: { description: 'It does.', schema: health } },
      handle: () => json(200, { status: 'ok', problems: [] }),
    }),
    route({
      method: 'GET',
      path: '/readyz',
      role: 'open',
      id: 'isReady',
      tag: 'health',
      summary: 'Whether it takes sensors and delivers what they send',
      answers: {
        200: { description: 'It does.', schema: health },
        503: {
          description: 'It is starting or stopping, or a sink takes nothing.',
          schema: health,
        },
      },
      handle() {
        const problems = notReady(context, Date.now());
        const status = problems.length === 0 ? 'ok' : 'not ready';
        return json(problems.length === 0 ? 200 : 503, { status, problems });
      },
    }),
    route({
      method: 'GET',
      path: '/metrics',
      role: 'reader',
      id: 'getMetrics',
      tag: 'health',
      summary: 'Metrics, in the text format of Prometheus',
      answers: { 200: { description: 'All families.', contentType: 'text/plain' } },
      handle: async () => ({
        status: 200,
        headers: { 'content-type': metrics.contentType },
        body: await metrics.text(),
      }),
    }),
    route({
      method: 'GET',
      path: '/api/openapi.json',
      role: 'open',
      id: 'getDescription',
      tag: 'health',
      summary: 'This description, OpenAPI 3.1',
      answers: {
        200: { description: 'The description.', schema: z.record(z.string(), z.unknown()) },
      },
      handle: () => json(200, document()),
    }),
  ];
}

/** Open to all: it tells no names. */
function notReady({ gateway: { phase, stats } }: ControlContext, now: number): string[] {
  const problems: string[] = [];
  if (phase !== 'running') problems.push(`the gateway is ${phase}`);
  const running = stats.workers.filter(({ stats: own, at }) => own && now - at <= STALE_MS);
  if (phase === 'running' && running.length === 0) problems.push('no worker answers');
  // A relay whose server is away takes what comes, as long as its spool has room.
  const stopped = stats.sinks().filter(({ takes }) => !takes);
  if (stopped.length > 0) problems.push(`sinks that take nothing: ${stopped.length}`);
  return problems;
}
