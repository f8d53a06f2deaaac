import { z } from 'zod';
import { normalizeAddress, parseAddressRule } from '../../registry/address.js';
import { iso } from '../../registry/view.js';
import { Reject } from '../../wire/reject.js';
import type { ControlContext } from '../context.js';
import { HttpProblem, json } from '../http/reply.js';
import { callerOf, type Route, route } from '../route.js';
import { banSeconds, count, error, page, session, time, type, uuid, uuidIn } from './schemas.js';

/** Sessions, addresses, and what was rejected of whom. */
export function peerRoutes(context: ControlContext): Route[] {
  return [...sessionRoutes(context), ...addressRoutes(context), rejectsRoute(context)];
}

function sessionRoutes({ gateway, sensors }: ControlContext): Route[] {
  return [
    route({
      method: 'GET',
      path: '/api/v1/sessions',
      role: 'reader',
      id: 'listSessions',
      tag: 'sessions',
      summary: 'The open sessions of which a frame was verified',
      query: z.strictObject({ sensor: uuidIn.optional(), ...page }),
      answers: {
        200: {
          description: 'One page, the newest first.',
          schema: z.object({ total: count, offset: count, sessions: z.array(session) }),
        },
      },
      handle({ query: { sensor, offset, limit } }) {
        const all = [...gateway.sessions.values()]
          .filter((entry) => sensor === undefined || entry.sensor === sensor)
          .sort((a, b) => b.openedAt - a.openedAt);
        const shown = all.slice(offset, offset + limit).map((entry) => ({
          id: entry.id,
          sensor: entry.sensor,
          name: sensors.nameOf(entry.sensor),
          type: entry.type,
          worker: entry.worker,
          source: entry.source,
          address: entry.address,
          openedAt: iso(entry.openedAt),
          received: { frames: entry.frames, bytes: entry.bytes },
          rejectedFrames: entry.rejected,
        }));
        return json(200, { total: all.length, offset, sessions: shown });
      },
    }),
    route({
      method: 'POST',
      path: '/api/v1/sessions/{id}/kick',
      role: 'operator',
      id: 'kickSession',
      tag: 'sessions',
      summary: 'End a session',
      description:
        'Frames before the end are delivered. Its sensor is refused another session of this type ' +
        'for a while, so that it does not come back at once.',
      params: z.object({ id: z.string().max(100) }),
      body: z.strictObject({ banSeconds }),
      answers: {
        200: {
          description: 'It is told to end.',
          schema: z.object({ id: z.string(), sensor: uuid, bannedUntil: time.nullable() }),
        },
        404: { description: 'No such session is open.', schema: error },
      },
      async handle(call) {
        const { id } = call.params;
        const entry = gateway.sessions.get(id);
        if (!entry) throw new HttpProblem(404, 'No such session is open');
        const { sensor, type: own, address } = entry;
        const { banSeconds: seconds } = call.body;
        const until = Date.now() + seconds * 1000;
        const after = { session: id, type: own, address, banSeconds: seconds };
        const act = { act: 'session.kick', subject: sensor, after };
        const registry = gateway.registry.as(callerOf(call).actor);
        if (seconds > 0) await registry.ban({ sensor, type: own, until }, act);
        else await registry.record(act);
        gateway.endSession(id, Reject.SENSOR_KICKED, `by ${callerOf(call).token.name}`);
        return json(200, { id, sensor, bannedUntil: seconds > 0 ? iso(until) : null });
      },
    }),
    route({
      method: 'GET',
      path: '/api/v1/bans',
      role: 'reader',
      id: 'listBans',
      tag: 'sessions',
      summary: 'Sensors that were kicked, and may not come back yet',
      answers: {
        200: {
          description: 'All.',
          schema: z.array(z.object({ sensor: uuid, type, until: time })),
        },
      },
      handle: () =>
        json(
          200,
          gateway.registry.bans().map((ban) => ({ ...ban, until: iso(ban.until) })),
        ),
    }),
  ];
}

function addressRoutes({ gateway }: ControlContext): Route[] {
  const change = (name: 'block' | 'unblock', summary: string): Route =>
    route({
      method: 'POST',
      path: `/api/v1/addresses/${name}`,
      role: 'operator',
      id: `${name}Address`,
      tag: 'addresses',
      summary,
      body: z.strictObject({
        address: z.string().max(100).describe('An address, or a range such as 192.0.2.0/24.'),
      }),
      answers: {
        200: {
          description: 'Done; the address in canonical form.',
          schema: z.object({ address: z.string() }),
        },
        ...(name === 'unblock'
          ? { 404: { description: 'It is not blocked.', schema: error } }
          : {}),
      },
      async handle(call) {
        const rule = parseAddressRule(call.body.address);
        if (!rule) {
          const field = 'address';
          throw new HttpProblem(400, 'address: expected an address or a range', { field });
        }
        const registry = gateway.registry.as(callerOf(call).actor);
        if (name === 'block') return json(200, { address: await registry.blockAddress(rule.text) });
        const isBlocked = registry.blockedAddresses().some(({ address }) => address === rule.text);
        if (!isBlocked) throw new HttpProblem(404, `${rule.text} is not blocked`);
        return json(200, { address: await registry.unblockAddress(rule.text) });
      },
    });
  return [
    route({
      method: 'GET',
      path: '/api/v1/addresses',
      role: 'reader',
      id: 'listAddresses',
      tag: 'addresses',
      summary: 'The blocked addresses and ranges',
      answers: {
        200: {
          description: 'All.',
          schema: z.array(z.object({ address: z.string(), since: time })),
        },
      },
      handle() {
        gateway.registry.version();
        const blocked = gateway.registry.blockedAddresses();
        return json(
          200,
          blocked.map(({ address, at }) => ({ address, since: iso(at) })),
        );
      },
    }),
    change('block', 'Refuse all connections from an address or a range, and end those open'),
    change('unblock', 'Take a block back'),
  ];
}

export const rejectEntry = z.object({
  address: z.string(),
  reason: z.string(),
  count,
  firstAt: time,
  lastAt: time,
  detail: z.string(),
  sensor: uuid.nullable().describe('The one that it claimed to be, at the newest.'),
  name: z.string().describe("That sensor's name; empty where it has none."),
});

function rejectsRoute({ gateway, sensors }: ControlContext): Route {
  return route({
    method: 'GET',
    path: '/api/v1/rejects',
    role: 'reader',
    id: 'listRejects',
    tag: 'rejects',
    summary: 'What broken and hostile peers did, by address and reason',
    description: 'Since the gateway began; of 2,000 addresses and reasons, the newest first.',
    query: z.strictObject({
      reason: z.string().max(64).optional(),
      address: z.string().max(64).optional(),
      sensor: uuidIn.optional().describe('The one that it claimed to be.'),
      ...page,
    }),
    answers: {
      200: {
        description: 'One page.',
        schema: z.object({
          total: count,
          offset: count,
          rejects: z.array(rejectEntry),
        }),
      },
    },
    handle({ query: { reason, address, sensor, offset, limit } }) {
      const wanted = address === undefined ? undefined : normalizeAddress(address)?.address;
      const all = gateway.rejects
        .list()
        .filter((entry) => reason === undefined || entry.reason === reason)
        .filter((entry) => address === undefined || entry.address === (wanted ?? address))
        .filter((entry) => sensor === undefined || entry.sensor === sensor);
      const rejects = all.slice(offset, offset + limit).map((entry) => ({
        ...entry,
        firstAt: iso(entry.firstAt),
        lastAt: iso(entry.lastAt),
        sensor: entry.sensor ?? null,
        name: entry.sensor === undefined ? '' : sensors.nameOf(entry.sensor),
      }));
      return json(200, { total: all.length, offset, rejects });
    },
  });
}
