import { z } from 'zod';
import { checkKey } from '../../registry/limits.js';
import type { ControlContext } from '../context.js';
import { json } from '../http/reply.js';
import { callerOf, type Route, route } from '../route.js';
import { error, sensorUuid } from './schemas.js';

const MISSING = 'Mandatory parameter(s) not provided';
const INVALID_UUID = 'Invalid uuid';
const REGISTERED = 'Sensor already registered';

const hex = z.string().regex(/^[0-9a-f]{32}$/);

/** The calls of the D4 reference server's API, word for word, so that its scripts go on working. */
export function referenceRoutes({ gateway, alerts }: ControlContext): Route[] {
  return [
    route({
      method: 'POST',
      path: '/api/v1/add/sensor/register',
      role: 'operator',
      id: 'registerSensor',
      tag: 'reference server',
      summary: 'Register a sensor; it is pending until it is approved',
      body: z.looseObject({
        uuid: z.unknown().optional().describe('Version 4 UUID. Mandatory.'),
        hmac_key: z.unknown().optional().describe('HMAC key. Mandatory.'),
        description: z.unknown().optional(),
        mail: z.unknown().optional().describe('Whom to ask.'),
      }),
      answers: {
        200: {
          description: 'It is registered.',
          schema: z.object({ uuid: hex.describe('32 hex digits.') }),
        },
        400: { description: `${MISSING}, or ${INVALID_UUID}.`, schema: error },
        409: { description: `${REGISTERED}.`, schema: error },
      },
      async handle(call) {
        const { uuid: given, hmac_key: key, description, mail } = call.body;
        if (!isText(given) || !isText(key)) return failure(400, MISSING);
        const uuid = sensorUuid(given);
        if (uuid === undefined) return failure(400, INVALID_UUID);
        const registry = gateway.registry.as(callerOf(call).actor);
        if (registry.sensor(uuid)) return failure(409, REGISTERED);
        await registry.add({
          uuid,
          key: checkKey(Buffer.from(key)),
          description: isText(description) ? description : '',
          contact: isText(mail) ? mail : '',
          state: 'pending',
        });
        return json(200, { uuid: uuid.replaceAll('-', '') });
      },
    }),
    route({
      method: 'GET',
      path: '/api/v1/sensors/monitoring/errors',
      role: 'reader',
      id: 'monitoringErrors',
      tag: 'reference server',
      summary: 'The sensors that are silent for longer than they are expected to be',
      answers: { 200: { description: 'Their UUIDs.', schema: z.array(hex) } },
      handle: () =>
        json(
          200,
          alerts.silentSensors().map((uuid) => uuid.replaceAll('-', '')),
        ),
    }),
  ];
}

/** Texts that are there: the reference server takes an empty one as missing. */
function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '';
}

function failure(status: number, reason: string) {
  return json(status, { status: 'error', reason });
}
