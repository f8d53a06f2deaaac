import { Command } from 'commander';
import type { Overview } from '../control/api/schemas.js';
import { ApiClient, type ApiOptions } from './api-client.js';
import { overviewLines } from './overview-text.js';

interface Ready {
  status: 'ok' | 'not ready';
  problems: string[];
}

/** `d4gw status`: how a running gateway is, for people and scripts. */
export function statusCommand(out: { write(text: string): unknown } = process.stdout): Command {
  return withApi(
    new Command('status')
      .description(
        'Shows how a running gateway is, over its control plane. Exits 1 where it is not ready ' +
          '(it is starting or stopping, or a sink takes nothing), where a critical alert is open, ' +
          'or where it does not answer.',
      )
      .option('--json', 'print JSON'),
  ).action(async (options: ApiOptions & { json?: true }) => {
    const client = new ApiClient(options);
    const overview = (await client.get('/api/v1/overview')) as Overview;
    const { problems, status } = (await client.get('/readyz')) as Ready;
    const isCritical = overview.alerts.first.some(({ severity }) => severity === 'critical');
    if (options.json) {
      out.write(`${JSON.stringify({ ready: status === 'ok', problems, overview }, null, 2)}\n`);
    } else {
      const ready = problems.length === 0 ? 'ready' : `NOT READY: ${problems.join('; ')}`;
      out.write(`${[...overviewLines(overview), '', ready].join('\n')}\n`);
    }
    if (status !== 'ok' || isCritical) process.exitCode = 1;
  });
}

/** How a command reaches the control plane. */
export function withApi(command: Command): Command {
  return command
    .option('--config <file>', 'configuration of the gateway (default: the embedded one)')
    .option('--url <url>', "where its control plane is, in place of the configuration's")
    .option(
      '--token-file <file>',
      "file with a token (default: D4GW_TOKEN, then the first admin's)",
    )
    .option('--ca <file>', 'certificate that its certificate is verified against, PEM');
}
