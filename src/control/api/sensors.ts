import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { clientFiles } from '../../registry/client-directory.js';
import { GRACE_SECONDS_MAX, generateKey } from '../../registry/limits.js';
import type { SensorRecord } from '../../registry/store.js';
import type { ControlContext } from '../context.js';
import { HttpProblem, json } from '../http/reply.js';
import { callerOf, type Route, route } from '../route.js';
import {
  count,
  error,
  keyIn,
  page,
  sensor,
  sensorChange,
  sensorState,
  sensorUuid,
  uuid,
  uuidIn,
} from './schemas.js';

const GRACE_SECONDS_DEFAULT = 86_400;
const QUERY_CHARS_MAX = 200;

const one = z.object({ uuid: uuidIn });
const NOT_FOUND = { description: 'No such sensor.', schema: error };
const IS = { description: 'The sensor as it is now.', schema: sensor };

export const withKey = z.object({
  sensor,
  key: z.string().nullable().describe('A key that was generated, this once; else null.'),
  clientFiles: z
    .record(z.string(), z.string())
    .nullable()
    .describe('The client directory, by file name; null where the key is not known here.'),
});

/** The sensors: looked for, added, decided on, changed. */
export function sensorRoutes(context: ControlContext): Route[] {
  return [...viewRoutes(context), ...addRoutes(context), ...changeRoutes(context)];
}

/** @throws HttpProblem 404 */
export function existing({ gateway }: ControlContext, id: string): SensorRecord {
  gateway.registry.version();
  const found = gateway.registry.sensor(id);
  if (!found) throw new HttpProblem(404, `No sensor ${id}`);
  return found;
}

function viewRoutes(context: ControlContext): Route[] {
  const { sensors } = context;
  return [
    route({
      method: 'GET',
      path: '/api/v1/sensors',
      role: 'reader',
      id: 'listSensors',
      tag: 'sensors',
      summary: 'Search the sensors',
      query: z.strictObject({
        q: z
          .string()
          .max(QUERY_CHARS_MAX)
          .optional()
          .describe('Part of the name, UUID, description, contact or a group.'),
        state: sensorState.optional(),
        group: z.string().optional(),
        type: z.coerce.number().int().min(0).max(255).optional().describe('D4 type that it sends.'),
        sort: z.enum(['name', 'state', 'lastSeen', 'bytesPerSecond', 'createdAt']).default('name'),
        order: z.enum(['asc', 'desc']).default('asc'),
        ...page,
      }),
      answers: {
        200: {
          description: 'One page.',
          schema: z.object({
            total: z.int().describe('How many fit, on all pages.'),
            offset: z.int(),
            sensors: z.array(sensor),
          }),
        },
      },
      handle: ({ query }) => json(200, sensors.search(query)),
    }),
    route({
      method: 'GET',
      path: '/api/v1/groups',
      role: 'reader',
      id: 'listGroups',
      tag: 'sensors',
      summary: 'The groups that sensors are in',
      answers: {
        200: {
          description: 'By name.',
          schema: z.array(z.object({ name: z.string(), sensors: count })),
        },
      },
      handle: () => json(200, sensors.groups()),
    }),
    route({
      method: 'GET',
      path: '/api/v1/sensors/{uuid}',
      role: 'reader',
      id: 'getSensor',
      tag: 'sensors',
      summary: 'One sensor',
      params: one,
      answers: { 200: IS, 404: NOT_FOUND },
      handle: ({ params }) => json(200, sensors.one(existing(context, params.uuid))),
    }),
  ];
}

function addRoutes(context: ControlContext): Route[] {
  const { gateway, sensors } = context;
  return [
    route({
      method: 'POST',
      path: '/api/v1/sensors',
      role: 'operator',
      id: 'addSensor',
      tag: 'sensors',
      summary: 'Add a sensor',
      description:
        'What is not given is generated: its UUID, and its key, which is told this once.',
      body: z.strictObject({
        uuid: z.string().optional().describe('Version 4 UUID.'),
        key: keyIn.optional(),
        state: z.enum(['pending', 'approved']).default('approved'),
        ...sensorChange,
      }),
      answers: {
        201: { description: 'It is added.', schema: withKey },
        409: { description: 'There is a sensor of this UUID.', schema: error },
      },
      async handle(call) {
        const { uuid: given, key: givenKey, ...about } = call.body;
        const id = given === undefined ? randomUUID() : sensorUuid(given);
        if (id === undefined) {
          throw new HttpProblem(400, 'uuid: expected a version 4 UUID', { field: 'uuid' });
        }
        if (gateway.registry.sensor(id)) {
          throw new HttpProblem(409, `There is a sensor ${id} already`, { field: 'uuid' });
        }
        const key = givenKey === undefined ? generateKey() : Buffer.from(givenKey);
        const registry = gateway.registry.as(callerOf(call).actor);
        const added = await registry.add({ uuid: id, key, ...about });
        const isNew = givenKey === undefined;
        return json(201, withKeyJson(sensors.one(added), id, isNew ? key : undefined));
      },
    }),
    route({
      method: 'POST',
      path: '/api/v1/sensors/{uuid}/rotate-key',
      role: 'operator',
      id: 'rotateKey',
      tag: 'sensors',
      summary: 'Give a sensor a new key',
      params: one,
      body: z.strictObject({
        key: keyIn.optional().describe('Generated, and told this once, unless given.'),
        graceSeconds: z
          .int()
          .min(0)
          .max(GRACE_SECONDS_MAX)
          .default(GRACE_SECONDS_DEFAULT)
          .describe('For so long the old key stays valid.'),
      }),
      answers: { 200: { description: 'It has a new key.', schema: withKey }, 404: NOT_FOUND },
      async handle(call) {
        const { key: givenKey, graceSeconds } = call.body;
        const { uuid: id } = existing(context, call.params.uuid);
        const key = givenKey === undefined ? generateKey() : Buffer.from(givenKey);
        const registry = gateway.registry.as(callerOf(call).actor);
        const changed = await registry.rotateKey(id, key, graceSeconds);
        const isNew = givenKey === undefined;
        return json(200, withKeyJson(sensors.one(changed), id, isNew ? key : undefined));
      },
    }),
  ];
}

function withKeyJson(shown: unknown, id: string, key: Buffer | undefined) {
  return {
    sensor: shown,
    key: key?.toString('latin1') ?? null,
    clientFiles: key
      ? Object.fromEntries(
          clientFiles({ uuid: id, key, type: 1, destination: 'stdout' }).map(([name, content]) => [
            name,
            content.toString('latin1'),
          ]),
        )
      : null,
  };
}

function changeRoutes(context: ControlContext): Route[] {
  const { gateway, sensors } = context;
  const decision = (
    name: 'approve' | 'block' | 'unblock',
    summary: string,
    description: string,
  ): Route =>
    route({
      method: 'POST',
      path: `/api/v1/sensors/{uuid}/${name}`,
      role: 'operator',
      id: `${name}Sensor`,
      tag: 'sensors',
      summary,
      description,
      params: one,
      answers: { 200: IS, 404: NOT_FOUND },
      async handle(call) {
        const { uuid: id } = existing(context, call.params.uuid);
        const changed = await gateway.registry.as(callerOf(call).actor)[name](id);
        return json(200, sensors.one(changed));
      },
    });
  return [
    route({
      method: 'PATCH',
      path: '/api/v1/sensors/{uuid}',
      role: 'operator',
      id: 'editSensor',
      tag: 'sensors',
      summary: 'Change what is said of a sensor',
      params: one,
      body: z.strictObject(sensorChange),
      answers: { 200: IS, 404: NOT_FOUND },
      async handle(call) {
        const { uuid: id } = existing(context, call.params.uuid);
        const registry = gateway.registry.as(callerOf(call).actor);
        return json(200, sensors.one(await registry.edit(id, call.body)));
      },
    }),
    decision('approve', 'Let a pending sensor send', 'It may send from now on.'),
    decision('block', 'Refuse a sensor', 'Its open sessions end within a second.'),
    decision(
      'unblock',
      'Take a block back',
      'It is again what it was before: pending or approved.',
    ),
    route({
      method: 'POST',
      path: '/api/v1/sensors/{uuid}/reject',
      role: 'operator',
      id: 'rejectSensor',
      tag: 'sensors',
      summary: 'Refuse a pending sensor',
      description: 'It is forgotten. One that was approved is not rejected: block or remove it.',
      params: one,
      answers: {
        200: { description: 'It is forgotten.', schema: z.object({ uuid }) },
        404: NOT_FOUND,
        409: { description: 'It was approved before.', schema: error },
      },
      async handle(call) {
        const { uuid: id, state } = existing(context, call.params.uuid);
        if (state !== 'pending') throw new HttpProblem(409, `Sensor ${id} was approved before`);
        await gateway.registry.as(callerOf(call).actor).reject(id);
        return json(200, { uuid: id });
      },
    }),
    route({
      method: 'DELETE',
      path: '/api/v1/sensors/{uuid}',
      role: 'operator',
      id: 'removeSensor',
      tag: 'sensors',
      summary: 'Forget a sensor',
      description: 'Its key and its record go; what it sent stays stored.',
      params: one,
      answers: {
        200: { description: 'It is forgotten.', schema: z.object({ uuid }) },
        404: NOT_FOUND,
      },
      async handle(call) {
        const { uuid: id } = existing(context, call.params.uuid);
        await gateway.registry.as(callerOf(call).actor).remove(id);
        return json(200, { uuid: id });
      },
    }),
  ];
}
