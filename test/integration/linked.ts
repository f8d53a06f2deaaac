import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { d4gw } from '../support/program.js';
import { tempDir } from '../support/tmp.js';
import { Gateway } from './gateway.js';
import { RECORDED_KEY } from './peers.js';

/** A gateway's directory with the shared secret, to be started in again and again. */
export function gatewayDir(): string {
  const dir = tempDir('gateway');
  writeFileSync(join(dir, 'secret'), `${RECORDED_KEY}\n`, { mode: 0o600 });
  return dir;
}

const ADMISSION = { mode: 'shared-secret', sharedSecretFile: './secret', metaTypes: '*' };

/** The gateway that others link to. */
export function startReceiver(
  dir: string,
  port: number,
  config: Record<string, unknown> = {},
): Promise<Gateway> {
  return Gateway.start({
    dir,
    config: {
      admission: ADMISSION,
      listen: [{ wss: { host: '127.0.0.1', port } }, { tcp: { host: '127.0.0.1', port: 0 } }],
      ...config,
    },
  });
}

/** Makes the token of a sender, and writes it where that finds it. */
export async function giveToken(
  receiver: Gateway,
  senderDir: string,
  name: string,
): Promise<string> {
  const { code, stdout, stderr } = await d4gw([
    'link',
    'add',
    name,
    '--config',
    receiver.configFile,
  ]);
  if (code !== 0) throw new Error(`link add: ${stderr}`);
  const file = join(senderDir, 'token');
  writeFileSync(file, stdout, { mode: 0o600 });
  return file;
}

/** The gateway that links to another: its sensors' frames go to its own disk, and there. */
export function startSender(
  dir: string,
  receiver: { port: number; certFile: string },
  config: Record<string, unknown> = {},
  relay: Record<string, unknown> = {},
): Promise<Gateway> {
  return Gateway.start({
    dir,
    config: {
      admission: ADMISSION,
      listen: [{ tls: { host: '127.0.0.1', port: 0 } }, { tcp: { host: '127.0.0.1', port: 0 } }],
      sinks: {
        disk: { kind: 'files', dir: './data/sensors', flushMs: 100 },
        partner: {
          kind: 'relay',
          to: `wss://127.0.0.1:${receiver.port}`,
          caFile: receiver.certFile,
          servername: 'localhost',
          tokenFile: './token',
          ...relay,
        },
      },
      routes: [{ match: {}, to: ['disk', 'partner'] }],
      ...config,
    },
  });
}
