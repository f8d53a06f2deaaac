import { z } from 'zod';
import { isoOrNull } from '../../registry/view.js';
import { actorOf } from '../auth/gate.js';
import type { ControlContext } from '../context.js';
import { json } from '../http/reply.js';
import { type Caller, callerOf, type Route, route } from '../route.js';
import { error, role, time } from './schemas.js';

const TOKEN_CHARS_MAX = 200;

const who = z.object({
  name: z.string().describe("The token's name."),
  role,
  csrfToken: z
    .string()
    .nullable()
    .describe('To be sent as X-CSRF-Token with all but GET; null where no cookie is at play.'),
  expiresAt: time.nullable(),
});

/** Logging in and out, for people; programs send their token with each request. */
export function loginRoutes({ gateway, gate }: ControlContext): Route[] {
  return [
    route({
      method: 'POST',
      path: '/api/v1/login',
      role: 'open',
      id: 'login',
      tag: 'session',
      summary: 'Open a session with a token',
      description:
        'Sets the session cookie (HttpOnly, SameSite=Strict). Repeated failures from one address are ' +
        'answered 429, for ever longer.',
      body: z.strictObject({ token: z.string().min(1).max(TOKEN_CHARS_MAX) }),
      answers: {
        200: { description: 'Logged in; the session cookie is set.', schema: who },
        401: { description: 'No such token, or it has expired.', schema: error },
        403: { description: "Sent from another site's page.", schema: error },
        429: { description: 'Too many failures: see Retry-After.', schema: error },
      },
      async handle({ body, request }) {
        const { session, token, cookie } = gate.login(request, body.token.trim());
        const actor = actorOf(token, request.address);
        await gateway.registry.as(actor).record({ act: 'login', subject: token.id });
        const expiresAt = isoOrNull(session.expiresAt);
        const { name, role: own } = token;
        return json(
          200,
          { name, role: own, csrfToken: session.csrf, expiresAt },
          { 'set-cookie': cookie },
        );
      },
    }),
    route({
      method: 'POST',
      path: '/api/v1/logout',
      role: 'reader',
      id: 'logout',
      tag: 'session',
      summary: 'End the session',
      answers: { 204: { description: 'The session is over.' } },
      handle: ({ request }) => ({ status: 204, headers: { 'set-cookie': gate.logout(request) } }),
    }),
    route({
      method: 'GET',
      path: '/api/v1/session',
      role: 'reader',
      id: 'whoAmI',
      tag: 'session',
      summary: 'Who asks, and what it may do',
      answers: { 200: { description: 'The token and its role.', schema: who } },
      handle: (call) => json(200, whoJson(callerOf(call))),
    }),
  ];
}

function whoJson({ token, session }: Caller): z.input<typeof who> {
  const { name, role: own } = token;
  const expiresAt = isoOrNull(session?.expiresAt ?? token.expiresAt);
  return { name, role: own, csrfToken: session?.csrf ?? null, expiresAt };
}
