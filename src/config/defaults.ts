import type { z } from 'zod';
import type { configSchema } from './schema.js';

/** What the gateway runs without a configuration file; relative to the working directory. */
export const DEFAULT_CONFIG: z.input<typeof configSchema> = {
  dataDir: './data',
  admission: { mode: 'registration' },
  listen: [{ tls: { host: '::', port: 4443 } }],
  sinks: { disk: { kind: 'files', dir: './data/sensors' } },
  routes: [{ match: {}, to: ['disk'] }],
  control: { host: '127.0.0.1', port: 7000 },
};
