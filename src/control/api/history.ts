import { z } from 'zod';
import { ALL_SENSORS, LAYOUTS, UNITS } from '../../history/layout.js';
import { iso } from '../../registry/view.js';
import type { ControlContext } from '../context.js';
import { HttpProblem, json } from '../http/reply.js';
import { type Route, route } from '../route.js';
import { time, uuidIn } from './schemas.js';

/** Points of one answer, over all types. */
const POINTS_MAX = 20_000;

const past = z.strictObject({
  unit: z
    .enum(UNITS)
    .default('hour')
    .describe('Kept: minutes 2 days, hours 60 days, days 5 years.'),
  from: time.optional().describe('Without it, as long ago as is kept.'),
  to: time.optional().describe('Without it, now.'),
});

export const pastAnswer = z.object({
  unit: z.enum(UNITS),
  from: time,
  to: time,
  types: z
    .record(z.string(), z.array(z.object({ at: time, frames: z.int(), bytes: z.int() })))
    .describe('By D4 type: each step in which something came, at its begin, the oldest first.'),
});

/** What came in the past, of one sensor and of all. */
export function historyRoutes({ history }: ControlContext): Route[] {
  const read = (sensor: string, { unit, from, to }: z.output<typeof past>) => {
    const { stepMs, chunksKept, place, startOf } = LAYOUTS[unit];
    const end = to === undefined ? Date.now() + stepMs : Date.parse(to);
    const oldest = startOf(Math.max(place(end).chunk - chunksKept, 0));
    const begin = from === undefined ? oldest : Date.parse(from);
    if (begin >= end)
      throw new HttpProblem(400, 'from: expected to be before to', { field: 'from' });
    const types = history.read(sensor, unit, begin, end);
    const count = [...types.values()].reduce((sum, points) => sum + points.length, 0);
    if (count > POINTS_MAX) {
      const reason = `from: ${count} points, at most ${POINTS_MAX} are told: take a larger unit`;
      throw new HttpProblem(400, reason, { field: 'from' });
    }
    const shown = [...types].map(([type, points]) => [
      `${type}`,
      points.map((point) => ({ ...point, at: iso(point.at) })),
    ]);
    return json(200, { unit, from: iso(begin), to: iso(end), types: Object.fromEntries(shown) });
  };
  return [
    route({
      method: 'GET',
      path: '/api/v1/history',
      role: 'reader',
      id: 'getHistory',
      tag: 'history',
      summary: 'Frames and bytes of all sensors, by D4 type',
      query: past,
      answers: { 200: { description: 'The past.', schema: pastAnswer } },
      handle: ({ query }) => read(ALL_SENSORS, query),
    }),
    route({
      method: 'GET',
      path: '/api/v1/sensors/{uuid}/history',
      role: 'reader',
      id: 'getSensorHistory',
      tag: 'history',
      summary: 'Frames and bytes of one sensor, by D4 type',
      params: z.object({ uuid: uuidIn }),
      query: past,
      answers: {
        200: { description: 'The past; empty for one that sent nothing.', schema: pastAnswer },
      },
      handle: ({ params, query }) => read(params.uuid, query),
    }),
  ];
}
